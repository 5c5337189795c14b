"""Matching of data sets in memory by an identifier, whatever its information model (PS3.4 C.2.2, K.4.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from .errors import IdentifierError
from .matching import ItemValues, compile_key, compile_sequence
from .text import Items, Value, encodings_of, key_value, unreadable

MAX_KEYS = 512
"""Keys of one identifier."""
_CHARSET = 0x00080005
_NOT_KEYS = frozenset({_CHARSET, 0x00080201, 0x00080052})
"""Character set, time zone and level say how an identifier is to be read."""
_BINARY_NUMBERS = frozenset({"FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AT"})


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an identifier, compiled once."""

    identifier: Dataset
    tests: tuple[tuple[BaseTag, Callable[[Value], bool]], ...]

    @classmethod
    def of(cls, identifier: Dataset) -> Keys:
        """Compile them. Raises IdentifierError for one that cannot be used, which is named."""
        tags = [tag for tag in sorted(identifier.keys()) if _is_key(tag)]
        if len(tags) > MAX_KEYS:
            raise IdentifierError(f"more than {MAX_KEYS} keys")
        encodings = _encodings(identifier)
        tests = []
        for tag in tags:
            test = _compiled(identifier, tag, encodings)
            if test is not None:
                tests.append((tag, test))
        return cls(identifier, tuple(tests))

    def hold(self, dataset: Dataset) -> bool:
        """Whether a data set matches every key; what it lacks counts as empty."""
        encodings = _encodings(dataset)
        return all(
            test(key_value(dataset, tag, encodings)[1] if tag in dataset else "") for tag, test in self.tests
        )

    def answer(self, dataset: Dataset) -> Dataset:
        """What is asked to be returned of a data set: its values of the keys, empty where it has none."""
        answer = _picked(self.identifier, dataset)
        if _CHARSET in dataset:
            answer[_CHARSET] = dataset[_CHARSET]
        return answer


def _is_key(tag: BaseTag) -> bool:
    return tag.element != 0 and int(tag) not in _NOT_KEYS and not tag.is_private_creator


def _encodings(dataset: Dataset) -> list[str]:
    charset = key_value(dataset, BaseTag(_CHARSET), encodings_of(""))[1] if _CHARSET in dataset else ""
    return encodings_of(charset if isinstance(charset, str) else "")


def _compiled(identifier: Dataset, tag: BaseTag, encodings: Sequence[str]) -> Callable[[Value], bool] | None:
    """The test of one key, None where it matches everything."""
    try:
        bad = unreadable(identifier, tag, encodings)
        vr, value = key_value(identifier, tag, encodings)
    except Exception as error:  # whatever pydicom makes of a sequence that cannot be read
        raise IdentifierError("a key that cannot be read", (int(tag),)) from error
    if bad is not None and not (bad == int(tag) and vr in _BINARY_NUMBERS):
        raise IdentifierError("a key that cannot be read", (bad,))
    if isinstance(value, list):
        inside = compile_sequence(int(tag), _items(value))
        if inside is None:
            return None
        return lambda found: isinstance(found, list) and inside(_items(found))
    matcher = compile_key(int(tag), vr, value)
    if matcher is None:
        return None
    matches = matcher.matches
    return lambda found: isinstance(found, str) and matches(found)


def _items(items: Items) -> list[ItemValues]:
    return [
        {
            int(name, 16): (vr, _items(value) if isinstance(value, list) else value)
            for name, (vr, value) in item.items()
            if _is_key(BaseTag(int(name, 16)))
        }
        for item in items
    ]


def _picked(wanted: Dataset, dataset: Dataset) -> Dataset:
    """Of a data set what another one names; of a sequence what its item names, all where there is none."""
    picked = Dataset()
    for tag in wanted.keys():  # noqa: SIM118 - a data set iterates over its elements
        if not _is_key(tag):
            continue
        element, key = dataset.get(tag), wanted[tag]
        if element is None:
            picked[tag] = DataElement(tag, key.VR, [] if key.VR == "SQ" else None)
        elif element.VR == "SQ" and key.VR == "SQ" and key.value and len(key.value[0]):
            items = [_picked(key.value[0], one) for one in element.value or ()]
            picked[tag] = DataElement(tag, "SQ", items)
        else:
            picked[tag] = element
    return picked
