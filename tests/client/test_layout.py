"""Where files lie: templates of any keyword, safe on every file system, whatever the values say."""

from __future__ import annotations

import struct
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from aiodicom.client.connect import connect
from aiodicom.client.layout import MAX_PART, Layout, parse_layout
from aiodicom.dataset.names import file_stem
from aiodicom.dimse.levels import QueryError
from aiodicom.server.archive_service import serve_archive
from archive_objects import files_below
from hypothesis import given
from hypothesis import strategies as st
from peers.misbehaving import Misbehaving
from wire import ct

PATIENT_ID, SERIES, DATE = 0x00100020, 0x0008103E, 0x00080020
TEMPLATE = "{PatientID}/{StudyDate}-x/{SeriesDescription}_{SOPInstanceUID}.dcm"


def layout(text: str) -> Layout:
    found = parse_layout(text)
    assert found is not None
    return found


def path(text: str, uid: str = "1.2.3", **values: str) -> str:
    tags = layout(text).tags
    return str(layout(text).path({tags[key]: value.encode() for key, value in values.items()}, uid))


def test_a_template_of_any_keyword() -> None:
    values = {"PatientID": "P1", "StudyDate": "20240131", "SeriesDescription": "T1 MPRAGE"}
    assert path(TEMPLATE, **values) == "P1/20240131-x/T1_MPRAGE_1.2.3.dcm"
    assert path(TEMPLATE) == "unknown/unknown-x/unknown_1.2.3.dcm"
    assert path("{SOPInstanceUID}") == "1.2.3.dcm"
    assert path("a/{SOPInstanceUID}.dcm", "no uid").startswith("a/x")
    assert parse_layout("patient") is None


def test_what_tells_patients_apart_is_not_lost() -> None:
    """Not with a sign that no file system takes, nor on a disk that knows no case."""
    ids = ["A B", "A_B", "a_b", "A/B", "A..B", "CON", "x" * 70 + "1", "x" * 70 + "2"]
    paths = [path("{PatientID}/{SOPInstanceUID}", PatientID=value).lower() for value in ids]
    assert len(set(paths)) == len(ids)


@pytest.mark.filterwarnings("ignore:.*is_reserved:DeprecationWarning")
@given(st.text(max_size=200), st.text(max_size=200), st.text(min_size=1, max_size=130))
def test_no_value_leaves_the_folder_or_fails_on_any_file_system(patient: str, series: str, uid: str) -> None:
    values = {
        PATIENT_ID: patient.encode("utf-8", "surrogatepass"),
        SERIES: series.encode("utf-8", "surrogatepass"),
    }
    for template in (TEMPLATE, "{SeriesDescription}{SOPInstanceUID}", "{SeriesDescription}/{SOPInstanceUID}"):
        found = layout(template).path(values, uid)
        assert not found.is_absolute()
        for part in found.parts:
            assert part not in (".", "..")
            assert 0 < len(part) <= MAX_PART + 70
            assert part.isascii()
            assert not set(part) & set('<>:"/\\|?* \t\r\n\0')
            assert not PureWindowsPath(part).is_reserved()
            assert not part.startswith((".", "-"))
            assert not part.endswith(".")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a layout is"),
        ("flat", "a layout is"),
        ("{PatientID}.dcm", "needs {SOPInstanceUID}"),
        ("{SOPInstanceUID}/{PatientID}.dcm", "needs {SOPInstanceUID}"),
        ("{PatientNam}/{SOPInstanceUID}.dcm", "no keyword"),
        ("{PixelData}/{SOPInstanceUID}.dcm", "no keyword"),
        ("{Rows}/{SOPInstanceUID}.dcm", "no text"),
        ("{ReferencedStudySequence}/{SOPInstanceUID}.dcm", "no text"),
        ("../{SOPInstanceUID}.dcm", "cannot be a name"),
        ("/{SOPInstanceUID}.dcm", "cannot be a name"),
        ("a//{SOPInstanceUID}.dcm", "cannot be a name"),
        ("a b/{SOPInstanceUID}.dcm", "cannot be a name"),
        ("a\\b/{SOPInstanceUID}.dcm", "cannot be a name"),
        ("{}/{SOPInstanceUID}.dcm", "no keyword"),
        ("{{PatientID}}/{SOPInstanceUID}.dcm", "cannot be a name"),
        ("a/" * 20 + "{SOPInstanceUID}.dcm", "at most"),
    ],
)
def test_what_is_no_layout(text: str, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        parse_layout(text)


@pytest.mark.parametrize("text", ["uids", TEMPLATE, "{Modality}/{SOPInstanceUID}_{StudyDate}.dcm"])
async def test_a_retrieve_by_a_layout_and_again(tmp_path: Path, text: str) -> None:
    objects = [ct(f"1.2.3.1.{n}", SeriesDescription="../../a b", Modality="CT") for n in range(3)]
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(objects)).ok
            how: dict[str, Any] = {"directory": tmp_path / "out", "layout": text}
            first = await pacs.get("STUDY", "1.2.3", **how)
            assert first.ok
            assert len(files_below(tmp_path / "out")) == 3
            assert (await pacs.get("STUDY", "1.2.3", **how)).present == 3
            if text == "uids":
                names = files_below(tmp_path / "out")
                assert names == [f"1.2.3/1.2.3.1/1.2.3.1.{n}.dcm" for n in range(3)]
                assert not any("P1" in name for name in names)


def test_binary_values_do_no_harm() -> None:
    found = layout(TEMPLATE).path({PATIENT_ID: struct.pack("<HH", 1, 0xFFFF), DATE: b"\xff\0\0"}, "1.2")
    assert str(found).isascii()


@pytest.mark.parametrize(
    ("template", "stems"),
    [
        ("{SOPInstanceUID}", True),
        ("a_{SOPInstanceUID}-b", True),
        ("{SeriesDescription}_{SOPInstanceUID}", True),
        ("{SOPInstanceUID}_{SeriesDescription}", True),
        ("{SeriesDescription}+{SOPInstanceUID}-{SeriesDescription}", True),
        ("{SOPInstanceUID}_{SOPInstanceUID}", True),
        ("{SeriesDescription}{SOPInstanceUID}", False),
        ("{SOPInstanceUID}{SeriesDescription}", False),
        ("{SeriesDescription}.{SOPInstanceUID}", False),
        ("a{SOPInstanceUID}", False),
        ("{SOPInstanceUID}{SOPInstanceUID}", False),
    ],
)
@pytest.mark.parametrize("uid", ["1.2.3", "LOCALIZER2.16", "1." * 40 + "7"])
@pytest.mark.parametrize("text", ["", "T1_MPRAGE-2", "1.2.4", "9", "CON", ".1", "d" * 200, "1.2.3_1.2.4"])
def test_the_uid_is_found_in_the_name_whatever_stands_beside_it(
    template: str, stems: bool, uid: str, text: str
) -> None:
    found = layout(template)
    name = found.path({SERIES: text.encode()}, uid).name.removesuffix(".dcm")
    told = found.stems(name)
    assert (told is not None) == stems
    if told is not None:
        assert file_stem(uid) in told


@pytest.mark.parametrize(
    "template",
    [
        "{SOPInstanceUID}_{SeriesDescription}",
        "{SeriesDescription}{SOPInstanceUID}",
        "{SOPInstanceUID}{SeriesDescription}",
        "{SeriesDescription}-{SeriesDescription}-{SOPInstanceUID}",
    ],
)
@pytest.mark.parametrize("text", ["T1_MPRAGE", "1.2.4", "d" * 64, "con"])
async def test_what_lies_there_is_found_under_every_layout(tmp_path: Path, template: str, text: str) -> None:
    objects = [ct(f"1.2.3.1.{n}", SeriesDescription=text) for n in range(3)]
    async with Misbehaving(objects) as peer, connect("127.0.0.1", peer.port) as pacs:
        for present in (0, 3):
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path, layout=template)
            assert (result.ok, result.present, result.received) == (True, present, 3 - present)
        assert max(peer.sent.values()) == 1
        assert len(files_below(tmp_path)) == 3
