"""Nuclear medicine: frames placed by their detector and told apart by vectors (PS3.3 C.8.4.8, C.8.4.11).

Reconstructed slices have one position, that of the first, in the Detector Information Sequence; the others
follow along the normal by Spacing Between Slices, whose sign counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from ..dataset.errors import MalformedDataSet
from .elements import DatasetElements, Header, attribute
from .errors import naming
from .frames import BETWEEN_SLICES, ORIENTATION, POSITION, Frame
from .groups import items_of
from .space import slice_normal

NUCLEAR = "NM"
_DETECTORS = 0x00540022
_SLICE_VECTOR = 0x00540080
_DETECTOR_VECTOR = 0x00540020
_VECTORS = {
    0x00540010: "energy window",
    _DETECTOR_VECTOR: "detector",
    0x00540030: "phase",
    0x00540050: "rotation",
    0x00540060: "R-R interval",
    0x00540070: "time slot",
    0x00540090: "angular view",
    0x00540100: "time slice",
}
"""What frames differ in besides their slice, by the vector that says so."""


def placed_by_detector(frames: list[Frame], dataset: Dataset, name: str) -> list[Frame]:
    """Reconstructed frames with their places; others as they are. Raises MalformedDataSet for vectors of
    another length than there are frames.
    """
    header = Header(DatasetElements(dataset, name), name)
    count = frames[0].pixels.format.frames
    slices = _vector(header, _SLICE_VECTOR, count)
    detectors = items_of(dataset, _DETECTORS, name)
    if not slices or not detectors:
        return frames
    vectors = {words: _vector(header, tag, count) for tag, words in _VECTORS.items()}
    step = header.number(BETWEEN_SLICES)
    notes = [f"slices are taken to follow the normal by {attribute(BETWEEN_SLICES)}"]
    if step is None:
        step = frames[0].thickness
        notes = [f"has no {attribute(BETWEEN_SLICES)}: the slices' thickness is taken for it"]
    found = [Header(DatasetElements(item, name), name) for item in detectors]
    where = [(item.numbers(POSITION, 3), item.numbers(ORIENTATION, 6)) for item in found]
    numbers = vectors["detector"] or [1] * count
    placed = []
    for frame in frames:
        number = numbers[frame.index]
        if not 1 <= number <= len(where) or step is None:
            return frames
        position, orientation = where[number - 1]
        if position is None or orientation is None:
            return frames
        with naming(name):
            normal = slice_normal(orientation)
        place = np.asarray(position) + (slices[frame.index] - 1) * step * normal
        told = {words: str(vector[frame.index]) for words, vector in vectors.items() if vector}
        placed.append(
            replace(
                frame,
                position=tuple(place.tolist()),
                orientation=orientation,
                has_place=True,
                variants={**told, **frame.variants},
                notes=(*frame.notes, *notes),
            )
        )
    return placed


def _vector(header: Header, tag: int, count: int) -> Sequence[int]:
    """A number for each frame, none where the vector is absent."""
    texts = header.elements.texts(tag)
    if not texts:
        return ()
    if len(texts) != count or not all(text.isdecimal() for text in texts):
        raise MalformedDataSet(f"{header.name}: {count} frames, but {attribute(tag)} names {len(texts)}")
    return [int(text) for text in texts]
