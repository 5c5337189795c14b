"""The query/retrieve models as data, and the check of a query before it is sent."""

from __future__ import annotations

import pytest
from aiodicom.dimse import levels as qr
from aiodicom.dimse.levels import Level, QueryError, QueryService, Root
from pydicom.datadict import keyword_dict
from pydicom.uid import UID


@pytest.mark.parametrize("root", list(Root))
@pytest.mark.parametrize(
    ("function", "service", "word"),
    [
        (qr.find_model, QueryService.FIND, "FIND"),
        (qr.get_model, QueryService.GET, "GET"),
        (qr.move_model, QueryService.MOVE, "MOVE"),
    ],
)
def test_model_uids_are_those_of_the_registry(root, function, service, word):
    name = UID(function(root)).name
    assert word in name
    prefix = {
        Root.PATIENT: "Patient Root",
        Root.STUDY: "Study Root",
        Root.PATIENT_STUDY_ONLY: "Patient/Study Only",
    }[root]
    assert name.startswith(prefix)
    assert qr.model_of(function(root)) == (root, service)


def test_another_uid_is_no_model():
    with pytest.raises(QueryError, match="not a query"):
        qr.model_of("1.2.840.10008.1.1")


def test_every_keyword_of_the_table_exists_once():
    words = [word for level in Level for word in qr.KEYWORDS[level]]
    assert len(words) == len(set(words))
    assert [word for word in [*words, *qr.GENERAL_KEYWORDS] if word not in keyword_dict] == []


def test_unique_keys_belong_to_their_levels():
    for level in Level:
        assert qr.level_of_keyword(qr.unique_key(level), Root.PATIENT) is level


def test_patient_keys_are_study_keys_below_the_study_root():
    assert qr.level_of_keyword("PatientName", Root.PATIENT) is Level.PATIENT
    assert qr.level_of_keyword("PatientName", Root.STUDY) is Level.STUDY
    assert qr.level_of_keyword("Modality", Root.STUDY) is Level.SERIES
    assert qr.level_of_keyword("SpecificCharacterSet", Root.STUDY) is None


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("study", Level.STUDY),
        ("Instance", Level.IMAGE),
        (" IMAGE ", Level.IMAGE),
        (Level.SERIES, Level.SERIES),
    ],
)
def test_level_words(text, level):
    assert Level.parse(text) is level


def test_levels_order_from_the_top():
    assert Level.PATIENT < Level.STUDY < Level.SERIES < Level.IMAGE
    assert Level.IMAGE >= Level.IMAGE > Level.SERIES
    assert qr.levels(Root.STUDY) == (Level.STUDY, Level.SERIES, Level.IMAGE)


def test_no_such_level():
    with pytest.raises(QueryError, match="no such level"):
        Level.parse("FRAME")


def test_check_query_returns_the_level():
    assert (
        qr.check_query("study", Root.STUDY, ["PatientID"], ["StudyDate", "ModalitiesInStudy"]) is Level.STUDY
    )


def test_a_key_below_the_level_is_refused():
    with pytest.raises(QueryError, match=r"Modality is a key of the SERIES level, below the query's STUDY"):
        qr.check_query("STUDY", Root.STUDY, [], ["Modality"])


def test_a_level_above_the_root_is_refused():
    with pytest.raises(QueryError, match="PATIENT is not in the STUDY root"):
        qr.check_query("PATIENT", Root.STUDY, ["PatientID"])
    with pytest.raises(QueryError, match="SERIES is not in the PATIENT_STUDY_ONLY root"):
        qr.check_query("SERIES", Root.PATIENT_STUDY_ONLY, [])


def test_an_unknown_keyword_names_near_ones():
    with pytest.raises(QueryError, match=r"did you mean .*PatientName"):
        qr.check_query("STUDY", Root.STUDY, ["PatientsName"])
    with pytest.raises(QueryError, match=r"did you mean .*StudyDate"):
        qr.check_query("STUDY", Root.STUDY, ["StudyDates"], known=["StudyTime"])


def test_an_attribute_outside_the_table_goes_at_any_level():
    assert qr.check_query("STUDY", Root.STUDY, [], ["RadiationDose", "KVP"], known=["RadiationDose", "KVP"])


def test_hierarchical_queries_need_the_keys_above():
    with pytest.raises(QueryError, match=r"StudyInstanceUID \(STUDY level\), SeriesInstanceUID"):
        qr.check_query("IMAGE", Root.STUDY, ["PatientID"], relational=False)
    keys = ["StudyInstanceUID", "SeriesInstanceUID"]
    assert qr.check_query("IMAGE", Root.STUDY, keys, relational=False) is Level.IMAGE
