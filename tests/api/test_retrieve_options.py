"""``get``, ``move`` and ``store``: what their options change, and how the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from wire import free_port

from .conftest import Invoke, Served, serve, stop
from .test_commands import SERIES, STUDY, datasets


def test_the_same_command_again_says_what_is_present(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    command = ("get", "127.0.0.1", archive.port, "--level", "STUDY", STUDY, "--out", tmp_path)
    assert invoke(*command).code == 0
    next(tmp_path.rglob("*.dcm")).unlink()
    again = invoke(*command)
    assert again.code == 0
    assert "received 1 object," in again.out
    assert "present before: 3 objects" in again.out
    third = invoke(*command, "--json").json()
    assert (third["ok"], third["present"], third["received"], third["status"]) == (True, 4, 0, None)
    everything = invoke(*command, "--json", "--no-skip-present").json()
    assert (everything["present"], everything["received"]) == (0, 4)
    assert len(list(tmp_path.rglob("*.dcm"))) == 4


@pytest.mark.parametrize("durability", ["none", "rename", "fsync"])
def test_every_durability_and_several_associations(
    invoke: Invoke, archive: Served, series: Path, tmp_path: Path, durability: str
) -> None:
    command = ("get", "127.0.0.1", archive.port, "--level", "STUDY", STUDY, "--out", tmp_path)
    how = ("--durability", durability, "--associations", 3, "--layout", "uids")
    assert invoke(*command, *how).code == 0
    assert datasets(tmp_path) == datasets(series)
    assert all(path.parts[-3] == STUDY for path in tmp_path.rglob("*.dcm"))


def test_a_dry_run_retrieves_nothing(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    command = ("get", "127.0.0.1", archive.port, "--level", "SERIES", SERIES, "--dry-run")
    shown = invoke(*command, "--out", tmp_path / "out", "--via", "auto")
    assert shown.code == 0
    assert "would ask for 4 objects (by list), by C-GET, then C-MOVE" in shown.out
    assert "on an association of 58 presentation contexts" in shown.out
    assert not (tmp_path / "out").exists()
    plan = invoke(*command, "--json").json()
    assert (plan["objects"], plan["stands_on"], plan["via"]) == (4, "list", ["get"])
    assert len(plan["targets"][0]["instances"]) == 4
    assert (plan["ladder"], len(plan["contexts"])) == (False, 1)


def test_the_ladder_tells_of_its_rungs(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    port = free_port()
    served = serve(tmp_path / "archive", "--destination", f"AIODICOM=127.0.0.1:{port}")
    try:
        at = ("127.0.0.1", served.port)
        assert invoke("store", *at, series, "--associations", 2).code == 0
        how = ("--via", "move,get", "--listen-port", port, "--out", tmp_path / "out")
        result = invoke("get", *at, "--level", "STUDY", STUDY, *how)
        assert result.code == 0, result.err
        assert "by C-MOVE at STUDY level: 4 objects" in result.out
        assert datasets(tmp_path / "out") == datasets(series)
    finally:
        assert stop(served) == 0


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("--out", "x", "--via", "web"), "web"),
        (("--out", "x", "--associations", "0"), "associations"),
        (("--out", "x", "--layout", "{PatientID}"), "SOPInstanceUID"),
        (("--out", "x", "--durability", "maybe"), "maybe"),
        (("--out", "x", "--listen-port", "104"), "--listen-port goes with --via auto"),
        (("--out", "x", "--via", "get", "--listen-tls"), "--listen-tls goes with --via auto"),
        (("--out", "x", "--dicomweb-trusted", "."), "--dicomweb-trusted goes with --dicomweb"),
        ((), "--out"),
    ],
)
def test_wrong_usage_of_get(invoke: Invoke, closed_port: int, how: tuple[str, ...], words: str) -> None:
    result = invoke("get", "127.0.0.1", closed_port, "--level", "STUDY", "1.2", *how)
    assert result.code == 2
    assert words in result.err


def test_what_the_environment_says_of_other_uses_is_no_contradiction(
    invoke: Invoke, archive: Served, closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of moves to ourselves, of a DICOMweb address: a command that has none of them goes on."""
    for command in ("GET", "MOVE"):
        for name, value in {
            "LISTEN_PORT": "11113",
            "LISTEN_TLS": "1",
            "ACCEPT_FROM": "10.0.0.0/8",
            "DURABILITY": "rename",
            "LAYOUT": "uids",
            "SKIP_PRESENT": "0",
            "MAX_OBJECT_SIZE": "100000",
        }.items():
            monkeypatch.setenv(f"AIODICOM_{command}_{name}", value)
    monkeypatch.setenv("AIODICOM_DICOMWEB_AUTHORIZATION", "TOKEN")
    here = ("127.0.0.1", archive.port, "--level", "STUDY", STUDY)
    assert invoke("get", *here, "--out", tmp_path).code == 0
    assert (tmp_path / STUDY).is_dir()
    moved = invoke("move", *here, "--destination", "NOONE")
    assert moved.code == 1
    assert "move destination unknown" in moved.err


@pytest.mark.parametrize(
    ("variable", "value", "how", "as_json"),
    [("FORMAT", "csv", ["--json"], True), ("JSON", "1", ["--format", "csv"], False)],
)
def test_a_format_of_the_command_line_goes_before_one_of_the_environment(
    invoke: Invoke,
    archive: Served,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    how: list[str],
    as_json: bool,
) -> None:
    monkeypatch.setenv(f"AIODICOM_FIND_{variable}", value)
    found = invoke("find", "127.0.0.1", archive.port, f"StudyInstanceUID={STUDY}", *how)
    assert found.code == 0
    assert found.out.startswith("{") == as_json
