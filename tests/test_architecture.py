"""The layers of docs/design.md hold: who imports whom, what stays pure, how long a file gets.

The order of names in `__all__` is ruff's to check (RUF022).
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {  # import name: folder
    "aiodicom.pdu": "pdu",
    "aiodicom.dataset": "dataset",
    "aiodicom.dimse": "dimse",
    "aiodicom.imaging": "imaging",
    "aiodicom.association": "association",
    "aiodicom.archive": "archive",
    "aiodicom.server": "server",
    "aiodicom.client": "client",
    "aiodicom.conformance": "conformance",
    "aiodicom.conformance.cases": "conformance/cases",
    "aiodicom.conformance.foils": "conformance/foils",
    "aiodicom.testing": "testing",
    "aiodicom": "api",
    "aiodicom.cli": "api/cli",
}
MAY_IMPORT: dict[str, set[str]] = {
    "pdu": set(),
    "dataset": {"pdu"},
    "dimse": {"pdu"},
    "imaging": {"dataset"},
    "association": {"pdu", "dataset", "dimse"},
    "archive": {"pdu", "dataset", "dimse"},
    "server": {"pdu", "dataset", "dimse", "association", "archive"},
    "client": {"pdu", "dataset", "dimse", "association", "server"},
    "conformance": set(),  # the judge shares nothing with what it judges
    "testing": {"pdu", "dataset", "dimse", "association", "archive", "server", "client", "conformance"},
    "api": {
        "pdu",
        "dataset",
        "dimse",
        "imaging",
        "association",
        "archive",
        "server",
        "client",
        "conformance",
    },
}
PURE = ("pdu", "dimse")
IMPURE_MODULES = {
    # waiting, sockets, clocks
    "asyncio", "select", "selectors", "socket", "socketserver", "ssl", "sched", "time", "uvloop",
    # threads and processes
    "concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading", "_thread",
    # files and the surroundings
    "fcntl", "glob", "logging", "mmap", "os", "pathlib", "platform", "shutil", "sqlite3", "tempfile",
    # chance
    "random", "secrets", "uuid",
}  # fmt: skip
IMPURE_NAMES = {"io": {"open", "open_code", "FileIO"}, "datetime": {"now", "today", "utcnow"}}
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "breakpoint", "__import__"}
NEVER = {"pynetdicom", "subprocess"}  # a peer in tests alone; nothing here starts a process
OPTIONAL = {"matplotlib", "scipy", "imagecodecs", "nibabel", "nrrd", "SimpleITK", "torch", "PIL"}  # extras
THIRD_PARTY: dict[str, set[str]] = {
    "pdu": set(),
    "dataset": {"pydicom"},
    "dimse": {"pydicom"},
    "imaging": {"numpy", "pydicom", *OPTIONAL},
    "association": {"pydicom"},
    "archive": {"pydicom"},
    "server": {"pydicom"},
    # pandas where a user has it: `Matches.to_dataframe`; httpx and tomlkit are extras
    "client": {"pydicom", "pandas", "httpx", "tomlkit"},
    "conformance": {"pytest"},  # the bridge, which is imported from tests alone
    "testing": {"pydicom", "pytest"},
    "api": {"numpy", "pydicom", "uvloop", "click", "rich", "trustme", "opentelemetry"},
}
MAX_LINES = 500
MAX_FUNCTION = 50  # lines from `def` to the end, docstring included


def layer_files() -> list[tuple[str, Path]]:
    """Every product file with the layer (root folder) it belongs to."""
    return [(layer, path) for layer in MAY_IMPORT for path in sorted((ROOT / layer).rglob("*.py"))]


def ids(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


ALL_FILES = pytest.mark.parametrize(("layer", "path"), layer_files(), ids=ids)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    """The name a file is imported by."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts[:1] = ["aiodicom"] if parts[0] == "api" else ["aiodicom", parts[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, tree: ast.Module | None = None) -> Iterator[tuple[str, int]]:
    """Every module a file imports, absolute, wherever in it and for typing too, with the line."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree or parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if source == "aiodicom":  # from .. import pdu
                for alias in node.names:
                    yield f"{source}.{alias.name}", node.lineno
            else:
                yield source, node.lineno


def layer_of(module: str) -> str | None:
    """The layer of one of our modules; None for others'."""
    parts = module.split(".")
    if parts[0] != "aiodicom":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "api"


def broken_directions(layer: str, path: Path, tree: ast.Module | None = None) -> list[str]:
    return [
        f"line {line}: {layer} imports {module}"
        for module, line in imports(path, tree)
        if (target := layer_of(module)) is not None and target != layer and target not in MAY_IMPORT[layer]
    ]


def impurities(path: Path, tree: ast.Module | None = None) -> list[str]:
    found = []
    for module, line in imports(path, tree):
        if module.split(".")[0] in IMPURE_MODULES:
            found.append(f"line {line}: imports {module}")
    for node in ast.walk(tree or parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
            found.append(f"line {node.lineno}: calls {node.func.id}()")
        elif isinstance(node, ast.ImportFrom):
            wrong = {alias.name for alias in node.names} & IMPURE_NAMES.get(node.module or "", set())
            found += [f"line {node.lineno}: imports {node.module}.{name}" for name in sorted(wrong)]
        elif isinstance(node, ast.Attribute):
            for module, names in IMPURE_NAMES.items():
                # io.open, datetime.now, datetime.datetime.now, date.today
                if node.attr in names and ast.unparse(node.value).split(".")[0] in (module, module[:4]):
                    found.append(f"line {node.lineno}: uses {ast.unparse(node)}")
    return found


@ALL_FILES
def test_imports_go_one_way(layer: str, path: Path) -> None:
    assert broken_directions(layer, path) == []


@ALL_FILES
def test_our_own_modules_are_imported_relatively(layer: str, path: Path) -> None:
    """The folder `api/` is called aiodicom only once installed (docs: packaging)."""
    absolute = [
        node.lineno
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "aiodicom" for a in node.names))
        or (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").split(".")[0] == "aiodicom"
        )
    ]
    assert absolute == []


@pytest.mark.parametrize("path", [path for layer, path in layer_files() if layer in PURE], ids=ids)
def test_protocol_layers_are_pure(path: Path) -> None:
    assert impurities(path) == []


@ALL_FILES
def test_no_process_is_started_and_no_peer_imported(layer: str, path: Path) -> None:
    assert [f"line {line}: {name}" for name, line in imports(path) if name.split(".")[0] in NEVER] == []


@ALL_FILES
def test_a_layer_uses_only_the_libraries_it_may(layer: str, path: Path) -> None:
    foreign = {
        name.split(".")[0]
        for name, _ in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("aiodicom")
    }
    assert foreign <= THIRD_PARTY[layer]


@ALL_FILES
def test_a_file_fits_in_the_head(layer: str, path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


STATUSES = {
    0x0122, 0x0124, 0x0110, 0x0111, 0x0117, 0x0210, 0x0211, 0x0212, 0x0213,
    0xA700, 0xA701, 0xA702, 0xA801, 0xA900, 0xC000, 0xB000, 0xFE00, 0xFF00, 0xFF01,
}  # fmt: skip


def status_literals(path: Path, tree: ast.Module | None = None) -> list[str]:
    """Statuses written as numbers: hexadecimal integers that are a status of dimse/status.py."""
    source = path.read_text(encoding="utf-8") if tree is None else ""
    found = []
    for node in ast.walk(tree or parse(path)):
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in STATUSES:
            written = ast.get_source_segment(source, node) if source else hex(node.value)
            if written and written.lower().startswith("0x"):
                found.append(f"line {node.lineno}: {written}")
    return found


@pytest.mark.parametrize(
    "path",
    [path for layer, path in layer_files() if layer in ("association", "archive", "server", "client", "api")],
    ids=ids,
)
def test_statuses_are_written_by_name(path: Path) -> None:
    assert status_literals(path) == []


STARTING = {"create_task", "ensure_future", "add_done_callback", "run_in_executor", "to_thread", "TaskGroup"}


@ALL_FILES
def test_work_is_started_in_one_place(layer: str, path: Path) -> None:
    """`association/tasks.py` starts tasks and thread work, and says what follows them; the judge, which
    imports nothing of it, starts clients under test in one place of its own; what is written on threads is
    told of a commit by the thread that made it. Peers for tests are tests."""
    found = [
        f"line {node.lineno}: {name}"  # type: ignore[attr-defined]
        for node in ast.walk(parse(path))
        for name in (getattr(node, "attr", None), getattr(node, "id", None), getattr(node, "name", None))
        if name in STARTING
    ]
    files = ("association/tasks.py", "conformance/caller.py", "archive/queued.py")
    places = [ROOT / one for one in files]
    assert layer == "testing" or bool(found) == (path in places), found


@ALL_FILES
def test_inner_modules_speak_one_dialect(layer: str, path: Path) -> None:
    """CONTRIBUTING.md: no `__all__` but in a package's door, no `Final`."""
    names = {node.id for node in ast.walk(parse(path)) if isinstance(node, ast.Name)}
    assert "Final" not in names
    assert path.name == "__init__.py" or "__all__" not in names


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@ALL_FILES
def test_a_function_fits_a_screen(layer: str, path: Path) -> None:
    long = {
        found.name: length
        for found in functions(parse(path))
        if (length := (found.end_lineno or found.lineno) - found.lineno + 1) > MAX_FUNCTION
    }
    assert long == {}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, by whatever way round."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = edges.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    below = {name: reached(name) for name in edges}
    together = {
        frozenset(other for other in below[name] if name in below.get(other, ())) | {name}
        for name in edges
        if name in below[name]
    }
    return sorted(sorted(group) for group in together)


def module_edges() -> dict[str, set[str]]:
    """Every module of ours with those it imports, for typing too; `from . import x` is the module x."""
    names = {module_name(path) for _, path in layer_files()}
    edges: dict[str, set[str]] = {name: set() for name in names}
    for _, path in layer_files():
        package = module_name(path).split(".")[: None if path.name == "__init__.py" else -1]
        for node in ast.walk(parse(path)):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                target = f"{base}.{alias.name}"
                edges[module_name(path)].add(target if target in names else base)
    return edges


def test_no_module_goes_round_in_a_circle() -> None:
    assert circles(module_edges()) == []


def test_the_circle_check_sees_what_it_must() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"a"}}) == [["a"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("layer", "source", "words"),
    [
        ("pdu", "from ..dimse import messages", "pdu imports aiodicom.dimse"),
        ("pdu", "from .. import dimse", "pdu imports aiodicom.dimse"),
        ("dimse", "def f():\n    from ..association.tls import x", "dimse imports aiodicom.association.tls"),
        ("server", "from ..client import x", "server imports aiodicom.client"),
        ("imaging", "import aiodicom.pdu.types", "imaging imports aiodicom.pdu.types"),
        ("server", "from .. import connect", "server imports aiodicom.connect"),
        ("server", "from ..association.tls import x\nfrom .listener import y", None),
    ],
)
def test_the_direction_check_sees_what_it_must(layer: str, source: str, words: str | None) -> None:
    found = broken_directions(layer, ROOT / layer / "made_up.py", ast.parse(source))
    assert (words in found[0]) if words else (found == [])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import asyncio.streams", "imports asyncio"),
        ("def f():\n    from time import monotonic", "imports time"),
        ("import io\nio.open('a')", "uses io.open"),
        ("from io import open as o", "imports io.open"),
        ("from datetime import datetime\ndatetime.now()", "uses datetime.now"),
        ("from datetime import date\ndate.today()", "uses date.today"),
        ("print(1)", "calls print()"),
        ("from io import BytesIO\nimport struct\nself.open()", None),
    ],
)
def test_the_purity_check_sees_what_it_must(source: str, words: str | None) -> None:
    found = impurities(ROOT / "pdu" / "made_up.py", ast.parse(source))
    assert (words in "; ".join(found)) if words else (found == [])


# --- In a fresh interpreter ----------------------------------------------------------------------

_IMPORT_EACH = """
import importlib, json, sys, types
job = json.loads(sys.argv[1])
if job["bare"]:  # the front door imports every layer: stand in for it, to see what a layer itself pulls in
    door = types.ModuleType("aiodicom")
    door.__path__ = job["path"]
    sys.modules["aiodicom"] = door
for name in job["preloaded"]:
    importlib.import_module(name)
before = set(sys.modules)
failed = {}
for name in job["modules"]:
    for loaded in [m for m in sys.modules if m.split(".")[0] == "aiodicom"]:
        if loaded != "aiodicom" or not job["bare"]:
            del sys.modules[loaded]  # each alone: no module leans on another having been imported first
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps({"failed": failed, "new": sorted(set(sys.modules) - before)}))
"""


def import_each(
    modules: list[str], *, bare: bool, preloaded: tuple[str, ...] = ()
) -> tuple[dict[str, str], set[str]]:
    """Import modules one by one in a fresh interpreter: which failed, and what came with them."""
    path = [str(ROOT), str(ROOT / "api")]
    job = json.dumps({"modules": modules, "bare": bare, "path": path, "preloaded": preloaded})
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_EACH, job],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT.parent,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["failed"], set(answer["new"])


# What pydicom itself pulls in (ssl among it) is not dimse's or imaging's doing.
PRELOADED = {
    "pdu": (),
    "dataset": ("pydicom.filereader", "pydicom.filewriter", "pydicom.datadict"),
    "dimse": ("pydicom.datadict",),
    "imaging": ("numpy", "pydicom.filereader", "pydicom.filewriter", "pydicom.pixels"),
}


@pytest.mark.parametrize("layer", [layer for layer in MAY_IMPORT if layer != "api"])
def test_each_module_imports_alone(layer: str) -> None:
    modules = [module_name(path) for found, path in layer_files() if found == layer]
    failed, new = import_each(modules, bare=True, preloaded=PRELOADED.get(layer, ()))
    assert failed == {}
    if layer in PURE:
        assert new & IMPURE_MODULES == set()
    if layer == "pdu":
        assert new & {"numpy", "pydicom"} == set()
    if layer in ("dataset", "imaging", "archive"):
        assert new & {"uvloop", "aiodicom.association", "matplotlib"} == set()
    if layer in ("dataset", "imaging"):
        assert new & {"asyncio", "ssl", "aiodicom.dimse"} == set()


def test_the_front_door_imports_alone() -> None:
    modules = [module_name(path) for layer, path in layer_files() if layer == "api"]
    failed, new = import_each(modules, bare=False)
    assert failed == {}
    assert "aiodicom" in new


# --- Public names --------------------------------------------------------------------------------


@pytest.mark.parametrize("package", list(PACKAGES))
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    declared = list(getattr(module, "__all__", []))
    assert len(declared) == len(set(declared))
    assert [name for name in declared if not hasattr(module, name)] == []
    tree = parse(ROOT / PACKAGES[package] / "__init__.py")
    offered = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    public = {name for name in offered if not name.startswith("_")}
    assert public <= set(declared), f"not in __all__: {sorted(public - set(declared))}"
