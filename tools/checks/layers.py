"""Who may import whom in the firmware (firmware/README.md), held by reading the code, not by running it.

python tools/checks/layers.py [FOLDER]     FOLDER: the one with boot.py, main.py and vitrine/ (default: firmware)

Prints one line for each violation and exits with 1, or one line in all and exits with 0.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

# package: what of ours it may import beside itself
LAYERS: dict[str, set[str]] = {
    "crypto": set(),
    "codec": {"crypto"},
    "access": {"crypto", "codec"},
    "door": set(),
    "audit": {"crypto", "codec"},
    "app": {"door", "access", "audit", "codec", "crypto"},
    "drivers": set(),
    "links": {"app", "codec"},
}
# drivers may know the door's tick arithmetic and what a clock's mark means, nothing else of ours; the
# version is a name and a number
SHARED = {
    ("app", "vitrine.version"),
    ("drivers", "vitrine.door.ticks"),
    ("drivers", "vitrine.access.trusted_time"),
}

# modules that touch the world: the packages that may import them
OUTSIDE = {
    "machine": {"drivers"},
    "esp32": {"drivers"},
    "network": {"links"},
    "bluetooth": {"links"},
    "aioble": {"links"},
    "microdot": {"links"},
    "umqtt": {"links"},
    "socket": {"links"},
    "ssl": {"links"},
    "tls": {"links"},
    "asyncio": {"app", "drivers", "links"},
    "board": set(),
    "_thread": {"links"},
}
# what differs between targets is which modules the board provides
PLATFORM = {("sys", "platform"), ("os", "uname")}

Violation = tuple[int, str]


def check_file(path: Path, root: Path) -> list[Violation]:
    """Return the violations of one file below `root`, as (line, what is wrong)."""
    tree = ast.parse(path.read_text(), str(path))
    parts = path.relative_to(root).with_suffix("").parts
    package = parts[1] if parts[0] == "vitrine" and len(parts) > 2 else None
    found = list(_platform(tree))
    if package is None:
        return found  # boot.py, main.py: they build everything
    if package not in LAYERS:
        return [*found, (1, f"{package} is no package of firmware/README.md")]
    found += _imports(tree, package, parts)
    found += _hardware_at_import(tree)
    return sorted(set(found))


def _imported(tree: ast.AST, parts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of everything that is imported, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def _imports(tree: ast.Module, package: str, parts: tuple[str, ...]) -> Iterator[Violation]:
    only_types = {
        line for node in ast.walk(tree) if isinstance(node, ast.If) and _is_type_checking(node) for line in _lines(node)
    }
    for line, name in _imported(tree, parts):
        top, *below = name.split(".")
        if top == "vitrine":
            other = below[0] if below else ""
            allowed = other == package or other in LAYERS[package]
            is_shared = any(package == who and f"{name}.".startswith(f"{module}.") for who, module in SHARED)
            if not allowed and not is_shared:
                yield line, f"{package} may not import {name}"
        elif top in OUTSIDE and package not in OUTSIDE[top] and line not in only_types:
            yield line, f"{package} may not import {top}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            yield node.lineno, "an import that this check cannot read"


def _hardware_at_import(tree: ast.Module) -> Iterator[Violation]:
    """Yield calls of hardware modules' names that run while the module is imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({a.asname or a.name: a.name for a in node.names if a.name.split(".")[0] in OUTSIDE})
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OUTSIDE:
            names.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in _run_at_import(tree):
        if not isinstance(node, ast.Call):
            continue
        target = node.func
        while isinstance(target, ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name) and target.id in names:
            yield node.lineno, f"{ast.unparse(node.func)}() runs at import"


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs at import: all but the bodies of functions; their defaults and decorators do run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in [*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)]:
                yield part
                yield from _run_at_import(part)
        elif not isinstance(child, ast.Lambda):
            yield child
            yield from _run_at_import(child)


def _platform(tree: ast.Module) -> Iterator[Violation]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = (node.value.id, node.attr)
        elif isinstance(node, ast.ImportFrom):
            name = next(((node.module, a.name) for a in node.names if (node.module, a.name) in PLATFORM), None)
        else:
            continue
        if name in PLATFORM:
            yield node.lineno, f"{'.'.join(map(str, name))}: the same code runs on every target"


def _is_type_checking(node: ast.If) -> bool:
    # the firmware's own, with an underscore, takes no room in the module
    return isinstance(node.test, ast.Name) and node.test.id in ("TYPE_CHECKING", "_TYPE_CHECKING")


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def main(arguments: list[str]) -> int:
    root = Path(arguments[0] if arguments else Path(__file__).resolve().parents[2] / "firmware")
    files = sorted(root.rglob("*.py"))
    if not files:
        print(f"layers: no Python files in {root}", file=sys.stderr)
        return 2
    count = 0
    for path in files:
        for line, what in check_file(path, root):
            print(f"{path}:{line}: {what}")
            count += 1
    if count:
        return 1
    print(f"layers: {len(files)} files, no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
