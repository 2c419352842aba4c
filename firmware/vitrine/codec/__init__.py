"""Bytes to values and back: CBOR and COSE; checksums. Imports crypto."""
