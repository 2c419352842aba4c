"""MicroPython's prompt as tools expect it: friendly, raw, and raw paste mode (docs: reference/repl).

Owns what comes in and how it is answered; bytes in, bytes out, no wire, no clock. Programs are run by
drivers.console_programs. Loaded when the console opens.
"""

from micropython import const

_TYPE_CHECKING = const(0)
if _TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class ProgramsRunner(Protocol):
        def run(self, source: bytes, is_interactive: bool) -> "BaseException | None": ...
        def explain(self, error: BaseException) -> None: ...
        def forget(self) -> None: ...


_CTRL_A, _CTRL_B, _CTRL_C, _CTRL_D = const(1), const(2), const(3), const(4)
_BACKSPACE, _TAB, _LF, _CR, _ESCAPE, _DELETE = const(8), const(9), const(10), const(13), const(27), const(127)

_FRIENDLY, _RAW, _PASTE, _REFUSED_PASTE = const(0), const(1), const(2), const(3)

_RAW_BANNER = const(b"raw REPL; CTRL-B to exit\r\n>")
_REBOOT = const(b"MPY: soft reboot\r\n")
_PASTE_REQUEST = const(b"\x05A")
# Two windows are free at the start: never more than 256 bytes are on their way, and the chip's buffer holds 259.
_WINDOW = const(128)
# The source and what it is parsed to lie on the heap side by side.
PROGRAM_MAX = 16_384

_BLOCKS = (b"if", b"while", b"for", b"try", b"with", b"def", b"class", b"async")


class Repl:
    """write(bytes) sends; request(line) answers a line that is one of SPEC.md section 18, and tells whether it was.

    is_ended: who was served has said so, by Ctrl-D at the friendly prompt.
    """

    def __init__(
        self,
        write: "Callable[[bytes], object]",
        programs: "ProgramsRunner",
        request: "Callable[[bytes], bool]",
        name: str,
    ) -> None:
        self._write = write
        self._programs = programs
        self._request = request
        self._greeting = b"\r\nMicroPython; Vitrine " + (name or "unprovisioned").encode() + b"\r\n>>> "
        self._mode = _FRIENDLY
        self._line = bytearray()
        self._block = b""  # the lines before this one
        self._escape = 0
        self._was_cr = False
        self._window = 0
        self.is_ended = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes up to the first that changes what the next ones mean; return those that are left."""
        if self._mode >= _PASTE:
            return self._paste(data)
        take = self._take_raw if self._mode == _RAW else self._take_friendly
        taken = 0
        for byte in data:
            taken += 1
            if take(byte):
                break
        return data[taken:]

    def end(self) -> None:
        """The console closes: nothing of the programs stays."""
        self._programs.forget()

    # raw mode

    def _take_raw(self, byte: int) -> bool:
        line = self._line
        if byte > _CTRL_D:
            if len(line) <= PROGRAM_MAX:
                line.append(byte)
            if (byte in (_CR, _LF)) and line[:9] == b">vitrine " and self._request(bytes(line)[:-1]):
                self._line = bytearray()
                return True
            return False
        self._line = bytearray()
        if byte == _CTRL_A:
            if line == _PASTE_REQUEST:
                self._mode = _PASTE
                self._window = _WINDOW
                self._write(b"R\x01" + bytes((_WINDOW, 0)) + b"\x01")
            elif line[:1] == b"\x05" and len(line) == 2:
                self._write(b"R\x00")
            else:
                self._write(_RAW_BANNER)
        elif byte == _CTRL_B:
            self._mode = _FRIENDLY
            self._block = b""
            self._write(self._greeting)
        elif byte == _CTRL_D:
            self._write(b"OK")
            if line:
                self._run(line)
            else:
                self._write(b"\r\n")
                self._reboot()
        return True

    def _paste(self, data: bytes) -> bytes:
        """Take a program's text up to its end, and tell the sender to go on."""
        end = len(data)
        for stop in (b"\x03", b"\x04"):
            at = data.find(stop)
            if 0 <= at < end:
                end = at
        program = self._line
        if self._mode == _PASTE:
            program.extend(data[:end])
            self._window -= end
            if len(program) > PROGRAM_MAX:
                self._mode = _REFUSED_PASTE
                program = self._line = bytearray()
                self._write(b"\x04")
            while self._mode == _PASTE and self._window <= 0:
                self._window += _WINDOW
                self._write(b"\x01")
        if end == len(data):
            return b""
        was_refused, self._mode = self._mode == _REFUSED_PASTE, _RAW
        self._line = bytearray()
        if was_refused:
            self._fail(MemoryError("program too long"))
        elif data[end] == _CTRL_C:
            self._write(b"\x04")
            self._fail(KeyboardInterrupt())
        else:
            self._write(b"\x04")
            self._run(program)
        return data[end + 1 :]

    def _run(self, program: bytearray) -> None:
        """Run a program of raw mode: its output, 4, its error, 4, prompt."""
        if len(program) > PROGRAM_MAX:
            self._fail(MemoryError("program too long"))
            return
        error = self._programs.run(bytes(program), False)
        if type(error) is SystemExit:
            self._write(b"\x04\x04")
            self._reboot()
        elif error is None:
            self._write(b"\x04\x04>")
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._write(b"\x04")
        self._programs.explain(error)
        self._write(b"\x04>")

    def _reboot(self) -> None:
        """What a soft reset is here: the programs' names end, and the lock goes on."""
        self._programs.forget()
        self._write(_REBOOT)
        self._write(_RAW_BANNER if self._mode == _RAW else self._greeting)

    # friendly mode

    def _take_friendly(self, byte: int) -> bool:
        line = self._line
        was_cr, self._was_cr = self._was_cr, byte == _CR
        if self._escape and byte >= 32:
            # ESC, one or the other bracket, parameters, letter: no key but the plain ones does anything
            goes_on = byte in (0x4F, 0x5B) if self._escape == 1 else byte < 0x40
            self._escape = 2 if goes_on else 0
            return False
        self._escape = 0
        if byte == _ESCAPE:
            self._escape = 1
        elif byte in (_CR, _LF):
            if byte == _CR or not was_cr:
                self._line = bytearray()
                self._enter(bytes(line))
                return True
        elif byte in (_BACKSPACE, _DELETE):
            if line:
                while len(line) > 1 and line[-1] & 0xC0 == 0x80:  # a character of several bytes
                    line[:] = line[:-1]
                line[:] = line[:-1]
                self._write(b"\b \b")
        elif byte >= 32 or byte == _TAB:
            if len(line) + len(self._block) < PROGRAM_MAX:
                keys = b"    " if byte == _TAB else bytes((byte,))
                line.extend(keys)
                self._write(keys)
        elif byte == _CTRL_A:
            self._mode = _RAW
            self._line = bytearray()
            self._write(b"\r\n" + _RAW_BANNER)
            return True
        elif byte in (_CTRL_B, _CTRL_C):
            self._line = bytearray()
            self._block = b""
            self._write(self._greeting if byte == _CTRL_B else b"\r\n>>> ")
        elif byte == _CTRL_D and not line and not self._block:
            self._write(b"\r\n")
            self._reboot()
            self.is_ended = True
            return True
        return False

    def _enter(self, line: bytes) -> None:
        self._write(b"\r\n")
        if not self._block and self._request(line):
            self._write(b">>> ")
            return
        source = self._block + line
        if is_unfinished(source):
            self._block = source + b"\n"
            self._write(b"... ")
            return
        self._block = b""
        if source.strip():
            error = self._programs.run(source, True)
            if type(error) is SystemExit:
                self._reboot()
                return
            if error is not None:
                self._programs.explain(error)
        self._write(b">>> ")


def is_unfinished(source: bytes) -> bool:
    """Whether more lines belong to this statement: an open bracket or text, a `\\` at the end, a block's empty line."""
    quote = b""
    depth = i = 0
    while i < len(source):
        three = source[i : i + 3]
        one = source[i : i + 1]
        if quote:
            if one == b"\\":
                i += 1
            elif source[i : i + len(quote)] == quote:
                i += len(quote) - 1
                quote = b""
            elif one == b"\n" and len(quote) == 1:
                quote = b""
        elif three == b'"""' or three == b"'''":
            quote = three
            i += 2
        elif one == b'"' or one == b"'":
            quote = one
        elif one == b"#":
            while i + 1 < len(source) and source[i + 1] != _LF:
                i += 1
        elif one in (b"(", b"[", b"{"):
            depth += 1
        elif one in (b")", b"]", b"}"):
            depth -= 1
        i += 1
    if len(quote) == 3 or depth > 0 or (source.endswith(b"\\") and len(quote) < 2):
        return True
    if source.endswith(b"\n"):
        return False
    first = source.lstrip()
    if first.startswith(b"@"):
        return True
    for word in _BLOCKS:
        after = first[len(word) : len(word) + 1]
        if first.startswith(word) and not (after.isalpha() or after.isdigit() or after == b"_"):
            return True
    return False
