"""`find`: its formats, its keys, what it tells of answers that are cut off, ignored or in another set."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
from aiodicom.cli import terminal
from aiodicom.cli.find import parse_pairs, split_keys
from aiodicom.cli.terminal import show_block, show_matches
from aiodicom.client.values import LiteralText
from aiodicom.dimse import messages as m
from aiodicom.imaging.phantom import phantom_uid
from aiodicom.testing import ScriptedListener
from pydicom.dataset import Dataset
from rich.cells import cell_len
from rich.console import Console
from wire import Said, accepted, hear, identifier, reply

from .conftest import Invoke, Served
from .test_exit_codes import against

STUDY = phantom_uid("PHANTOM-1", 1)
SERIES = phantom_uid("PHANTOM-1", 1, 1)


def find(invoke: Invoke, archive: Served, *arguments: object) -> str:
    """What it prints for the series of the archive."""
    query = ("--level", "SERIES", f"StudyInstanceUID={STUDY}", "--return", "Modality,SeriesDescription")
    result = invoke("find", "127.0.0.1", archive.port, *query, *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out


def test_csv_and_tsv_with_and_without_a_header(invoke: Invoke, archive: Served) -> None:
    names, values = ["StudyInstanceUID", "Modality", "SeriesDescription"], [STUDY, "MR", "tilted T1"]
    for arguments, rows in (
        (("--format", "csv"), [names, values]),
        (("--format", "csv", "--no-header"), [values]),
    ):
        assert list(csv.reader(io.StringIO(find(invoke, archive, *arguments)))) == rows
    assert find(invoke, archive, "--format", "tsv", "--no-header") == "\t".join(values) + "\n"
    assert find(invoke, archive, "--no-header") == "\t".join(values) + "\n"


def test_columns_are_asked_for_and_shown_in_their_order(invoke: Invoke, archive: Served) -> None:
    columns = ("--columns", "SeriesDescription,0008,0060", "--columns", "SeriesInstanceUID")
    assert find(invoke, archive, *columns) == (
        f"SeriesDescription\tModality\tSeriesInstanceUID\ntilted T1\tMR\t{SERIES}\n"
    )
    level = ("--level", "SERIES", "--columns", "NumberOfSeriesRelatedInstances")
    assert invoke("find", "127.0.0.1", archive.port, *level).out == "NumberOfSeriesRelatedInstances\n4\n"


def test_a_list_is_a_block_a_match(invoke: Invoke, archive: Served) -> None:
    assert find(invoke, archive, "--format", "list") == (
        f"StudyInstanceUID   {STUDY}\nModality           MR\nSeriesDescription  tilted T1\n"
    )
    query = ("--level", "IMAGE", "--format", "list", "--columns", "InstanceNumber")
    blocks = invoke("find", "127.0.0.1", archive.port, *query).out.removesuffix("\n").split("\n\n")
    assert sorted(blocks) == [f"InstanceNumber  {n}" for n in (1, 2, 3, 4)]


def test_json_is_a_format_too(invoke: Invoke, archive: Served) -> None:
    assert json.loads(find(invoke, archive, "--format", "json"))["Modality"] == "MR"
    assert find(invoke, archive, "--format", "json") == find(invoke, archive, "--json")
    result = invoke("find", "127.0.0.1", archive.port, "--json", "--format", "csv")
    assert result.code == 2
    assert "--json is --format json" in result.err


def test_a_table_on_demand(invoke: Invoke, archive: Served) -> None:
    lines = find(invoke, archive, "--format", "table").splitlines()
    assert lines[0].split() == ["StudyInstanceUID", "Modality", "SeriesDescription"]
    assert lines[-2].split() == [STUDY, "MR", "tilted", "T1"]
    assert lines[-1] == "1 match"


def test_keys_as_options_match_or_are_returned(invoke: Invoke, archive: Served) -> None:
    arguments = ("-k", "Modality=MR", "-k", f"0020,000D={STUDY}", "-k", "SeriesNumber,SeriesDescription")
    result = invoke("find", "127.0.0.1", archive.port, "--level", "SERIES", *arguments)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == "Modality\tStudyInstanceUID\tSeriesNumber\tSeriesDescription"
    assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("StudyDate=last week",), "YYYY-MM-DD is wanted"),
        (("-k", "StudyDate=1960"), "YYYY-MM-DD is wanted"),
        (("ModalitiesInStudy=ct",), "capital letters"),
        (("-k", "PatientNmae=x"), "did you mean PatientName"),
        (("--columns", "Bogus"), "unknown keyword"),
        (("--columns", "Modality"), "below the query's STUDY level"),
        (("--charset", "KLINGON"), "no defined term"),
        (("SpecificCharacterSet=ISO_IR 100", "PatientName=山*"), "is not in the character set"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    invoke: Invoke, closed_port: int, arguments: tuple[str, ...], words: str
) -> None:
    result = invoke("find", "127.0.0.1", closed_port, *arguments)
    assert result.code == 2
    assert words in result.err


def test_text_is_taken_literally_where_it_is_wanted() -> None:
    pairs = parse_pairs(("PatientID=A*", "StudyDate=2024-01-01"), literally=True)
    assert isinstance(pairs["PatientID"], LiteralText)
    assert not isinstance(pairs["StudyDate"], LiteralText)
    assert not isinstance(parse_pairs(("PatientID=A*",))["PatientID"], LiteralText)


def test_a_private_key_is_one_of_several() -> None:
    assert split_keys('StudyDate,(0029,"ACME, Inc. 1.1",01),0008,0050') == [
        "StudyDate",
        '(0029,"ACME, Inc. 1.1",01)',
        "0008,0050",
    ]
    assert split_keys('0029,"ACME",01,PatientID') == ['0029,"ACME",01', "PatientID"]


# --- what is told of the answers


async def answers(
    listener: ScriptedListener, *matches: Dataset | bytes, status: int = 0, pending: int = 0xFF00
) -> Said:
    peer, _ = await accepted(listener)
    heard = await hear(peer, m.CFindRQ)
    for one in matches:
        await reply(peer, heard, pending, one)
    await reply(peer, heard, status)
    await peer.answer_release()
    return heard


async def test_a_suspicious_count_is_told_on_stderr(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        await answers(listener, *(identifier(StudyInstanceUID=f"1.2.{n}") for n in range(100)))

    result = await against(script, invoke, "find", "--return", "StudyInstanceUID")
    assert result.code == 0
    assert len(result.out.splitlines()) == 101
    assert result.err == (
        "aiodicom: warning: there may be more matches: exactly 100 answers, at which many archives stop;"
        " --split asks in parts\n"
    )
    quiet = await against(script, invoke, "find", "--limit", "100", "--return", "StudyInstanceUID")
    assert (quiet.code, quiet.err, len(quiet.out.splitlines())) == (0, "", 101)


async def test_a_split_that_does_not_find_all_has_exit_code_1(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        await answers(listener, *(identifier(StudyInstanceUID=f"1.2.{n}") for n in range(7)))

    result = await against(
        script, invoke, "find", "--split", "--cap", "7", "--max-queries", "1", "StudyDate=2024-01-01"
    )
    assert result.code == 1
    assert "1 queries were sent" in result.err
    assert "--split asks" not in result.err


async def test_answers_that_were_not_asked_for_are_left_out(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        await answers(listener, *(identifier(PatientID=one, StudyInstanceUID="1.2") for one in ("A1", "B2")))

    result = await against(script, invoke, "find", "PatientID=A*", "--columns", "PatientID", "--no-header")
    assert (result.code, result.out) == (0, "A1\n")
    assert result.err == "aiodicom: warning: left out 1 answers: the peer does not go by PatientID\n"
    taken = await against(script, invoke, "find", "PatientID=A*", "--columns", "PatientID", "--no-judge")
    assert (taken.out, taken.err) == ("PatientID\nA1\nB2\n", "")


async def test_answers_without_an_identifier_are_told(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        heard = await hear(peer, m.CFindRQ)
        await reply(peer, heard, 0xFF00)
        await reply(peer, heard, 0xFF00, identifier(StudyInstanceUID="1.2"))
        await reply(peer, heard, 0)
        await peer.answer_release()

    result = await against(script, invoke, "find", "--columns", "StudyInstanceUID", "--no-header")
    assert (result.code, result.out) == (0, "1.2\n")
    assert result.err == "aiodicom: warning: left out 1 answers: the peer sent no identifier with them\n"


async def test_the_character_set_of_a_peer(invoke: Invoke) -> None:
    async def script(listener: ScriptedListener) -> None:
        raw = b"\x10\0\x10\0\x06\0\0\0\xcc\xfc\xeb\xeb\xe5\xf0"  # in ISO_IR 144, which it does not say
        await answers(listener, raw)

    arguments = ("--columns", "PatientName", "--no-header")
    result = await against(script, invoke, "find", "--charset", "ISO_IR 144", *arguments)
    assert (result.out, result.err) == (b"\xcc\xfc\xeb\xeb\xe5\xf0".decode("iso8859-5") + "\n", "")
    guessed = await against(script, invoke, "find", *arguments)
    assert guessed.code == 0
    assert guessed.err == (
        "aiodicom: note: the text of these is not in the character set that answers name: PatientName;"
        " --charset says which\n"
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("PatientSex", "the peer does not support these keys: PatientSex"),
        ("PatientID", "the peer warns (FF01H) that it does not support some key, and not which"),
    ],
)
async def test_a_warning_pending_status_is_told(invoke: Invoke, key: str, said: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        await answers(listener, identifier(PatientID="A1", StudyInstanceUID="1.2"), pending=0xFF01)

    result = await against(script, invoke, "find", "--return", key)
    assert (result.code, result.err) == (0, f"aiodicom: warning: {said}\n")


# --- tables


UID = "1.2.840.113619.2.55.3.604688119.868.1234567890.123.4567890123456"
COLUMNS = ["PatientName", "StudyDescription", "StudyInstanceUID"]
ROW = ["Lehmann-Oberhauser^Maximiliane", "CT Thorax and abdomen with contrast", UID]


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    columns = int(request.param)
    monkeypatch.setattr(terminal, "console", lambda: Console(file=sys.stdout, width=columns, markup=False))
    return columns


@pytest.mark.parametrize("width", [66, 70, 79, 80, 81, 90, 100, 119, 120, 200], indirect=True)
@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("header", [True, False])
def test_no_uid_is_ever_split(
    width: int, columns: int, header: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    names, row = [*COLUMNS, "SOPClassUID"][-columns:], [*ROW, "1.2.840.10008.5.1.4.1.1.2"][-columns:]
    show_matches(names, [row, row], header=header)
    out = capsys.readouterr().out
    for value in row:
        if value.startswith("1.2."):
            assert out.count(value) == 2
    assert max(map(len, out.splitlines())) <= width
    if columns == 3:
        description = len("StudyDescription") if header else 6  # the name of a column is kept whole too
        assert ("StudyDescription  CT Thorax" in out) == (width < description + 25 + 4 + len(UID))


def test_a_table_in_a_pipe_is_as_wide_as_it_has_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A match is a line, for who reads lines: as many columns as there may be, and each as long."""
    names = [f"{name}{number}" for number in range(3) for name in COLUMNS]
    show_matches(names, [ROW * 3, ROW * 3])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ") for line in lines[2:]] == [ROW * 3] * 2
    terminal.show_table(["path"], [["x" * 500]])
    assert "x" * 500 in capsys.readouterr().out


def test_several_uids_of_a_cell_are_kept_together_where_they_fit(capsys: pytest.CaptureFixture[str]) -> None:
    show_matches(["A", "B"], [["x", f"{UID}\\1.2.3.4"]])
    assert f"{UID}\\1.2.3.4" in capsys.readouterr().out


def test_what_a_peer_says_is_escaped_in_blocks_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    show_block([("A", "\x1b[2J\n")], first=True)
    terminal.csv_line(["\x1b", 'a"b', "c,d", None])
    assert capsys.readouterr().out == 'A  \\x1b[2J\\n\n\\x1b,"a""b","c,d",\n'


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("length", [9, 30, 55, 63, 64])
def test_no_uid_is_cut_whatever_stands_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], length: int, header: bool
) -> None:
    """Every width from a phone's to a wall's: what gives way is never a UID, and no line is too long."""
    from aiodicom.cli import terminal

    uids = [f"1.2.{'9' * (length - 5)}{last}" for last in (1, 2)]
    rows = [["A^Patient^With^A^Rather^Long^Name", "山田^太郎" * 3, "20240102", "", uid] for uid in uids]
    names = ["PatientName", "PatientID", "StudyDate", "StudyDescription", "StudyInstanceUID"]
    for width in range(60, 200, 3):
        monkeypatch.setattr(terminal, "WIDE", width)
        show_matches(names, rows, header=header)
        shown = capsys.readouterr().out
        assert all(uid in shown for uid in uids), width
        if length + 2 < width:
            assert max(map(cell_len, shown.splitlines())) <= width
