"""The archive's table of attributes."""

from __future__ import annotations

import pytest
from aiodicom.archive import attributes as levels
from aiodicom.dimse.levels import KEYWORDS, Level, Root
from pydicom.datadict import dictionary_VR, tag_for_keyword

LEFT_OUT = {"AnatomicRegionsInStudyCodeSequence"}


def test_every_key_of_the_model_is_supported_but_those_said():
    supported = {one.keyword for one in levels.ATTRIBUTES.values()}
    assert {word for words in KEYWORDS.values() for word in words} - supported == LEFT_OUT


def test_attributes_carry_tag_and_vr_of_the_dictionary():
    for tag, one in levels.ATTRIBUTES.items():
        assert tag == one.tag == tag_for_keyword(one.keyword)
        assert one.vr == dictionary_VR(tag)
        assert " or " not in one.vr


def test_computed_keys_are_not_read_from_objects():
    stored = {one.keyword for kept in levels.STORED_TEXT.values() for one in kept}
    assert stored.isdisjoint(levels.COMPUTED)
    assert all(levels.ATTRIBUTES[tag_for_keyword(word)].computed for word in levels.COMPUTED)  # type: ignore[index]


@pytest.mark.parametrize(
    ("keyword", "root", "level", "supported"),
    [
        ("PatientName", Root.PATIENT, Level.PATIENT, True),
        ("PatientName", Root.STUDY, Level.STUDY, True),
        ("PatientName", Root.STUDY, Level.IMAGE, True),
        ("Modality", Root.STUDY, Level.STUDY, False),
        ("Modality", Root.STUDY, Level.SERIES, True),
        ("ModalitiesInStudy", Root.PATIENT, Level.PATIENT, False),
        ("SOPInstanceUID", Root.PATIENT, Level.IMAGE, True),
        ("KVP", Root.PATIENT, Level.IMAGE, False),
        ("SpecificCharacterSet", Root.PATIENT, Level.IMAGE, False),
    ],
)
def test_attribute_by_level(keyword, root, level, supported):
    found = levels.attribute(tag_for_keyword(keyword), root, level)
    assert (found is not None) is supported
