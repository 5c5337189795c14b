"""The values of elements as texts and numbers, whether scanned from a file or held by a data set.

What places and scales pixels is read strictly; what only shows them is left out when it is no number, with a
note that says so. Attributes of functional groups count in their own macro and nowhere else (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from pydicom.datadict import dictionary_description, dictionary_has_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..dataset.encoding import dictionary_vr
from ..dataset.errors import MalformedDataSet

BINARY = frozenset(
    {
        0x00280002,
        0x00280010,
        0x00280011,
        0x00280100,
        0x00280101,
        0x00280102,
        0x00280103,
        0x00280120,
        0x00280121,
    }
)
"""Elements of VR US: samples, rows, columns, bits, representation; padding too, whose sign is its user's."""
DOUBLES = frozenset({0x00189087, 0x00189089})
"""Elements of VR FD."""
SINGLES = frozenset({0x00209241})
"""Elements of VR FL."""
LONGS = frozenset({0x7FE00001, 0x7FE00002})
"""Elements of VR OV."""

_KINDS = {
    **dict.fromkeys(BINARY, "u2"),
    **dict.fromkeys(DOUBLES, "f8"),
    **dict.fromkeys(SINGLES, "f4"),
    **dict.fromkeys(LONGS, "u8"),
}
_REMEMBERED = 1024
"""Short values kept converted: what places and scales the slices of a series is mostly the same in all."""
_SHORT, _FEW = 256, 6  # bytes, numbers

_INCREMENT_POINTER = 0x00280009
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A decimal string (PS3.5 6.2); Python alone takes `1_0`, `nan` and digits of other scripts."""


class Elements(Protocol):
    """The values of elements as texts."""

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of an element; none when it is absent or empty."""
        ...

    def has(self, tag: int) -> bool:
        """The element is there and not empty."""
        ...


@dataclass(frozen=True, slots=True)
class ScannedElements:
    """Elements from a scan of the top level."""

    values: dict[int, bytes]
    big_endian: bool = False

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of an element as text, blanks off; none where it is absent or empty."""
        value = self.values.get(tag)
        if not value:
            return ()
        if tag in _KINDS:
            kind = np.dtype((">" if self.big_endian else "<") + _KINDS[tag])
            usable = len(value) // kind.itemsize * kind.itemsize
            return tuple(str(number) for number in np.frombuffer(value[:usable], kind).tolist())
        return _split(value)

    def has(self, tag: int) -> bool:
        """The element is there and not empty."""
        return bool(self.values.get(tag))


class DatasetElements:
    """Elements of the top level of a data set, named `name` in messages."""

    __slots__ = ("_known", "dataset", "name")

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset: Dataset = dataset
        self.name: str = name
        self._known: dict[int, tuple[str, ...]] = {}

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of an element as text; `MalformedDataSet` where they cannot be converted."""
        found = self._known.get(tag)
        if found is None:
            found = self._known[tag] = texts_of(self.dataset, tag, self.name)
        return found

    def has(self, tag: int) -> bool:
        """The element is there and not empty."""
        return bool(value_of(self.dataset, tag, self.name))


def attribute(tag: int) -> str:
    """What messages call an attribute: its name, if the dictionary has one, and its tag."""
    number = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return f"{dictionary_description(tag)} {number}" if dictionary_has_tag(tag) else number


def value_of(dataset: Dataset, tag: int, name: str) -> Any:
    """The value of an element, `None` where it is absent; `MalformedDataSet` where pydicom cannot tell it."""
    try:
        return dataset[tag].value if tag in dataset else None
    except Exception as error:  # pydicom converts values late, and raises whatever that meets
        raise MalformedDataSet(f"{name}: {attribute(tag)} cannot be read ({type(error).__name__})") from error


def texts_of(dataset: Dataset, tag: int, name: str) -> tuple[str, ...]:
    """The values of an element of a data set as text; none when it is absent or empty."""
    raw = dataset.get_item(tag, keep_deferred=True) if tag in dataset else None
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and _is_decimal(raw, tag):
        return _split(raw.value) if raw.value else ()  # one value that is none does not cost the others
    value = value_of(dataset, tag, name)
    if value is None or value == "":
        return ()
    if tag in LONGS and isinstance(value, bytes):
        return tuple(str(one) for one in np.frombuffer(value[: len(value) // 8 * 8], "<u8").tolist())
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return tuple([str(one).strip(" \0") for one in values])


def _is_decimal(raw: RawDataElement, tag: int) -> bool:
    return (raw.VR or dictionary_vr(tag)) in ("DS", "IS")


def _split(value: bytes) -> tuple[str, ...]:
    return _short_split(value) if len(value) <= _SHORT else _all_split(value)


def _all_split(value: bytes) -> tuple[str, ...]:
    return tuple([part.strip(" \0") for part in value.decode("latin-1").split("\\")])


_short_split = lru_cache(_REMEMBERED)(_all_split)


@dataclass(frozen=True, slots=True)
class Header:
    """What an image's elements say, in numbers. name: the image in messages; notes: what was left out."""

    elements: Elements
    name: str
    notes: list[str] = field(default_factory=list)

    def text(self, tag: int) -> str:
        """All values of an element, as they are written."""
        return "\\".join(self.elements.texts(tag))

    def label(self, tag: int) -> str:
        """The same for what only names the image: where it cannot be read, nothing and a note."""
        try:
            return self.text(tag)
        except MalformedDataSet:
            self.notes.append(f"{attribute(tag)} cannot be read and is left out")
            return ""

    def leave_out(self, error: MalformedDataSet) -> None:
        """Note that what an error tells of is left out."""
        self.notes.append(f"{str(error).removeprefix(f'{self.name}: ')}: left out")

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """The first `count` numbers of an element, `None` when it is absent; else `MalformedDataSet`.

        Decimal strings behind them are noted.
        """
        texts = self.elements.texts(tag)
        if not texts:
            return None
        numbers = parse(texts[:count])
        if numbers is None or len(numbers) < count:
            what = "a number" if count == 1 else f"{count} numbers"
            raise MalformedDataSet(f"{self.name}: {attribute(tag)} does not hold {what}")
        if len(texts) > count and tag not in _KINDS:
            self.notes.append(f"{attribute(tag)} has {len(texts)} values: the first {count} count")
        return numbers

    def number(self, tag: int) -> float | None:
        """The first number of an element, `None` when it is absent; else `MalformedDataSet`."""
        found = self.numbers(tag, 1)
        return found[0] if found else None

    def whole(self, tag: int) -> int | None:
        """The same for whole numbers; a fraction is a `MalformedDataSet` too."""
        found = self.number(tag)
        if found is not None and found != int(found):
            raise MalformedDataSet(f"{self.name}: {attribute(tag)} does not hold a whole number")
        return None if found is None else int(found)

    def points_to(self, tag: int) -> bool:
        """Frame Increment Pointer names the element that says how frames follow (PS3.3 C.7.6.6.1.1)."""
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X})" in self.text(_INCREMENT_POINTER).upper()

    def shown(self, tag: int) -> float | None:
        """The first number of what only shows the image; where it is none, `None` and a note."""
        found = self.shown_all(tag, 1)
        return found[0] if found else None

    def shown_all(self, tag: int, count: int | None = None) -> tuple[float, ...]:
        """The first `count` numbers of what only shows the image, or all; none, with a note, if one is
        not.
        """
        try:
            texts = self.elements.texts(tag)[:count]
        except MalformedDataSet:
            texts = ("",)
        numbers = parse(texts)
        if numbers is None:
            self.notes.append(f"{attribute(tag)} is no number and left out")
        return numbers or ()


def parse(texts: Sequence[str]) -> tuple[float, ...] | None:
    """Decimal strings as finite numbers; `None` when one is not."""
    return _numbers(tuple(texts)) if len(texts) <= _FEW else _all_numbers(texts)


def _all_numbers(texts: Sequence[str]) -> tuple[float, ...] | None:
    found = [text.strip(" ") for text in texts]  # spaces pad, all other white space is none of VR DS
    if not all(map(_NUMBER.fullmatch, found)):
        return None
    numbers = tuple(map(float, found))
    return numbers if all(map(math.isfinite, numbers)) else None


_numbers = lru_cache(_REMEMBERED)(_all_numbers)
