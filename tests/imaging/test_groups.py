"""Functional groups (PS3.3 C.7.6.16): each attribute from its own macro, and from nowhere else."""

from __future__ import annotations

import pytest
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.elements import parse
from aiodicom.imaging.groups import FrameElements, FunctionalGroups, items_of
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

POSITION, SLOPE, SPACING, ECHO = 0x00200032, 0x00281053, 0x00280030, 0x00180081


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def macro(name: str, **values: object) -> Dataset:
    return item(**{name: Sequence([item(**values)])})


def elements(own: list[Dataset], shared: Dataset | None = None, **top: object) -> FrameElements:
    """The elements of the first of the frames."""
    dataset = item(**top)
    if own:
        dataset.PerFrameFunctionalGroupsSequence = Sequence(own)
    if shared is not None:
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    return FrameElements(FunctionalGroups(dataset, len(own) or 1, "a.dcm"), 0)


def test_the_frames_own_macro_counts_before_the_shared_one_and_that_before_the_top() -> None:
    """C.7.6.16.1.1."""
    own = macro("PixelValueTransformationSequence", RescaleSlope=2)
    shared = macro("PixelValueTransformationSequence", RescaleSlope=3)
    assert parse(elements([own], shared, RescaleSlope=4).texts(SLOPE)) == (2,)
    assert parse(elements([item()], shared, RescaleSlope=4).texts(SLOPE)) == (3,)
    assert parse(elements([item()], item(), RescaleSlope=4).texts(SLOPE)) == (4,)
    assert parse(elements([], None, RescaleSlope=4).texts(SLOPE)) == (4,)


def test_a_macro_without_the_attribute_is_not_made_up_for_elsewhere() -> None:
    own = macro("PixelValueTransformationSequence", RescaleIntercept=2)
    shared = macro("PixelValueTransformationSequence", RescaleSlope=3)
    assert elements([own], shared, RescaleSlope=4).texts(SLOPE) == ()


def test_what_other_sequences_hold_under_the_tag_does_not_count() -> None:
    """C.7.6.16.2.11: a real world value mapping is another one; references place other images."""
    own = macro("RealWorldValueMappingSequence", RescaleSlope=7)
    own.DerivationImageSequence = Sequence([item(ImagePositionPatient=[9, 9, 9])])
    own.PlanePositionSequence = Sequence([item(PixelSpacing=[9, 9], ImagePositionPatient=[1, 2, 3])])
    private = own.private_block(0x2005, "maker", create=True)
    private.add_new(0x0E, "SQ", Sequence([item(RescaleSlope=8, PixelSpacing=[8, 8])]))
    found = elements([own])
    assert found.texts(SLOPE) == ()
    assert found.texts(SPACING) == ()
    assert parse(found.texts(POSITION)) == (
        1,
        2,
        3,
    )
    assert found.is_placed


def test_attributes_have_other_names_in_macros() -> None:
    """C.8.13.5.4, C.7.6.16.2.2."""
    own = macro("MREchoSequence", EffectiveEchoTime=12.5)
    own.FrameContentSequence = Sequence([item(FrameAcquisitionNumber=4, TemporalPositionIndex=2)])
    found = elements([own])
    assert [parse(found.texts(tag)) for tag in (ECHO, 0x00200012, 0x00200100)] == [(12.5,), (4,), (2,)]


def test_converted_images_keep_the_rest_beside_the_macros() -> None:
    """C.7.6.16.2: the unassigned converted attributes."""
    own = macro("UnassignedPerFrameConvertedAttributesSequence", InstanceNumber=5)
    found = elements([own], macro("UnassignedSharedConvertedAttributesSequence", EchoTime=3))
    assert parse(found.texts(0x00200013)) == (5,)
    assert parse(found.texts(ECHO)) == (3,)


def test_elements_of_groups_that_nobody_can_read_are_not_looked_at() -> None:
    own = macro("PlanePositionSequence", ImagePositionPatient=[1, 2, 3])
    own[0x20051001] = RawDataElement(Tag(0x20051001), "FL", 6, b"abcdef", 0, False, True)
    assert parse(elements([own]).texts(POSITION)) == (
        1,
        2,
        3,
    )


def test_items_that_are_too_many_or_too_few_are_named() -> None:
    with pytest.raises(MalformedDataSet, match=r"a\.dcm: 3 frames, but Per-Frame .* describes 1"):
        FunctionalGroups(item(PerFrameFunctionalGroupsSequence=Sequence([item()])), 3, "a.dcm")
    twice = item(PlanePositionSequence=Sequence([item(), item()]))
    with pytest.raises(MalformedDataSet, match=r"a\.dcm: Plane Position Sequence \(0020,9113\) has 2 items"):
        elements([twice]).texts(POSITION)


def test_what_is_no_sequence_is_named() -> None:
    with pytest.raises(MalformedDataSet, match=r"a\.dcm: Patient ID \(0010,0020\) is no sequence"):
        items_of(item(PatientID="1"), 0x00100020, "a.dcm")
