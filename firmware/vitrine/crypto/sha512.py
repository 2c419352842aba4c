"""SHA-512 (FIPS 180-4): stock MicroPython has none. Native where the board offers it, bytecode elsewhere."""

from .engine import sha512

__all__ = ("sha512",)
