"""Which element a key of a query names: a keyword, a tag, or a path into sequences (PS3.4 C.2.2.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ..dataset.charset import terms_of, texts, unheld, unknown_term
from ..dimse.levels import Level, QueryError, Root, check_query
from .values import match_value

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?")


def named(key: str) -> str:
    """A key with the keywords of its tags, as far as they have one; ``A.B`` part by part."""
    return ".".join(_name(part.strip()) for part in key.split("."))


def _name(part: str) -> str:
    from pydicom.datadict import keyword_for_tag

    found = _TAG.fullmatch(part)
    if found is None:
        return part
    group, element = (text.upper() for text in found.groups())
    return keyword_for_tag(int(group + element, 16)) or f"{group},{element}"


def check_keys(level: Level, root: Root, keys: Iterable[str]) -> None:
    """Raise QueryError for a keyword that does not exist, naming near ones, or lies below the level."""
    for key in keys:
        top, *nested = named(key).split(".")
        check_query(level, root, [] if _TAG.fullmatch(top) else [top])
        check_query(Level.IMAGE, Root.PATIENT, [part for part in nested if not _TAG.fullmatch(part)])


def put(identifier: Dataset, key: str, value: object) -> None:
    """Set the element a key names, checked and spelled by its VR. A mapping is the item of a sequence."""
    first, _, rest = named(key).partition(".")
    tag, vr = _element(first)
    if rest:
        if vr != "SQ":
            raise QueryError(f"{key}: {first} is no sequence")
        put(_item(identifier, tag), rest, value)
    elif vr == "SQ":
        _put_item(identifier, tag, first, value)
    else:
        checked = match_value(first, vr, value)
        try:
            identifier.add_new(tag, vr, checked)
        except (ValueError, TypeError, OverflowError) as error:
            raise QueryError(f"{first} ({vr}) cannot be matched with {value!r:.80}: {error}") from None


def _element(name: str) -> tuple[int, str]:
    """Tag and VR. A private element, and one that no dictionary has, is text (LO)."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    found = _TAG.fullmatch(name)
    tag = int("".join(found.groups()), 16) if found else tag_for_keyword(name)
    if tag is None:
        raise QueryError(f"unknown keyword {name[:64]!r}")
    if tag >> 16 <= 0x0007 or tag & 0xFFFF == 0:
        raise QueryError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is no element of an identifier")
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        vr = "LO"
    return tag, vr.split(" or ")[0]


def _item(identifier: Dataset, tag: int) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    if tag not in identifier or not identifier[tag].value:
        identifier.add_new(tag, "SQ", Sequence([Dataset()]))
    item: Dataset = identifier[tag].value[0]
    return item


def _put_item(identifier: Dataset, tag: int, name: str, value: object) -> None:
    """A sequence is matched by one item (PS3.4 C.2.2.2.6); an empty one asks for the whole sequence."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    if isinstance(value, Sequence | list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        for key, one in value.items():
            put(_item(identifier, tag), str(key), one)
    elif isinstance(value, Dataset):
        identifier.add_new(tag, "SQ", Sequence([value]))
    elif value is None or value == "" or value == []:
        identifier.add_new(tag, "SQ", Sequence([Dataset()]))
    else:
        raise QueryError(f"{name} is a sequence: match it with one item, a mapping or a pydicom Dataset")


def _items(identifier: Dataset) -> Iterator[Dataset]:
    """Every item at any depth."""
    for element in identifier:
        if element.VR == "SQ":
            for item in element.value or ():
                yield item
                yield from _items(item)


def settle_character_set(identifier: Dataset) -> None:
    """The set the user chose, else UTF-8 when a key is not ASCII (PS3.4 C.4.1.1.3).

    Raises QueryError for text that the chosen set cannot hold: sent as `?` it would match something else.
    """
    for _ in identifier.iterall():  # what was read from elsewhere is decoded by the set it had there
        pass
    terms = terms_of(identifier)
    if terms is None and not any(terms_of(item) for item in _items(identifier)):
        if not all(text.isascii() for _, text in texts(identifier)):
            identifier.SpecificCharacterSet = "ISO_IR 192"
        return
    named = [term for part in (identifier, *_items(identifier)) for term in terms_of(part) or []]
    unknown = unknown_term(named)
    wrong = unheld(identifier)
    if unknown is not None:
        raise QueryError(f"SpecificCharacterSet: {unknown!r:.40} is no defined term (PS3.3 C.12.1.1.2)")
    if wrong is not None:
        raise QueryError(wrong)
