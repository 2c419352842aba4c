"""No single fault makes a forged signature pass.

The bytecode implementation is loaded with a probe at every condition, loop, statement and value. A fault is one probe
misbehaving once: a condition inverted, a loop cut off, a statement skipped, a bit of a value flipped or a number put
to zero. The forgeries are those that some skipped step would let through. test_faults.py does the same to the native
code's memory.
"""

import ast
import importlib
import importlib.util
import random
import sys
import types
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "firmware" / "vitrine" / "crypto"
MODULES = ("curve", "scalar", "lattice", "sha512_int", "edwards_int", "ed25519")
PACKAGE = "vitrine_crypto_with_probes"
SEED = random.SystemRandom().randrange(2**32)


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = load("signature_cases")


class Probes(ast.NodeTransformer):
    """Route every condition, loop, statement and assigned value of the functions through the injector."""

    def __init__(self, module):
        self.module = module
        self.depth = 0

    def probe(self, kind, node, *arguments):
        site = ast.Constant((self.module, node.lineno, node.col_offset, kind))
        call = ast.Call(ast.Name(f"_{kind}", ast.Load()), [site, *arguments], [])
        return ast.copy_location(call, node)

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    def generic_visit(self, node):
        super().generic_visit(node)
        if self.depth and isinstance(node, ast.If | ast.While | ast.IfExp):
            node.test = self.probe("condition", node.test, node.test)
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        return self.probe("condition", node, node) if self.depth else node

    def visit_For(self, node):
        self.generic_visit(node)
        if self.depth:
            node.iter = self.probe("loop", node.iter, node.iter)
        return node

    def statement(self, node):
        self.generic_visit(node)
        if not self.depth or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return node
        if not isinstance(node, ast.Expr) and node.value is not None:
            node.value = self.probe("value", node.value, node.value)
        return ast.copy_location(ast.If(self.probe("statement", node), [node], []), node)

    visit_Assign = visit_AugAssign = visit_Return = visit_Expr = statement


class Injector:
    """Counts how often each probe is passed; at the planned passage of the planned probe it misbehaves."""

    def __init__(self):
        self.plan(None, 0)
        self.random = random.Random(SEED)

    def plan(self, site, passage):
        self.site, self.passage = site, passage
        self.passed = {}

    def now(self, site):
        count = self.passed.get(site, 0)
        self.passed[site] = count + 1
        return site == self.site and count == self.passage

    def condition(self, site, value):
        return not value if self.now(site) else value

    def statement(self, site):
        return not self.now(site)

    def loop(self, site, items):
        return iter(()) if self.now(site) else items

    def value(self, site, value):
        return self.flipped(value) if self.now(site) else value

    def flipped(self, value):
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            if self.random.random() < 0.5:
                return 0
            return value ^ 1 << self.random.randrange(max(value.bit_length(), 1))
        if isinstance(value, bytes | bytearray) and value:
            changed = bytearray(value)
            changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
            return type(value)(changed)
        if isinstance(value, tuple | list) and value:
            changed = list(value)
            place = self.random.randrange(len(changed))
            changed[place] = self.flipped(changed[place])
            return type(value)(changed)
        return value


@pytest.fixture(scope="module")
def injector():
    return Injector()


@pytest.fixture(scope="module")
def probed(injector):
    """The crypto package with probes, as a package of another name."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(FOLDER)]
    sys.modules[PACKAGE] = package
    for name in MODULES:
        path = FOLDER / f"{name}.py"
        tree = ast.fix_missing_locations(Probes(name).visit(ast.parse(path.read_text())))
        module = types.ModuleType(f"{PACKAGE}.{name}")
        module.__package__ = PACKAGE
        for kind in ("condition", "statement", "loop", "value"):
            setattr(module, f"_{kind}", getattr(injector, kind))
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(tree, str(path), "exec"), module.__dict__)
    yield importlib.import_module(f"{PACKAGE}.ed25519")
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def forgeries():
    """Signatures that are not, each of which would pass if some step were left out."""
    random_ = random.Random(11)
    key, message, signature = cases.valid(random_)
    other_key, other_message, other = cases.valid(random_)
    secret = 0x1234567
    a = cases.multiple(secret, cases.BASE)
    honest = cases.encode(a)
    s = int.from_bytes(signature[32:], "little")
    yield "another message", (key, message + b"!", signature)
    yield "another key", (other_key, message, signature)
    yield "S + L", (key, message, signature[:32] + (s + cases.L).to_bytes(32, "little"))
    yield "noise", (key, message, other[:32] + signature[32:])
    neutral = cases.encode((0, 1))
    yield "neutral R, S = 0: everything skipped", (honest, b"x", neutral + bytes(32))
    k = 987654321
    big_s = k.to_bytes(32, "little")
    k_base = cases.multiple(k, cases.BASE)
    yield "R = S B: h or A left out", (honest, b"x", cases.encode(k_base) + big_s)
    initial = [int.from_bytes(root, "big") for root in _initial_words()]
    for name, words in (("no block", initial), ("no round", [2 * word % 2**64 for word in initial])):
        h = int.from_bytes(b"".join(word.to_bytes(8, "big") for word in words), "little") % cases.L
        x, y = cases.multiple(h, a)
        r = cases.add(k_base, (cases.P - x, y))
        yield f"R = S B - h A for the hash of {name}", (honest, b"x", cases.encode(r) + big_s)
    h = cases.challenge(neutral, honest, b"x")
    yield "small-order R", (honest, b"x", neutral + (h * secret % cases.L).to_bytes(32, "little"))
    yield "small-order key", (neutral, b"x", cases.encode(k_base) + big_s)
    # R + a point of order 2: right times the cofactor only
    r = cases.add(k_base, (0, cases.P - 1))
    h = cases.challenge(cases.encode(r), honest, b"x")
    s = (k + h * secret) % cases.L
    yield "R with a small-order part", (honest, b"x", cases.encode(r) + s.to_bytes(32, "little"))


def _initial_words():
    path = FOLDER / "sha512_tables.py"
    tables = {}
    exec(path.read_text(), tables)
    initial = tables["INITIAL"]
    return [initial[i : i + 8] for i in range(0, 64, 8)]


def granted(probed, case, table, by_verify=True):
    """Tell whether the case is granted, by its verdict or by `verify`. A fault may end in any exception: no grant."""
    try:
        if table is None:
            return probed.verdict(*case) == probed.GRANT or (by_verify and probed.verify(*case) is True)
        key = probed.PublicKey.__new__(probed.PublicKey)
        key.raw, key.point, key._window, key._table = table
        key._scratch = None
        return key.verdict(*case[1:]) == probed.GRANT or (by_verify and key.verify(*case[1:]) is True)
    except Exception:
        return False


def pinned(probed, case):
    """The insides of a key with its comb table, made without faults; None for a key that cannot be made."""
    comb = importlib.import_module(f"{PACKAGE}.comb")
    try:
        key = probed.PublicKey(case[0])
    except ValueError:
        return None
    table = list(comb.build(key, 3))[-1]
    return key.raw, key.point, None, table


def test_the_probed_copy_judges_rightly_without_a_fault(probed, injector):
    injector.plan(None, 0)
    good = cases.valid(random.Random(5))
    assert granted(probed, good, None)
    assert granted(probed, good, pinned(probed, good))
    for name, case in forgeries():
        assert not granted(probed, case, None), name
        assert not cases.libsodium(case), name
        table = pinned(probed, case)
        assert table is None or not granted(probed, case, table), name


@pytest.mark.parametrize("way", ["window", "comb"])
def test_no_single_fault_grants_a_forgery(probed, injector, way):
    print("seed", SEED)
    sys.modules[f"{PACKAGE}.sha512_int"].WIDTH = 4 if way == "window" else 8
    random_ = random.Random(SEED)
    runs = 0
    for name, case in forgeries():
        injector.plan(None, 0)
        table = pinned(probed, case) if way == "comb" else None
        if way == "comb" and table is None:
            continue
        injector.plan(None, 0)
        granted(probed, case, table)
        for site, count in list(injector.passed.items()):
            # all of what decides, a sample of what computes
            if site[0] != "ed25519" and random_.random() > 0.05:
                continue
            passages = [0] if count == 1 else [0, random_.randrange(count)]
            if site[0] == "ed25519" and site[3] == "value":
                passages *= 2  # a value can go wrong in many ways
            for passage in passages:
                injector.plan(site, passage)
                # One truth value at the very end is one bit: who must resist its flip compares the verdict himself.
                by_verify = site[3] != "value" and random_.random() < 0.2
                assert not granted(probed, case, table, by_verify), (name, site, passage, SEED)
                runs += 1
    assert runs > 500


def test_the_faults_do_bite(probed, injector):
    """The same faults turn good signatures down: the probes are where they should be."""
    case = cases.valid(random.Random(5))
    injector.plan(None, 0)
    granted(probed, case, None)
    sites = [site for site in injector.passed if site[0] not in ("sha512_int", "curve")]
    refused = 0
    for site in sites[::3]:
        injector.plan(site, 0)
        refused += not granted(probed, case, None, by_verify=False)
    assert refused > len(sites[::3]) // 2
