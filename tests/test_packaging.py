"""Root folders under one import name: pyproject, the links for type checkers and the folders agree."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = ROOT / ".link" / "aiodicom"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
NO_PRODUCT = {"tests", "benchmarks", "build", "dist", "docs"}


def folders_with_code() -> dict[str, str]:
    """Import name -> folder of each package found at the root: `api/` is aiodicom itself."""
    found = {}
    for init in sorted(ROOT.glob("[a-z]*/**/__init__.py")):
        parts = init.parent.relative_to(ROOT).parts
        if parts[0] in NO_PRODUCT:
            continue
        name = ["aiodicom", *(parts[1:] if parts[0] == "api" else parts)]
        found[".".join(name)] = "/".join(parts)
    return found


def test_every_folder_is_packaged() -> None:
    """A nested package left out is missing from the wheel alone: no other test would see it."""
    assert set(SETUPTOOLS["packages"]) == set(folders_with_code())
    assert SETUPTOOLS["package-dir"] == folders_with_code()


def test_no_module_lies_outside_a_package() -> None:
    for folder in folders_with_code().values():
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path.relative_to(ROOT)


def test_no_root_folder_is_named_like_the_package() -> None:
    """It would shadow the installed one when Python runs from the clone."""
    assert not (ROOT / "aiodicom").exists()
    assert not (ROOT / "__init__.py").exists()


def test_links_for_type_checkers_resolve_and_cover_everything() -> None:
    links = {path.name: path for path in LINKS.iterdir() if path.name != "__pycache__"}
    for path in links.values():
        assert path.is_symlink(), path.name
        assert not path.readlink().is_absolute(), path.name
        assert path.resolve(strict=True).is_relative_to(ROOT)
    for name, folder in folders_with_code().items():
        linked = LINKS.joinpath(*name.split(".")[1:])
        target = linked.resolve(strict=True) if linked != LINKS else (LINKS / "__init__.py").resolve().parent
        assert target == ROOT / folder, name
    front_door = {path.name for path in (ROOT / "api").iterdir() if path.name != "__pycache__"}
    assert front_door <= set(links), "a file of api/ has no link"


@pytest.mark.parametrize("folder", [f for f in folders_with_code().values() if "/" not in f])
def test_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()
    assert SETUPTOOLS["package-data"]["*"] == ["py.typed"]


def test_one_version() -> None:
    version = PROJECT["project"]["version"]
    assert importlib.metadata.version("aiodicom") == version
    module = importlib.import_module("aiodicom")
    assert getattr(module, "__version__", version) == version


def test_the_lowest_python_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"


def test_what_a_command_needs_is_an_extra_and_what_a_test_needs_another() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    base = " ".join(PROJECT["project"]["dependencies"])
    for name in ("click", "rich", "matplotlib", "trustme", "pynetdicom", "pytest"):
        assert name not in base
        assert any(name in requirement for extra in extras.values() for requirement in extra), name
    assert not [r for name in ("cli", "draw", "demo") for r in extras[name] if "pynetdicom" in r]


SCRIPT = """
import asyncio
import contextlib
import aiodicom

async def main(pacs: aiodicom.Pacs) -> list[str]:
    async with contextlib.aclosing(pacs.find("STUDY", {"PatientName": "A*"})) as found:
        names = [str(match.PatientName) async for match in found]
    result: aiodicom.RetrieveResult = await pacs.get("STUDY", "1.2.3", directory="out")
    return names + [str(path) for path in result.files]

if __name__ == "__main__":
    print(aiodicom.connect.__module__)
"""


def test_a_script_beside_the_clone_imports_and_is_type_checked(tmp_path: Path) -> None:
    """After `make`, in another folder: the environment alone says where aiodicom is."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    surroundings = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")
    }
    for command in (["script.py"], ["-m", "mypy", "--strict", "--cache-dir", "cache", "script.py"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
