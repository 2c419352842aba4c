"""Which implementation this board gets: native code where its MicroPython can run it, bytecode elsewhere."""

try:
    from . import edwards_viper as edwards
    from .sha512_viper import sha512
except (AttributeError, ImportError, SyntaxError, ValueError):
    # In turn: CPython has no viper decorator; part of the package is missing; the compiler knows no viper; an .mpy
    # is for another instruction set. Where the fallback is left out (firmware/fallback.txt) this raises ImportError.
    from . import edwards_int as edwards
    from .sha512_int import sha512

__all__ = ("edwards", "sha512")
