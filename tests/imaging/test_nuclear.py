"""Nuclear medicine: reconstructed slices placed by their detector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiodicom.dataset.errors import MalformedDataSet
from aiodicom.imaging.errors import IrregularGeometry
from aiodicom.imaging.volume import Volume
from imaging_series import image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def tomo(**changes: Any) -> Dataset:
    """Four frames of 3 x 4, each of its number: two slices at two times."""
    dataset = image(
        1,
        Modality="NM",
        NumberOfFrames=4,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        SpacingBetweenSlices=3,
    )
    dataset.PixelData = np.repeat(np.arange(4, dtype="<i2"), 12).tobytes()
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    dataset.DetectorInformationSequence = Sequence([detector])
    dataset.SliceVector = [1, 2, 1, 2]
    dataset.TimeSlotVector = [1, 1, 2, 2]
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(("step", "order"), [(3, [[0, 1], [2, 3]]), (-3, [[1, 0], [3, 2]])])
def test_slices_follow_the_normal_from_the_first(step: int, order: list[list[int]]) -> None:
    volume = Volume.from_datasets([tomo(SpacingBetweenSlices=step)])
    assert volume.axes == (("time slot", "", (1.0, 2.0)),)
    assert volume.voxels[..., 0, 0].tolist() == order
    assert volume.geometry.affine.tolist()[2] == [3, 0, 0, min(3, 3 + step)]
    assert volume.geometry.affine.tolist()[0] == [0, 0, 0.25, 1]
    assert any("follow the normal" in told for told in volume.report.assumptions)


def test_the_thickness_stands_for_a_distance_that_is_absent_and_is_told() -> None:
    dataset = tomo(SliceThickness=5)
    del dataset.SpacingBetweenSlices
    volume = Volume.from_datasets([dataset])
    assert volume.geometry.spacing[2] == 5
    assert any("thickness is taken" in told for told in volume.report.assumptions)


def test_frames_without_a_slice_have_no_place() -> None:
    dataset = tomo()
    del dataset.SliceVector
    with pytest.raises(IrregularGeometry, match="no Image Position"):
        Volume.from_datasets([dataset])


@pytest.mark.parametrize("changes", [{"SliceVector": [1, 2]}, {"TimeSlotVector": [1, 1, 2]}])
def test_a_vector_has_a_number_for_each_frame(changes: Any) -> None:
    with pytest.raises(MalformedDataSet, match="4 frames"):
        Volume.from_datasets([tomo(**changes)])
