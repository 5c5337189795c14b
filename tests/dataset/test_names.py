"""Names from the wire never leave the folder they are meant for."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from aiodicom.dataset.names import file_stem, instance_path, safe_name, short_hash
from aiodicom.pdu.uids import is_uid
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = [
    "../../etc/passwd",
    "/abs",
    "a\0b",
    "a\nb",
    "$(touch x)",
    "`id`",
    "x" * 300,
    "Müller^Jürgen",
    "山田",
    "CON",
    "con.txt",
    "NUL",
    "LPT1",
    ".",
    "..",
    "...",
    "",
    " ",
    "-rf",
    ".hidden",
    "C:\\windows",
    "a:b",
    "trailing.",
    "\udc80",
    "\u202egnp.exe",
]
UID = "1.2.840.113619.2.1"


def path(**changes: Any) -> PurePosixPath:
    return instance_path(**{"study_uid": "1.2", "series_uid": "1.3", "sop_instance_uid": UID} | changes)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_become_plain_ones(text: str) -> None:
    name = safe_name(text, 40)
    assert 1 <= len(name) <= 40
    assert name.isascii()
    assert not set(name) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-")
    assert name[0] not in ".-_"
    assert name[-1] not in "._-"
    assert name.split(".")[0].lower() not in {"con", "nul", "lpt1", "prn", "aux", "com1"}


def test_plain_names_stay() -> None:
    assert safe_name("T1_mprage-2.5mm") == "T1_mprage-2.5mm"
    assert safe_name("ax  T2 (fat/sat)") == "ax_T2_fat_sat"
    assert safe_name("") == "unknown"


@pytest.mark.parametrize("text", [*HOSTILE, "1..2", ".1", "1.", "1" * 65, "1.2\n", "1.2 ", "1,2", "１.２"])
def test_what_is_no_uid_names_its_file_by_a_hash(text: str) -> None:
    assert not is_uid(text)
    stem = file_stem(text)  # what stands in the place of one still names a file, and only that one
    assert stem.startswith("x")
    assert stem.isalnum()
    assert stem != file_stem(text + "1")
    assert PurePosixPath(path(sop_instance_uid=text)).name == f"{stem}.dcm"


@pytest.mark.parametrize("text", ["1", "1.2.3", "2.25.000123", "0.1", "1" * 64])
def test_uids_pass_unchanged(text: str) -> None:
    assert file_stem(text) == text


def test_a_readable_path() -> None:
    made = path(
        patient_id="PAT-7",
        study_date="20240131",
        modality="MR",
        series_number=3,
        series_description="t1 mprage",
    )
    assert made == PurePosixPath(
        f"PAT-7/20240131_{short_hash('1.2')}/MR_3_t1_mprage_{short_hash('1.3')}/{UID}.dcm"
    )


def test_only_names_that_were_changed_carry_a_hash() -> None:
    assert path(patient_id="A B").parts[0] == f"A_B_{short_hash('A B')}"
    assert path(patient_id="A/B").parts[0] != path(patient_id="A_B").parts[0]
    assert path(patient_id="").parts[0] == "unknown"


def test_other_studies_series_and_instances_lie_elsewhere() -> None:
    assert path().parent.parent != path(study_uid="1.4").parent.parent
    assert path().parent != path(series_uid="1.4").parent
    assert path() != path(sop_instance_uid="1.4")


texts = st.one_of(st.text(max_size=80), st.sampled_from(HOSTILE))


@given(texts, texts, texts, texts, texts, texts, texts)
def test_no_text_escapes(
    patient: str, study: str, series: str, date: str, modality: str, number: str, description: str
) -> None:
    made = path(
        patient_id=patient,
        study_uid=study,
        series_uid=series,
        study_date=date,
        modality=modality,
        series_number=number,
        series_description=description,
    )
    root = Path("/archive/root")
    assert (root / made).parts == (*root.parts, *made.parts)
    assert len(made.parts) == 4
    assert not made.is_absolute()
    assert not PureWindowsPath(made).drive
    assert all(part not in (".", "..") and len(part) <= 100 and part.isprintable() for part in made.parts)
    assert len(str(made)) <= 240


@given(texts)
def test_a_uid_is_itself_or_a_hash(text: str) -> None:
    stem = file_stem(text)
    if stem == text:
        assert set(text) <= set("0123456789.")
        return
    assert stem[0] == "x"
    assert len(stem) == 33
    assert set(stem[1:]) <= set("0123456789abcdef")
