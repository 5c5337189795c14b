"""An answer to a C-FIND: a data set for who is in this process, bytes for who is not (PS3.4 C.4.1.3).

Bytes are made from the index without a data set between, which would take several times as long. What is not
plain ASCII text is encoded by pydicom, element by element, and remembered: patients and series repeat.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from pydicom.dataset import Dataset

from ..dataset.coding import PLAIN_TEXT_VRS, encode_dataset
from ..pdu.errors import LocalProtocolError
from ..pdu.uids import UNCOMPRESSED
from .attributes import SPECIFIC_CHARACTER_SET, Attribute
from .query import CompiledQuery
from .text import Value, charset_for, make_element

_LEVEL = 0x00080052
_RETRIEVE_AE = 0x00080054
_AVAILABILITY = 0x00080056
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 256
_LONGEST_SHORT = 0xFFFE

Tell = Callable[[str], object]


class Entity(Protocol):
    """A patient, study, series or instance that matched."""

    @property
    def charsets(self) -> Sequence[str]:
        """The character sets of its object, series and study, the nearest first."""

    def value(self, kept: Attribute, /) -> Value:
        """The value of a key, "" when there is none."""


class Answers:
    """What one query answers with: the keys asked for, the level and the character set."""

    def __init__(self, query: CompiledQuery, retrieve_ae: str | None) -> None:
        fixed = [(_LEVEL, "CS", query.level.value)]
        fixed += [(_RETRIEVE_AE, "AE", retrieve_ae)] if retrieve_ae else []
        fixed += [(_AVAILABILITY, "CS", "ONLINE")] if query.availability else []
        plan: list[tuple[int, str, str, Attribute | None]] = [(*one, None) for one in fixed]
        plan += [(kept.tag, kept.vr, "", kept) for kept in query.wanted]
        self._plan = sorted(plan, key=lambda one: one[0])
        self._heads: dict[str, list[bytes | None]] = {}

    def dataset(self, entity: Entity) -> Dataset:
        """The answer as a data set."""
        values = self._values(entity)
        charset = _charset_of(values, entity.charsets)
        elements = [make_element(SPECIFIC_CHARACTER_SET, "CS", charset)] if charset else []
        elements += [
            make_element(tag, vr, _value_of(vr, value))
            for (tag, vr, _, _), value in zip(self._plan, values, strict=True)
        ]
        return Dataset({element.tag: element for element in elements})

    def encoded(self, entity: Entity, transfer_syntax: str, tell: Tell) -> bytes:
        """The answer in an uncompressed transfer syntax; an element that cannot be encoded in it is left out,
        and `tell` is told: it costs no other.
        """
        values = self._values(entity)
        charset = _charset_of(values, entity.charsets)
        heads = self._heads.get(transfer_syntax)
        if heads is None:
            heads = self._heads[transfer_syntax] = [
                _head(tag, vr, transfer_syntax) for tag, vr, _, _ in self._plan
            ]
        length = _implicit_length if transfer_syntax == UNCOMPRESSED[1] else _explicit_length
        parts: list[bytes] = []
        if charset:  # of all these it has the lowest tag
            parts.append(_bytes_of(SPECIFIC_CHARACTER_SET, "CS", charset, "", transfer_syntax))
        for (tag, vr, _, _), head, value in zip(self._plan, heads, values, strict=True):
            if head is not None and type(value) is str and _as_it_is(vr, value):
                raw = value.encode("ascii")
                if len(raw) % 2:
                    raw += b"\0" if vr == "UI" else b" "
                parts += (head, length(len(raw)), raw)
                continue
            try:
                parts.append(_encoded(tag, vr, value, charset, transfer_syntax))
            except LocalProtocolError as error:
                tell(f"an answer is given in part: {error}")
        return b"".join(parts)

    def _values(self, entity: Entity) -> list[Value]:
        return [fixed if kept is None else entity.value(kept) for _, _, fixed, kept in self._plan]


_explicit_length = struct.Struct("<H").pack
_implicit_length = struct.Struct("<L").pack


def _head(tag: int, vr: str, transfer_syntax: str) -> bytes | None:
    """What stands before the length of a text element; None where that is not known here."""
    if vr not in PLAIN_TEXT_VRS or transfer_syntax not in UNCOMPRESSED:
        return None
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return start if transfer_syntax == UNCOMPRESSED[1] else start + vr.encode("ascii")


_UNCHANGED = PLAIN_TEXT_VRS - {"IS", "DS", "PN", "UI"}


def _as_it_is(vr: str, text: str) -> bool:
    """Whether a text is its own value: one of ASCII of a VR that nothing is made of in `make_element`."""
    if not text.isascii() or len(text) > _LONGEST_SHORT:
        return False
    if vr in _UNCHANGED:
        return "\\" not in text
    if vr == "UI":
        return text.replace(".", "").isdigit()
    return vr == "IS" and len(text) < 10 and text.isdigit()


def _value_of(vr: str, value: Value) -> Value:
    return value if value or vr != "SQ" else []


def _encoded(tag: int, vr: str, value: Value, charset: str, transfer_syntax: str) -> bytes:
    if isinstance(value, str) and len(value) <= _LONGEST_REMEMBERED:
        return _remembered(tag, vr, value, charset, transfer_syntax)
    return _bytes_of(tag, vr, value, charset, transfer_syntax)


def _bytes_of(tag: int, vr: str, value: Value, charset: str, transfer_syntax: str) -> bytes:
    """One element of an answer in that character set. Raises LocalProtocolError."""
    element = make_element(tag, vr, _value_of(vr, value))
    if not charset:
        return encode_dataset(Dataset({element.tag: element}), transfer_syntax)
    named = make_element(SPECIFIC_CHARACTER_SET, "CS", charset)
    before = encode_dataset(Dataset({named.tag: named}), transfer_syntax)
    both = encode_dataset(Dataset({named.tag: named, element.tag: element}), transfer_syntax)
    return both[len(before) :]


_remembered = functools.lru_cache(maxsize=_REMEMBERED)(_bytes_of)


def _charset_of(values: Sequence[Value], preferred: Sequence[str]) -> str:
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in values if one]
    if all(map(str.isascii, texts)):
        return ""
    return _charset_for(tuple(text for text in texts if not text.isascii()), tuple(preferred))


_charset_for = functools.lru_cache(maxsize=64)(charset_for)
