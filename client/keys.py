"""Which element a key of a query names: a keyword, a tag, or a path into sequences (PS3.4 C.2.2.2.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..dataset.charset import terms_of, texts, unheld, unknown_term
from ..dimse.levels import Level, QueryError, Root, check_query
from .values import WILD, LiteralText, match_value, over_midnight

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-f]{4})\)?")
_PRIVATE = re.compile(r'\(?([0-9A-Fa-f]{3}[13579BDFbdf]), ?"?([^"\\]{1,64}?)"?, ?(?:xx)?([0-9A-Fa-f]{2})\)?')
"""A private element by its creator: ``(0029,"ACME 1.1",01)``."""
_PARTS = re.compile(r'(?:\([^)]*\)|"[^"]*"|[^.("]|[("])+')
_BLOCK = 0x10
"""The block in which private elements are asked for: which one it is, is ours to say (PS3.5 7.8.1)."""


def key_of(key: object) -> str:
    """A key as text: a keyword or path as it is, a tag of pydicom, a number or (group, element) as a tag."""
    if isinstance(key, str):
        return key
    if isinstance(key, tuple) and len(key) == 2 and all(isinstance(one, int) for one in key):
        group, element = key
    elif isinstance(key, int) and not isinstance(key, bool):
        group, element = key >> 16, key & 0xFFFF
    else:
        raise QueryError(f"{key!r:.64} is no key: a keyword, a tag or a path is wanted")
    if not (0 <= group <= 0xFFFF and 0 <= element <= 0xFFFF):
        raise QueryError(f"{key!r:.64} is no tag")
    return f"{group:04X},{element:04X}"


def named(key: str) -> str:
    """A key with the keywords of its tags, as far as they have one; ``A.B`` part by part."""
    return ".".join(map(_name, parts(key)))


def parts(key: str) -> list[str]:
    """The steps of a path into sequences; a dot of a private creator is none."""
    return [part.strip() for part in _PARTS.findall(key)]


def _name(part: str) -> str:
    from pydicom.datadict import keyword_for_tag

    found = _TAG.fullmatch(part)
    if found is None:
        private = _PRIVATE.fullmatch(part)
        return part if private is None else f'({private[1].upper()},"{private[2]}",{private[3].upper()})'
    group, element = (text.upper() for text in found.groups())
    return keyword_for_tag(int(group + element, 16)) or f"{group},{element}"


def check_keys(level: Level, root: Root, keys: Iterable[str]) -> None:
    """Raise QueryError for a keyword that does not exist, naming near ones, or lies below the level."""
    for key in keys:
        top, *nested = parts(named(key)) or [""]
        if not top:
            raise QueryError("unknown keyword ''")
        check_query(level, root, [] if _is_tag(top) else [top])
        check_query(Level.IMAGE, Root.PATIENT, [part for part in nested if not _is_tag(part)])


def tag_of(name: str) -> int | None:
    """The tag that is written as one; None for anything else."""
    found = _TAG.fullmatch(name)
    return int("".join(found.groups()), 16) if found else None


def place_of(item: Dataset, name: str) -> int | None:
    """The tag of what a keyword, a tag or a private creator names in an item; None where there is none."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_of(name)
    if tag is not None:
        return tag
    private = _PRIVATE.fullmatch(name)
    if private is None:
        return tag_for_keyword(name)
    group = int(private[1], 16) << 16
    blocks = (one for one in range(0x10, 0x100) if group + one in item)
    owned = next((one for one in blocks if str(item[group + one].value).strip() == private[2]), None)
    return None if owned is None else group + (owned << 8) + int(private[3], 16)


def name_of(item: Dataset, element: DataElement) -> str:
    """What an element is called as a key: its keyword, else by its private creator, else its tag."""
    if element.keyword:
        return element.keyword
    tag = element.tag
    owner = (tag.group << 16) + (tag.element >> 8)
    if tag.is_private and not tag.is_private_creator and owner in item:
        return f'({tag.group:04X},"{str(item[owner].value).strip()}",{tag.element & 0xFF:02X})'
    return f"{tag.group:04X},{tag.element:04X}"


def _is_tag(name: str) -> bool:
    return bool(_TAG.fullmatch(name) or _PRIVATE.fullmatch(name))


@dataclass(frozen=True, slots=True)
class _Typed:
    """A value with the VR it has where no dictionary knows it."""

    vr: str
    value: object


@dataclass(slots=True)
class Putting:
    """Sets the elements that keys name, checked and spelled by their VRs, in an identifier.

    `exact` are the `literal` values by the tags that lead to them.
    """

    identifier: Dataset
    exact: dict[tuple[int, ...], str] = field(default_factory=dict)

    def put(self, key: str, value: object) -> None:
        """Set one. A mapping is the item of a sequence."""
        self._put(self.identifier, (), parts(named(key)), value)

    def _put(self, item: Dataset, above: tuple[int, ...], path: list[str], value: object) -> None:
        first, *rest = path
        tag, vr = _element(item, first)
        if isinstance(value, _Typed):
            vr, value = value.vr, value.value
        where = (*above, tag)
        if rest:
            if vr != "SQ":
                raise QueryError(f"{'.'.join(path)}: {first} is no sequence")
            self._put(_item(item, tag), where, rest, value)
        elif vr == "SQ":
            self._put_item(item, where, first, value)
        else:
            checked = match_value(first, vr, value)
            if tag in item and item[tag].VM:
                raise QueryError(f"{first} is given twice")
            if above and isinstance(checked, str) and over_midnight(vr, checked):
                raise QueryError(f"{first}: inside a sequence no range leads over midnight")
            if isinstance(value, LiteralText) and vr in WILD:
                self.exact[where] = str(value)
            try:
                item.add(unjudged(tag, vr, checked))
            except (ValueError, TypeError, OverflowError) as error:
                raise QueryError(f"{first} ({vr}) cannot be matched with {value!r:.80}: {error}") from None

    def _put_item(self, item: Dataset, where: tuple[int, ...], name: str, value: object) -> None:
        """A sequence is matched by one item (PS3.4 C.2.2.2.6); an empty one asks for the whole sequence."""
        from pydicom.dataset import Dataset
        from pydicom.sequence import Sequence

        if isinstance(value, Sequence | list | tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, Dataset):
            value = given(value)
        if value is None or value == "" or value == [] or value == {}:
            if where[-1] in item and any(_has_a_value(one) for one in item[where[-1]].value):
                raise QueryError(f"{name} is given twice")
            item.add_new(where[-1], "SQ", Sequence([Dataset()]))
        elif isinstance(value, Mapping):
            for key, one in value.items():
                name = key_of(key)
                check_keys(Level.IMAGE, Root.PATIENT, [name])
                self._put(_item(item, where[-1]), where, parts(named(name)), one)
        else:
            raise QueryError(f"{name} is a sequence: match it with one item, a mapping or a pydicom Dataset")


def _has_a_value(item: Dataset) -> bool:
    return any(element.VM for element in item.iterall() if element.VR != "SQ")


def unjudged(tag: int, vr: str, value: object) -> DataElement:
    """An element that pydicom does not warn of: keys hold what values may not, as wildcards."""
    from pydicom import config
    from pydicom.dataelem import DataElement

    return DataElement(tag, vr, value, validation_mode=config.IGNORE)


def given(query: Dataset) -> dict[str, object]:
    """The keys of a data set that is a query or an item of one; an empty sequence stays one."""
    return {
        element.keyword or f"{element.tag.group:04X},{element.tag.element:04X}": _Typed(
            element.VR, element.value
        )
        if element.tag.is_private and element.VR not in ("SQ", "UN")
        else element.value
        for element in query
        if element.keyword != "QueryRetrieveLevel"
    }


def _element(item: Dataset, name: str) -> tuple[int, str]:
    """Tag and VR. A private element, and one that no dictionary has, is text (LO)."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    private = _PRIVATE.fullmatch(name) if not _TAG.fullmatch(name) else None
    if private is not None:
        return _private_element(item, int(private[1], 16), private[2], int(private[3], 16))
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


def _private_element(item: Dataset, group: int, creator: str, element: int) -> tuple[int, str]:
    """Tag and VR of a private element, its block reserved in the item for its creator."""
    from pydicom.datadict import private_dictionary_VR

    block = _BLOCK
    while (place := (group << 16) + block) in item and str(item[place].value) != creator:
        block += 1
    item.add_new(place, "LO", creator)
    tag = (group << 16) + (block << 8) + element
    try:
        return tag, private_dictionary_VR(tag, creator)
    except KeyError:
        return tag, "LO"


def _item(identifier: Dataset, tag: int) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    if tag not in identifier or not identifier[tag].value:
        identifier.add_new(tag, "SQ", Sequence([Dataset()]))
    item: Dataset = identifier[tag].value[0]
    return item


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
            wrong = unheld(identifier)  # what has the default repertoire alone
            if wrong is not None:
                raise QueryError(wrong)
        return
    named = [term for part in (identifier, *_items(identifier)) for term in terms_of(part) or []]
    unknown = unknown_term(named)
    wrong = unheld(identifier)
    if unknown is not None:
        raise QueryError(f"SpecificCharacterSet: {unknown!r:.40} is no defined term (PS3.3 C.12.1.1.2)")
    if wrong is not None:
        raise QueryError(wrong)
