"""``--from FILE|-``: lists of paths and of unique keys."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import click
import pytest
from aiodicom.cli.lists import with_listed
from aiodicom.dimse.levels import Level

from .conftest import COMMAND, Invoke, Served, serve, stop


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"1.2\n1.3\n", ["1.2", "1.3"]),
        (b"1.2\r\n\r\n  \n1.3", ["1.2", "1.3"]),
        (b"\xef\xbb\xbf1.2\n", ["1.2"]),
        (b" a name \x0b\x1c.dcm\n", [" a name \x0b\x1c.dcm"]),
        (b"\xff\xfe.dcm\n", [os.fsdecode(b"\xff\xfe.dcm")]),
    ],
)
def test_a_line_is_one(content: bytes, found: list[str]) -> None:
    assert with_listed((), io.BytesIO(content), "UID") == found
    assert with_listed(("first",), io.BytesIO(content), "UID") == ["first", *found]


@pytest.mark.parametrize(
    ("content", "level", "found"),
    [
        (b"StudyInstanceUID\n1.2\n1.3\n", Level.STUDY, ["1.2", "1.3"]),
        (b"\xef\xbb\xbfStudyInstanceUID\r\n1.2\r\n", Level.STUDY, ["1.2"]),
        (b"PatientName\tStudyInstanceUID\tStudyDate\nA^B\t1.2\t\n\t1.3\t2024\n", Level.STUDY, ["1.2", "1.3"]),
        (b'PatientName,PatientID\n"Doe, J","a,b"\nX,c\nY,\nZ\n', Level.PATIENT, ["a,b", "c"]),
        (b"StudyInstanceUID\tSeriesInstanceUID\n1.2\t1.3\n1.2\t1.4\n", Level.STUDY, ["1.2"]),
        (b'PatientID\na,b\n"c,d"\n', Level.PATIENT, ["a,b", "c,d"]),
        (b"SOPInstanceUID\n1.2.3\n", Level.IMAGE, ["1.2.3"]),
        # no line of names: each is a key as it stands
        (b"a,b\nc\td\n", Level.PATIENT, ["a,b", "c\td"]),
        (b"1.2\nStudyInstanceUID\n", Level.STUDY, ["1.2", "StudyInstanceUID"]),
    ],
)
def test_below_a_line_of_names_stands_a_column(content: bytes, level: Level, found: list[str]) -> None:
    assert with_listed((), io.BytesIO(content), "UID", level) == found
    assert with_listed(("StudyInstanceUID",), io.BytesIO(content), "UID", level)[1:] == found


def test_names_without_the_key_of_the_level_are_wrong_usage() -> None:
    content = b"PatientName\tStudyInstanceUID\nA\t1.2\n"
    with pytest.raises(click.UsageError, match="no SeriesInstanceUID among PatientName, StudyInstanceUID"):
        with_listed((), io.BytesIO(content), "UID", Level.SERIES)
    with pytest.raises(click.UsageError, match="names nothing"):
        with_listed((), io.BytesIO(b"StudyInstanceUID\n"), "UID", Level.STUDY)
    with pytest.raises(click.UsageError, match="field larger than"):
        with_listed((), io.BytesIO(b'PatientID,A\n"' + b"x" * 200_000), "UID", Level.PATIENT)


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n"])
def test_a_list_of_nothing_is_wrong_usage(content: bytes) -> None:
    with pytest.raises(click.UsageError, match="names nothing"):
        with_listed((), io.BytesIO(content), "UID")


def test_paths_and_keys_come_from_lists(
    invoke: Invoke, archive: Served, series: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "paths.txt"
    files = sorted(map(str, series.iterdir()))
    listed.write_text("\n".join([*files[:2], str(tmp_path / "gone.dcm"), ""]))
    served = serve(tmp_path / "archive")
    try:
        stored = invoke("store", "127.0.0.1", served.port, "--from", listed, "--json")
        assert stored.code == 1
        assert stored.json()["stored"] == 2
        [gone] = [one for one in stored.json()["items"] if not one["ok"]]
        assert gone["path"].endswith("gone.dcm")
        both = invoke("store", "127.0.0.1", served.port, "--from", listed, files[2], "--json")
        assert both.json()["stored"] == 3
    finally:
        assert stop(served) == 0


@pytest.mark.parametrize(
    "printed", [("--columns", "SeriesInstanceUID", "--no-header"), (), ("--format", "csv")], ids=" ".join
)
def test_what_find_prints_is_a_list_for_get(
    invoke: Invoke, archive: Served, tmp_path: Path, printed: tuple[str, ...]
) -> None:
    where = ("127.0.0.1", str(archive.port))
    found = invoke("find", *where, "--level", "SERIES", *printed)
    assert found.code == 0
    arguments = [*COMMAND, "get", *where, "--level", "SERIES", "--out", str(tmp_path / "out"), "--from", "-"]
    got = subprocess.run(arguments, input=found.out, capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stderr
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 4


@pytest.mark.parametrize("command", ["get", "move", "store"])
def test_what_is_neither_given_nor_listed_is_missing(invoke: Invoke, command: str, tmp_path: Path) -> None:
    more = [] if command == "store" else ["--level", "STUDY", "--out", tmp_path]
    result = invoke(command, "127.0.0.1", 1, *more)
    assert result.code == 2
    assert "or --from" in result.err
    absent = invoke(command, "127.0.0.1", 1, *more, "--from", tmp_path / "absent")
    assert absent.code == 2
