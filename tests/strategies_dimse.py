"""Hypothesis strategies for DIMSE messages and command sets.

Every message is in the form the codec hands out: UIDs and texts without padding, texts of one value.
"""

from __future__ import annotations

import struct
from dataclasses import MISSING, fields
from typing import Any

from aiodicom.dimse.command import VR, Value
from aiodicom.dimse.messages import MESSAGES, Message
from hypothesis import strategies as st
from strategies import ae_titles, uids

US = st.integers(min_value=0, max_value=0xFFFF)
TAGS = st.lists(st.integers(min_value=0, max_value=0xFFFFFFFF), min_size=1, max_size=5).map(tuple)
KINDS: tuple[type[Message], ...] = tuple(MESSAGES.values())


def comments() -> st.SearchStrategy[str]:
    """Error comments: one LO value of 1 to 64 characters of the default repertoire (PS3.5 6.2)."""
    characters = st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\")
    return st.text(characters, min_size=1, max_size=64).map(lambda t: t.strip(" ")).filter(bool)


_BY_VR: dict[str, st.SearchStrategy[Any]] = {
    "US": US,
    "UI": uids(),
    "AE": ae_titles(),
    "LO": comments(),
    "AT": TAGS,
}
_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "priority": st.sampled_from([0, 1, 2]),
    "has_dataset": st.booleans(),
    "error_comment": comments(),
    "move_destination": ae_titles(),
    "move_originator_ae": ae_titles(),
    "offending_elements": TAGS,
    "attribute_identifier_list": TAGS,
}


def _field(name: str) -> st.SearchStrategy[Any]:
    return _BY_NAME.get(name, uids() if name.endswith("_uid") else US)


def messages_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one type, each field that may be absent there or not."""
    values = {
        f.name: _field(f.name)
        if f.default is MISSING or (f.default is not None and f.default != ())
        else st.just(f.default) | _field(f.name)
        for f in fields(kind)
    }
    return st.builds(kind, **values)


def messages() -> st.SearchStrategy[Message]:
    """Any of the 23 messages."""
    return st.one_of([messages_of(kind) for kind in KINDS])


def command_elements() -> st.SearchStrategy[dict[int, Value]]:
    """Elements of a command set in any combination, group length apart."""
    one = {element: _BY_VR[vr] for element, vr in VR.items() if element}
    return st.fixed_dictionaries({}, optional=one)


def raw_elements() -> st.SearchStrategy[bytes]:
    """Elements of any number with any value, each with its true length."""
    numbers = st.sampled_from(sorted(VR)) | US
    return st.builds(
        lambda number, value: struct.pack("<HHL", 0, number, len(value)) + value,
        numbers,
        st.binary(max_size=8) | st.binary(max_size=70),
    )


def raw_commands() -> st.SearchStrategy[bytes]:
    """Command sets as a careless or hostile peer sends them: framed, with anything inside."""
    return st.lists(raw_elements(), max_size=8).map(b"".join)
