"""Vitrine: lock-controller firmware. The map is in firmware/README.md, the formats are in firmware/SPEC.md."""
