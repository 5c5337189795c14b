"""What a killed process left unfinished is removed by the next; what a living one writes is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiodicom.dataset import leftovers
from aiodicom.dataset.leftovers import is_left_over, part_name, remove_leftovers


def of_a_dead_process() -> str:
    code = "from aiodicom.dataset.leftovers import part_name; print(part_name())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    dead, ours = of_a_dead_process(), part_name()
    for name in (dead, ours, "1.2.3.dcm", "notes.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / dead).write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {ours, "1.2.3.dcm", "notes.part", "folder"}
    assert remove_leftovers(tmp_path) == 0


@pytest.mark.parametrize(
    "name",
    [
        "x.part",
        ".part",
        ".0123456789abcdef.part",
        "../.part",
        ".zz-1-0123456789abcdef.part",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert not is_left_over(name)


def test_a_number_that_no_process_has_is_nobodys() -> None:
    machine = part_name()[1:9]
    assert not is_left_over(f".{machine}-9999999999-0123456789abcdef.part")


def test_a_process_of_another_machine_may_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may lie on a network file system."""
    dead = of_a_dead_process()
    assert is_left_over(dead)
    monkeypatch.setattr(leftovers, "_machine", lambda: "00000000")
    assert not is_left_over(dead)


def test_a_process_that_is_not_ours_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not is_left_over(of_a_dead_process())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "none") == 0


@pytest.mark.parametrize("name", ["a.nii.gz", "a.npy", "a"])
def test_what_is_being_written_has_its_name_when_it_is_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), leftovers.whole(path) as temporary:
        temporary.write_text("half")
        assert temporary.name.endswith(name[1:])  # libraries choose by the ending
        raise ZeroDivisionError
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "before")]
    with leftovers.whole(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "after")]


def test_a_folder_that_is_not_whole_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), leftovers.whole(tmp_path / "a.zarr") as temporary:
        (temporary / "0").mkdir(parents=True)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
