"""Write firmware/vitrine/crypto/field_viper.py: the field machine, the native code that verification runs on.

python tools/codegen/field_viper.py [--check]     --check: write nothing, exit 1 if the file would change

Why a generator: viper keeps only the first two (Xtensa) or three (others) locals in registers and addresses memory
cheaply only with constant offsets, so the inner loops must be unrolled, and the programs of the machine are easier to
read, and to check, as formulas than as bytes.

Why a machine: a call from one viper function to another costs 600 instructions, a field multiplication 4,000. The
machine runs a whole point operation in one call.

A field element is 20 limbs of 13 bits, each in a 32-bit word: 20 products of 14 by 13 bits fit 32 bits, the word of the
smaller boards, and nothing depends on the wider one's extra bits. 2^260 = 608 modulo 2^255 - 19.
"""

import sys
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "firmware" / "vitrine" / "crypto" / "field_viper.py"
LIMBS, BITS, MASK, FOLD = 20, 13, 8191, 608
# 4 (2^260 - 608), a multiple of the prime, has 4 * 8191 in each limb but the lowest: added before a subtraction, it
# keeps every limb positive. The lowest limb's difference is the start value of the carry.
BIAS, BIAS_LOW = 4 * MASK, 4 * FOLD - 4
OPERAND = 2 * LIMBS  # the word behind the columns, where an operand is copied to

_NAMES = "COLUMNS COLUMNS_HIGH OPERAND X Y Z T A B C D E F G H S YP YM T2 Z2 U V W Q CONST_2D CONST_D CONST_I CONST_1"
SLOTS = [str(name) for name in _NAMES.split()]
OPS = {"end": 0, "mul": 1, "square": 2, "add": 3, "sub": 4, "sum": 5}
# what edwards_viper.py puts in, takes out or tests itself: each name takes room on the board
NAMED = ("X", "Y", "Z", "T", "E", "F", "YP", "Z2", "CONST_2D", "CONST_D", "CONST_I", "CONST_1")

# The programs. `r = a * b`, `r = a + b`, `r = a - b` give reduced limbs: below 2^13, the third a little above.
# `r = a ++ b` leaves the sums. A product takes a sum of at most three reduced operands, and one reduced: 20 products
# of 3 * 8199 and 8199 are below 2^32. A square takes reduced operands only; sums may come first in a sum or difference.
# `r = a ^ n` squares n times. The formulas are Hisil et al. 2008, a = -1 (also RFC 8032 section 5.1.4).
_DOUBLE = """
S = X + Y; A = X ^ 1; B = Y ^ 1; C = Z ^ 1; S = S ^ 1
H = A ++ B; E = H - S; G = A - B; C = C ++ C; F = C ++ G
X = E * F; Y = G * H; Z = F * G
"""
_WITH_T = "T = E * H\n"
_ADD_HEAD = "S = Y - X; C = Y ++ X; "
_PLUS = "A = YM * S; B = C * YP; C = T2 * T; "
_MINUS = "A = YP * S; B = C * YM; C = T2 * T; "
_AFFINE = "D = Z ++ Z; "
_CACHED = "D = Z * Z2; "
_ADD_TAIL = "H = B ++ A; E = B - A; F = D - C; G = D + C\n"
_SUB_TAIL = "H = B ++ A; E = B - A; F = D + C; G = D - C\n"
_OUT = "X = E * F; Y = G * H; Z = F * G; T = E * H\n"
PROGRAMS = {
    "DOUBLE": _DOUBLE,
    "DOUBLE_T": _DOUBLE + _WITH_T,
    "ADD_AFFINE": _ADD_HEAD + _PLUS + _AFFINE + _ADD_TAIL + _OUT,
    "SUB_AFFINE": _ADD_HEAD + _MINUS + _AFFINE + _SUB_TAIL + _OUT,
    "ADD_CACHED": _ADD_HEAD + _PLUS + _CACHED + _ADD_TAIL + _OUT,
    "SUB_CACHED": _ADD_HEAD + _MINUS + _CACHED + _SUB_TAIL + _OUT,
    "CACHE": "YP = Y + X; YM = Y - X; T2 = T * CONST_2D; Z2 = Z + Z",
    # of y in Y: u = y^2 - 1 in A, v = d y^2 + 1 in B, u v^3 in D, u v^7 in Q (RFC 8032 section 5.1.3)
    "ROOT_START": """
    A = Y ^ 1; B = A * CONST_D; B = B + CONST_1; A = A - CONST_1
    C = B ^ 1; C = C * B; D = A * C; Q = D * C; Q = Q * B
    """,
    # the candidate x in X, v x^2 - u in E, v x^2 + u in F
    "ROOT_END": "X = D * Q; C = X ^ 1; C = C * B; E = C - A; F = C + A",
    "AFFINE": "Z = CONST_1 ^ 1; T = X * Y",
    "NEUTRAL": "X = CONST_1 - CONST_1; Y = CONST_1 ^ 1; Z = CONST_1 ^ 1; T = CONST_1 - CONST_1",
    "ROOT_OTHER": "X = X * CONST_I",
    # y^2 - x^2 - 1 - d x^2 y^2 in E
    "EQUATION": "A = X ^ 1; B = Y ^ 1; C = A * CONST_D; C = C * B; E = B - A; E = E - CONST_1; E = E - C",
    # Q = Q^((p - 5) / 8) = Q^(2^252 - 3); the comments give the exponent
    "POWER": """
    U = Q ^ 1; V = U ^ 2; V = V * Q; U = U * V; U = U ^ 1; U = U * V
    V = U ^ 5; U = V * U; V = U ^ 10; V = V * U; W = V ^ 20; V = W * V
    V = V ^ 10; U = V * U; V = U ^ 50; V = V * U; W = V ^ 100; V = W * V
    V = V ^ 50; U = V * U; U = U ^ 2; Q = U * Q
    """,
}


def assemble(source: str) -> bytes:
    """Turn formulas into 4-byte instructions: operation, result, operands."""
    code = bytearray()
    for line in source.replace("\n", ";").split(";"):
        if not line.split():
            continue
        result, _, a, sign, b = line.split()
        op = {"*": "mul", "^": "square", "+": "add", "-": "sub", "++": "sum"}[sign]
        operand = int(b) if op == "square" else SLOTS.index(b)
        code += bytes((OPS[op], SLOTS.index(result), SLOTS.index(a), operand))
    return bytes(code + bytes(4))


class Lines:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.depth = 0

    def __call__(self, line: str = "") -> None:
        self.text.append(("    " * self.depth + line).rstrip())


def carry_step(w: Lines, target: str) -> None:
    w(f"{target} = x & {MASK}")
    w(f"x >>= {BITS}")


def tail(w: Lines, r: str) -> None:
    """Fold what is left above 2^260, below 2^19, into the three lowest limbs."""
    w(f"x *= {FOLD}")
    w(f"x = uint({r}[0]) + x")
    carry_step(w, f"{r}[0]")
    w(f"x = uint({r}[1]) + x")
    carry_step(w, f"{r}[1]")
    w(f"{r}[2] = {r}[2] + x")


def reduce_columns(w: Lines) -> None:
    """The 39 columns at c become 20 limbs at a."""
    w("# the upper columns to 13 bits, then the lower ones, with 608 times the upper")
    w("x = uint(0)")
    for k in range(LIMBS, 2 * LIMBS - 1):
        w(f"x = uint(c[{k}]) + x")
        carry_step(w, f"c[{k}]")
    w(f"c[{2 * LIMBS - 1}] = x")
    w("x = uint(0)")
    for k in range(LIMBS):
        w(f"x = uint(c[{k + LIMBS}] * {FOLD}) + x")
        w(f"x = uint(c[{k}]) + x")
        carry_step(w, f"a[{k}]")
    tail(w, "a")


def copy_operand(w: Lines) -> None:
    """One base register for the whole product: the columns and, behind them, a copy of the operand."""
    for k in range(LIMBS):
        w(f"c[{OPERAND + k}] = a[{k}]")


def product(w: Lines, column: int, k: int, started: set[int]) -> None:
    """Add limb k of the operand, times x, to a column; the first product of a column sets it."""
    w(f"c[{column}] = c[{OPERAND + k}] * x" + (f" + c[{column}]" if column in started else ""))
    started.add(column)


def multiply(w: Lines) -> None:
    copy_operand(w)
    started: set[int] = set()
    for row in range(LIMBS):
        w(f"x = uint(b[{row}])")
        for k in range(LIMBS):
            product(w, row + k, k, started)


def square(w: Lines) -> None:
    copy_operand(w)
    started: set[int] = set()
    for row in range(LIMBS):
        w(f"x = uint(c[{OPERAND + row}])")
        product(w, 2 * row, row, started)
        if row < LIMBS - 1:
            w("x = x + x")
        for k in range(row + 1, LIMBS):
            product(w, row + k, k, started)


def linear(w: Lines, op: str) -> None:
    for k in range(LIMBS):
        if op == "sum":
            w(f"x = uint(a[{k}])")
            w(f"c[{k}] = b[{k}] + x")
            continue
        w(f"x = uint(a[{k}]) + x")
        if op == "add":
            w(f"x = uint(b[{k}]) + x")
        else:
            w(f"x = x + {BIAS} - uint(b[{k}])")
        carry_step(w, f"c[{k}]")


def machine(w: Lines) -> None:
    w("@micropython.viper")
    w("def run(x: uint, c: ptr32, a: ptr32, program: ptr8):")
    w.depth += 1
    w('"""Run `program` on the memory at `c`; x and a are working registers: call run(0, memory, memory, program)."""')
    w("m = c")
    w("p = program")
    w("op = int(p[0])")
    w("while op:")
    w.depth += 1
    w(f"r = ptr32(int(m) + p[1] * {4 * LIMBS})")
    w(f"a = ptr32(int(m) + p[2] * {4 * LIMBS})")
    w(f"b = ptr32(int(m) + p[3] * {4 * LIMBS})")
    w("c = m")
    w("if op < 3:")
    w.depth += 1
    w("n = 1")
    w("if op == 2:")
    w("    n = int(p[3])")
    w("while n:")
    w.depth += 1
    w("if op == 1:")
    w.depth += 1
    multiply(w)
    w.depth -= 1
    w("else:")
    w.depth += 1
    square(w)
    w.depth -= 1
    w("a = r")
    reduce_columns(w)
    w("n -= 1")
    w.depth -= 2
    w("else:")
    w.depth += 1
    w("c = r")
    w("if op == 5:")
    w.depth += 1
    linear(w, "sum")
    w.depth -= 1
    w("else:")
    w.depth += 1
    w("if op == 3:")
    w.depth += 1
    w("x = uint(0)")
    linear(w, "add")
    w.depth -= 1
    w("else:")
    w.depth += 1
    w(f"x = uint(0) - uint({BIAS_LOW})")
    linear(w, "sub")
    w.depth -= 1
    tail(w, "r")
    w.depth -= 2
    w("p = ptr8(int(p) + 4)")
    w("op = int(p[0])")
    w.depth = 0


def unpack(w: Lines, source: str, target: str) -> None:
    """32 bytes little-endian to 20 limbs, the top bit dropped by the caller's choice of value."""
    for i in range(LIMBS):
        first, shift = divmod(BITS * i, 8)
        terms = []
        for k in range(first, min(32, (BITS * (i + 1) + 7) // 8)):
            place = 8 * (k - first) - shift
            byte = f"{source}[{k}]"
            terms.append(f"({byte} >> {-place})" if place < 0 else f"({byte} << {place})" if place else byte)
        w(f"x = {terms[0]}")
        for term in terms[1:]:
            w(f"x = {term} | x")
        w(f"{target}[{i}] = x & {MASK}" if BITS * (i + 1) < 256 else f"{target}[{i}] = x")


def functions(w: Lines) -> None:
    w()
    w()
    w("@micropython.viper")
    w("def unpack(x: int, d: ptr32, s: ptr8):")
    w.depth += 1
    w('"""Write the limbs of the 32 bytes at s (below 2^255, little-endian) to d; x is a working register."""')
    unpack(w, "s", "d")
    w.depth = 0
    w()
    w()
    w("@micropython.viper")
    w("def pack(x: uint, a: ptr32, s: ptr8):")
    w.depth += 1
    w('"""Write the value of the limbs at a, any size up to 15 bits, as 33 bytes little-endian to s."""')
    w("n = 0")
    w("i = 0")
    w("j = 0")
    w("while j < 33:")
    w.depth += 1
    w("if n < 8:")
    w.depth += 1
    w("if i < 20:")
    w("    x += uint(a[i]) << n")
    w("i += 1")
    w("n += 13")
    w.depth -= 1
    w("s[j] = x & 255")
    w("x >>= 8")
    w("n -= 8")
    w("j += 1")
    w.depth = 0
    w()
    w()
    w("@micropython.viper")
    w("def fetch(x: uint, d: ptr32, s: ptr32, index: int):")
    w.depth += 1
    w('"""Copy the four slots of entry `index` of the window s to d; x is a working register."""')
    w(f"s = ptr32(int(s) + index * {16 * LIMBS})")
    w("i = 4")
    w("while i:")
    w.depth += 1
    for k in range(LIMBS):
        w(f"d[{k}] = s[{k}]")
    w(f"s = ptr32(int(s) + {4 * LIMBS})")
    w(f"d = ptr32(int(d) + {4 * LIMBS})")
    w("i -= 1")
    w.depth = 0
    w()
    w()
    w("@micropython.viper")
    w("def pick(x: int, d: ptr32, s: ptr8, bits: ptr8, shape: int, where: int) -> int:")
    w.depth += 1
    w('"""Write the entry of the comb table s that `bits` select to d (Y+X, Y-X, 2dT: three slots).')
    w()
    w("shape: teeth | columns << 4; where: column | block << 8. Returns 1 if it is to be subtracted, else 0. x is a")
    w("working register.")
    w('"""')
    w("teeth = shape & 15")
    w("columns = shape >> 4")
    w("step = columns + columns")
    w("position = (where & 255) + columns * (where >> 8) + teeth * step")
    w("index = 0")
    w("i = teeth")
    w("while i:")
    w.depth += 1
    w("position -= step")
    w("x = bits[position >> 3] >> (position & 7)")
    w("index = (index << 1) | (x & 1)")
    w("i -= 1")
    w.depth -= 1
    w("half = 1 << (teeth - 1)")
    w("negative = 0")
    w("if index < half:")
    w("    negative = 1")
    w("    index = 0 - 1 - index")
    w("index = (index & (half - 1)) + half * (where >> 8)")
    w("s = ptr8(int(s) + index * 96)")
    w("i = 3")
    w("while i:")
    w.depth += 1
    unpack(w, "s", "d")
    w("s = ptr8(int(s) + 32)")
    w(f"d = ptr32(int(d) + {4 * LIMBS})")
    w("i -= 1")
    w.depth -= 1
    w("return negative")
    w.depth = 0


def literal(data: bytes) -> str:
    return 'b"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def text() -> str:
    w = Lines()
    w('"""The field machine: arithmetic modulo 2^255 - 19 in native code, and programs of point operations for it.')
    w()
    w("Generated by tools/codegen/field_viper.py, which explains it: do not edit. Importing it fails on an interpreter")
    w("without the native emitter.")
    w('"""')
    w("# ruff: noqa: F821  (uint, ptr8 and ptr32 are viper's)")
    w("# fmt: off")
    w()
    w("import micropython")
    w("from micropython import const")
    w()
    w("# places in the machine's memory, in slots of 80 bytes; a product is made in the first three")
    for name in NAMED:
        w(f"{name} = const({SLOTS.index(name)})")
    w(f"SLOT_SIZE = const({4 * LIMBS})")
    w(f"MEMORY_SIZE = const({4 * LIMBS * len(SLOTS)})")
    w()
    for name, source in PROGRAMS.items():
        w(f"{name} = (")
        code = assemble(source)
        for i in range(0, len(code), 24):
            w(f"    {literal(code[i : i + 24])}")
        w(")")
    w()
    w()
    machine(w)
    functions(w)
    return "\n".join(w.text) + "\n"


def main(arguments: list[str]) -> int:
    if OUT.exists() and OUT.read_text() == text():
        return 0
    if "--check" in arguments:
        print(f"{OUT.name} is not what the generator writes: run make crypto-generate")
        return 1
    OUT.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
