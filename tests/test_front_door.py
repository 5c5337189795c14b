"""The front door: what is there, what is not, and the tree of errors it draws."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import aiodicom
import pytest
from test_architecture import layer_files, module_name


def error_classes() -> dict[str, type[Exception]]:
    """Every exception class of the product but private ones, by name."""
    found: dict[str, type[Exception]] = {}
    for layer, path in layer_files():
        if layer in ("conformance", "testing"):  # neither is the stack: a judge, and peers for tests
            continue
        module = importlib.import_module(module_name(path))
        for name, value in vars(module).items():
            ours = inspect.isclass(value) and value.__module__ == module.__name__
            if ours and issubclass(value, Exception) and not name.startswith("_"):
                assert found.setdefault(name, value) is value, f"{name} exists twice"
    return found


def drawn() -> dict[str, str | None]:
    """Name and parent of each class in the drawing."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in (aiodicom.__doc__ or "").splitlines():
        match = re.match(r"((?:│   |    )*)([├└]── )?([A-Z][A-Za-z]+)(?:  |$)", line)
        if match is None or (match[2] is None and match[3] != "AiodicomError"):
            continue
        depth = 0 if match[2] is None else len(match[1]) // 4 + 1
        del above[depth:]
        found[match[3]] = above[-1] if above else None
        above.append(match[3])
    return found


def test_the_drawing_is_the_tree() -> None:
    tree = {
        name: None if kind is aiodicom.AiodicomError else kind.__mro__[1].__name__
        for name, kind in error_classes().items()
    }
    assert drawn() == tree


def test_every_error_is_at_the_door_and_below_the_root() -> None:
    for name, kind in error_classes().items():
        assert issubclass(kind, aiodicom.AiodicomError)
        assert getattr(aiodicom, name) is kind


def made(kind: type[Exception]) -> Exception:
    """One of a class, with something in every argument."""
    arguments: dict[str, object] = {}
    if kind.__init__ is not Exception.__init__ and "__init__" in dir(kind):
        try:
            parameters = inspect.signature(kind).parameters.values()
        except ValueError:
            parameters = []  # type: ignore[assignment]
        values = {"int": 3, "str": "text", "bool": True, "Iterable[str]": ["a"], "Sequence[int]": (1, 2)}
        values |= {"tuple[int, ...]": (1,), "dict[int, Value]": {1: b""}}
        for parameter in parameters:
            kinds = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if parameter.kind not in kinds and parameter.default is parameter.empty:
                arguments[parameter.name] = values[str(parameter.annotation)]
    return kind(**arguments) if arguments else kind("what happened")


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_an_error_is_pickled_and_copied_with_what_it_knows(name: str) -> None:
    error = made(error_classes()[name])
    assert isinstance(error, aiodicom.AiodicomError)
    error.at("ORTHANC@pacs:104")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert again.args == error.args
        assert vars(again) == vars(error)
        assert str(again) == str(error)
    assert "ORTHANC@pacs:104" in str(error)
    assert error.at("another").peer == "ORTHANC@pacs:104"


DOCUMENTED = """
PduLimits StoreSink StoreOutcome ImagingError VolumeError AssociationEnded DatasetDecodeError StoredItem
ReceivedItem Status Context diagnose CStoreRQ NCreateRQ Request storage_sop_classes SUPPORTED_VERIFICATION
SUPPORTED_STORAGE encode_file_meta Association serve_archive Archive
"""


def test_what_the_docs_tell_users_to_use() -> None:
    for name in DOCUMENTED.split():
        assert name in aiodicom.__all__
        assert getattr(aiodicom, name) is not None
    assert dir(aiodicom) == sorted(aiodicom.__all__)
    with pytest.raises(AttributeError, match="Pdulimits"):
        aiodicom.Pdulimits  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("aiodicom.PduLimitz()", 'has no attribute "PduLimitz"'),
        ("aiodicom.imaging.Volum", 'has no attribute "Volum"'),
        ("aiodicom.PduLimits()", None),
    ],
)
def test_a_misspelt_name_is_an_error_for_type_checkers(tmp_path: Path, line: str, words: str | None) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import aiodicom\nimport aiodicom.imaging\n{line}\n")
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)],
        env={"MYPYPATH": str(root / ".link"), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (words in done.stdout) if words else (done.returncode == 0), done.stdout


def test_test_connection_is_no_test_of_its_users() -> None:
    assert aiodicom.test_connection.__test__ is False  # type: ignore[attr-defined]


@pytest.mark.parametrize("package", ["aiodicom", "aiodicom.imaging", "aiodicom.testing"])
def test_no_name_that_is_loaded_late_is_that_of_a_module(package: str) -> None:
    """Importing the module would put it in the place of the name."""
    door = importlib.import_module(package)
    modules = {one.name for one in pkgutil.iter_modules(door.__path__)}
    assert set(door.__all__) & modules == set()
