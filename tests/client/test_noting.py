"""The file of nodes is written to as its user would: what is not meant stays, comments and order too."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from aiodicom.client.nodes import CONFIG_VARIABLE, NodeError, find_node
from aiodicom.client.noting import note_quirks

FILE = """# our archives

[nodes.pacs]   # the big one
host = "pacs.example.org"
port = 104
calling_ae = 'WS'  # as registered

[nodes.other]
host = "other"
port = 11112

[nodes.other.quirks]
cap = 100
"""
VALUES: dict[str, Any] = {
    "roots": ["STUDY", "PATIENT"],
    "methods": ["move"],
    "cap": 500,
    "cancel": False,
    "relational": True,
    "roles": False,
    "window": True,
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    path.write_text(FILE)
    return path


def test_every_member_is_written_as_it_is_read(file: Path) -> None:
    assert note_quirks("@pacs", VALUES) == file
    quirks = find_node("pacs").quirks
    assert [root.value for root in quirks.roots or ()] == ["STUDY", "PATIENT"]
    assert (quirks.methods, quirks.cap, quirks.cancel) == (("move",), 500, False)
    assert (quirks.relational, quirks.roles, quirks.window) == (True, False, True)
    assert find_node("other").quirks.cap == 100


def test_what_stood_there_stays_line_by_line(file: Path) -> None:
    note_quirks("pacs", VALUES)
    left = iter(file.read_text().splitlines())
    assert all(line in left for line in FILE.splitlines())  # each, in this order


def test_what_is_none_is_taken_out(file: Path) -> None:
    note_quirks("pacs", VALUES)
    note_quirks("pacs", {"cap": None, "methods": None, "roles": True})
    quirks = find_node("pacs").quirks
    assert (quirks.cap, quirks.methods, quirks.roles, quirks.window) == (None, None, True, True)
    left = iter(file.read_text().splitlines())
    assert all(line in left for line in FILE.splitlines())
    note_quirks("pacs", {"cap": None})


def test_what_is_known_again_changes_nothing(file: Path) -> None:
    note_quirks("pacs", VALUES)
    before, number = file.read_bytes(), file.stat().st_ino
    note_quirks("pacs", VALUES)
    assert (file.read_bytes(), file.stat().st_ino) == (before, number)


@pytest.mark.parametrize(
    "text",
    [
        '[nodes.pacs]\nhost = "a"\nport = 1\nquirks = { cap = 3, cancel = true }  # inline\n',
        '[nodes.pacs]\nhost = "a"\nport = 1\nquirks.cap = 3 # dotted\n[nodes.pacs.timeouts]\nconnect = 3\n',
        'nodes = { pacs = { host = "a", port = 1 } }\n',
        '[nodes]\npacs = { host = "a", port = 1 }\n',
        '[nodes."pacs"]\nhost = "a"\nport = 1\n[other]\nx = 1\n[nodes.pacs.quirks]\ncap = 3 # kept\n',
        '[nodes.pacs.quirks]\ncap = 3\n[nodes.pacs]\nhost = "a"\nport = 1',
        '[nodes.pacs]\r\nhost = "a"\r\nport = 1\r\n',
    ],
)
def test_however_it_was_written(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    note_quirks("pacs", VALUES)
    quirks = find_node("pacs").quirks
    assert (quirks.cap, quirks.methods) == (500, ("move",))
    comments = [line for line in text.splitlines() if "#" in line]
    assert all(line.split("#")[1] in file.read_text() for line in comments)


def test_a_way_to_write_it_that_is_too_odd_is_told_and_left(file: Path) -> None:
    file.write_text('nodes.pacs.host = "a"\nnodes.pacs.port = 1\n')
    with pytest.raises(NodeError, match="cannot be put into"):
        note_quirks("pacs", VALUES)
    assert file.read_text() == 'nodes.pacs.host = "a"\nnodes.pacs.port = 1\n'


def test_a_link_stays_one_and_rights_stay(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    file.rename(kept)
    kept.chmod(0o640)
    file.symlink_to(kept)
    note_quirks("pacs", {"cap": 200})
    assert file.is_symlink()
    assert "cap = 200" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.toml", "dotfiles.toml"]


def test_a_file_that_cannot_be_replaced_is_told_and_left(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(NodeError, match=r"config\.toml: Permission denied"):
        note_quirks("pacs", VALUES)
    assert file.read_text() == FILE
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]


def test_a_node_that_is_not_there(file: Path) -> None:
    with pytest.raises(NodeError, match="@pasc is not known"):
        note_quirks("pasc", VALUES)


def test_tomlkit_comes_with_the_command_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    with pytest.raises(NodeError, match=r"pip install 'aiodicom\[cli\]'"):
        note_quirks("pacs", VALUES)
    assert file.read_text() == FILE
