"""Segmentations: an axis of segments, and empty frames where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from aiodicom.imaging.errors import SlicesMissing
from aiodicom.imaging.image import Image
from aiodicom.imaging.volume import Volume
from imaging_series import image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def segmentation(frames: list[tuple[int, float]]) -> Dataset:
    """One frame of ones for each (segment, height)."""
    dataset = image(1, kind="<u1", Modality="SEG", ImagePositionPatient=None, NumberOfFrames=len(frames))
    dataset.PixelData = b"\1" * 12 * len(frames)
    dataset.PerFrameFunctionalGroupsSequence = Sequence()
    for segment, z in frames:
        frame, place, which = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z]
        which.ReferencedSegmentNumber = segment
        frame.PlanePositionSequence = Sequence([place])
        frame.SegmentIdentificationSequence = Sequence([which])
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    return dataset


def test_frames_that_are_absent_are_empty() -> None:
    volume = Volume.from_datasets([segmentation([(2, 0), (1, 2), (2, 2), (1, 8)])])
    assert volume.axes == (("segment", "", (1.0, 2.0)),)
    assert volume.voxels[..., 0, 0].tolist() == [[0, 1, 0, 0, 1], [1, 1, 0, 0, 0]]
    assert volume.geometry.spacing[2] == 2
    assert volume.sources[0].frame == -1
    assert volume.voxels.dtype == np.uint8


def test_one_segment_is_a_plain_volume() -> None:
    volume = Volume.from_datasets([segmentation([(1, 0), (1, 2), (1, 6)])])
    assert volume.axes == ()
    assert volume.voxels[:, 0, 0].tolist() == [1, 1, 0, 1]


def test_frames_on_no_grid_are_refused() -> None:
    with pytest.raises(SlicesMissing):
        Volume.from_datasets([segmentation([(1, 0), (1, 2), (1, 6.7)])])


def test_real_segmentations_of_single_bits(data: Path) -> None:
    for path in sorted((data / "img_seg_binary").glob("*.dcm")):
        volume = Volume.from_files(path)
        frames = Image.from_file(path).pixels[..., 0].transpose(2, 0, 1)
        order = [source.frame for source in volume.sources]
        assert np.array_equal(volume.voxels, frames[order])
        assert set(np.unique(volume.voxels)) <= {0, 1}
        assert volume.voxels.any()
