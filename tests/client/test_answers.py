"""One answer from its bytes: the set it names, the set it is in, and the bytes themselves."""

from __future__ import annotations

import copy
import pickle

import pytest
from aiodicom.client.answers import Answer, check_character_set, read_answer
from aiodicom.dataset.coding import encode_text_elements
from aiodicom.dimse.levels import QueryError
from pydicom.dataset import Dataset
from wire import IMPLICIT, implicit

NAME = "Müller^Jürgen"


def raw(charset: str | None, name: bytes) -> bytes:
    """An answer with a name in these bytes, whatever set it says."""
    head = [] if charset is None else [(0x00080005, "CS", charset)]
    before = encode_text_elements(head, implicit=True)
    after = encode_text_elements([(0x00100020, "LO", "P1"), (0x0020000D, "UI", "1.2")], implicit=True)
    assert before is not None
    assert after is not None
    name += b" " * (len(name) % 2)
    return before + b"\x10\0\x10\0" + len(name).to_bytes(4, "little") + name + after


# said, written in, known of the peer; what is read, whether it was guessed, whether it is undecoded
TABLE = [
    ("ISO_IR 100", "latin-1", None, NAME, False, False),
    ("ISO_IR 192", "utf-8", None, NAME, False, False),
    ("ISO_IR 192", "utf-8", "ISO_IR 100", NAME, False, False),
    ("ISO_IR 100", "latin-1", "ISO_IR 192", NAME, False, False),
    (None, "latin-1", None, NAME, True, False),
    (None, "utf-8", None, NAME, True, False),
    (None, "latin-1", "ISO_IR 100", NAME, True, False),
    (None, "latin-1", "ISO_IR 192", NAME, True, False),
    ("", "utf-8", None, NAME, True, False),
    ("KLINGON", "utf-8", None, NAME, True, False),
    ("KLINGON", "latin-1", "ISO_IR 100", NAME, True, False),
    ("ISO_IR 192", "latin-1", "ISO_IR 100", NAME, True, False),
    ("ISO_IR 192", "latin-1", None, "M\ufffdller^J\ufffdrgen", False, True),
    ("ISO_IR 100", "utf-8", "ISO_IR 192", NAME, True, False),
    ("ISO_IR 100", "utf-8", None, NAME.encode().decode("latin-1"), False, False),  # as it was said
]


@pytest.mark.parametrize(("said", "written", "known", "read", "guessed", "undecoded"), TABLE)
def test_text_by_what_is_said_and_what_is_known(
    said: str | None, written: str, known: str | None, read: str, guessed: bool, undecoded: bool
) -> None:
    data = raw(said, NAME.encode(written))
    answer, wrong, others = read_answer(data, IMPLICIT, known)
    assert str(answer.PatientName) == read
    assert (list(others), list(wrong)) == (["PatientName"] * guessed, ["PatientName"] * undecoded)
    assert answer.PatientID == "P1"
    bytes_of = answer.raw_value("PatientName")
    assert bytes_of is not None
    assert bytes_of.rstrip() == NAME.encode(written)
    if guessed and not (said is None and written == "latin-1" and known != "ISO_IR 100"):
        again = read_answer(implicit(answer), IMPLICIT, None)[0]  # it names the set it is in now
        assert str(again.PatientName) == NAME


def test_japanese_by_escapes_that_no_set_announces() -> None:
    data = raw(None, "山田^太郎".encode("iso2022_jp"))
    answer, _, guessed = read_answer(data, IMPLICIT, "\\ISO 2022 IR 87")
    assert str(answer.PatientName) == "山田^太郎"
    assert list(guessed) == ["PatientName"]


def test_ascii_is_never_a_guess() -> None:
    assert list(read_answer(raw(None, b"Doe"), IMPLICIT, "ISO_IR 192")[2]) == []


def test_the_bytes_of_an_element_by_keyword_or_tag() -> None:
    answer, _, _ = read_answer(raw("ISO_IR 100", b"Doe"), IMPLICIT, None)
    assert answer.raw == raw("ISO_IR 100", b"Doe")
    assert answer.transfer_syntax == IMPLICIT
    for key in ("PatientID", "0010,0020", "(0010,0020)", "00100020"):
        assert answer.raw_value(key) == b"P1"
    assert answer.raw_value("StudyDate") is None
    with pytest.raises(QueryError, match="unknown keyword"):
        answer.raw_value("PatientNam")


def test_an_answer_is_a_data_set_that_is_copied_and_pickled_whole() -> None:
    answer, _, _ = read_answer(raw("ISO_IR 100", b"M\xfcller"), IMPLICIT, None)
    plain = Dataset()
    plain.update(answer)
    assert answer == plain
    for again in (copy.deepcopy(answer), copy.copy(answer), pickle.loads(pickle.dumps(answer))):
        assert isinstance(again, Answer)
        assert again == answer
        assert again.raw == answer.raw
    assert Answer().raw == b""


@pytest.mark.parametrize("cut", range(1, 6))
def test_what_is_cut_costs_the_element_that_is_cut(cut: int) -> None:
    answer, undecoded, _ = read_answer(raw("ISO_IR 100", b"Doe")[:-cut], IMPLICIT, None)
    assert answer.SpecificCharacterSet == "ISO_IR 100"
    assert (answer.PatientName, answer.PatientID) == ("Doe", "P1")
    assert "StudyInstanceUID" not in answer
    assert tuple(undecoded) == ("StudyInstanceUID",)


def test_a_fallback_that_is_none_is_refused() -> None:
    check_character_set(None)
    check_character_set("\\ISO 2022 IR 87")
    with pytest.raises(QueryError, match="'KLINGON' is no defined term"):
        check_character_set("KLINGON")
