"""What was found as rows: dicts, JSON, CSV, a table of pandas."""

from __future__ import annotations

import builtins
import csv
import io
import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.client.answers import Answer
from aiodicom.client.asking import Told, keywords
from aiodicom.client.identifier import build_query
from aiodicom.client.matches import Matches, cell, to_dict
from aiodicom.dimse.status import SUCCESS, Status
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def answer(**values: Any) -> Answer:
    found = Answer()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def item(**values: Any) -> Dataset:
    return Dataset(answer(**values))


ONE = answer(
    PatientName="Müller^Jürgen",
    ModalitiesInStudy=["CT", "PT"],
    InstanceNumber="4",
    SliceThickness="1.5",
    StudyDescription="",
    ProcedureCodeSequence=Sequence([item(CodeValue="1")]),
)
ONE.add_new(0x00091001, "OB", b"\1\2")
ONE.add_new(0x00290010, "LO", "ACME 1.1")
ONE.add_new(0x00291001, "LO", "private")
TWO = answer(PatientName="Doe, Jane", ModalitiesInStudy="MR")


def matches(columns: tuple[str, ...] = ("PatientName", "ModalitiesInStudy"), **told: Any) -> Matches:
    return Matches([ONE, TWO], Told(columns, ended=True, status=Status(SUCCESS), **told))


def test_matches_are_a_list_that_knows_whether_it_is_all() -> None:
    found = matches()
    assert found == [ONE, TWO]
    assert (found.complete, found.capped, found.status) == (True, (), 0)
    assert not matches(capped=["why"]).complete
    assert matches(capped=["why"]).capped == ("why",)


def test_dicts_have_values_as_json_knows_them() -> None:
    assert matches().dicts()[0] == {
        "PatientName": "Müller^Jürgen",
        "ModalitiesInStudy": ["CT", "PT"],
        "InstanceNumber": 4,
        "SliceThickness": 1.5,
        "StudyDescription": None,
        "ProcedureCodeSequence": [{"CodeValue": "1"}],
        "00091001": {"base64": "AQI="},
        "00290010": "ACME 1.1",
        "00291001": "private",
    }
    assert json.loads(matches().to_json()) == matches().dicts()
    assert "Müller" in matches().to_json(indent=1)


def test_numbers_that_json_has_not_are_null() -> None:
    found = Dataset()
    found.add_new(0x00189073, "FD", float("nan"))
    assert to_dict(found) == {"AcquisitionDuration": None}


def test_rows_are_texts_of_the_columns() -> None:
    assert matches().rows() == [("Müller^Jürgen", "CT\\PT"), ("Doe, Jane", "MR")]
    columns = [
        "ProcedureCodeSequence.CodeValue",
        "0020,0013",
        "ProcedureCodeSequence",
        "StudyDescription",
        "X",
    ]
    assert matches().rows(columns) == [("1", "4", "1 items", "", ""), ("", "", "", "", "")]
    assert matches().rows("InstanceNumber") == [("4",), ("",)]
    assert cell(TWO, "PatientName.CodeValue") == ""
    assert cell(ONE, '(0029,"ACME 1.1",01)') == "private"
    assert cell(TWO, '(0029,"ACME 1.1",01)') == ""


def test_csv_is_read_as_it_was_written() -> None:
    text = matches().to_csv()
    assert list(csv.reader(io.StringIO(text))) == [
        ["PatientName", "ModalitiesInStudy"],
        ["Müller^Jürgen", "CT\\PT"],
        ["Doe, Jane", "MR"],
    ]
    assert matches().to_csv(["ModalitiesInStudy"], header=False) == "CT\\PT\nMR\n"


def test_a_data_frame_is_made_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []

    def frame(rows: Any, *, columns: list[str], dtype: type) -> str:
        made.append((rows, columns, dtype))
        return "a frame"

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=frame))
    assert matches().to_dataframe(["InstanceNumber"]) == "a frame"
    assert made == [([("4",), ("",)], ["InstanceNumber"], object)]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *args: Any, **how: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **how)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ImportError, match="pip install pandas"):
        matches().to_dataframe()


def test_the_columns_of_a_query_are_its_keys() -> None:
    match = {"PatientID": "1", "0009,1001": "x", "SpecificCharacterSet": "ISO_IR 100"}
    query = build_query("STUDY", "STUDY", match, ["StudyDate"])
    assert keywords(query) == ("StudyDate", "0009,1001", "PatientID", "StudyInstanceUID")
    plain = replace(query, identifier={"PatientID": "1", "QueryRetrieveLevel": "STUDY"})
    assert keywords(plain) == ("PatientID",)


def test_a_private_key_is_a_column_by_its_creator_whatever_block_an_answer_has_it_in() -> None:
    key = '(0029,"ACME",01)'
    query = build_query("STUDY", "STUDY", {key: "x"}, [])
    one = answer(StudyInstanceUID="1.2")
    one.add_new(0x00290011, "LO", "ACME")
    one.add_new(0x00291101, "LO", "x")
    found = Matches([one], Told(keywords(query)))
    assert found.columns == ("StudyInstanceUID", key)
    assert found.rows() == [("1.2", "x")]
