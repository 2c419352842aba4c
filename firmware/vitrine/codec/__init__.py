"""Bytes to values and back: CBOR and COSE. Imports crypto."""
