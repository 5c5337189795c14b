"""Messages against pynetdicom's, each side reading what the other wrote."""

from __future__ import annotations

from dataclasses import fields, replace
from io import BytesIO

import pytest
from aiodicom.dimse import Message, decode_message, encode_message
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import dimse_messages as theirs
from pynetdicom.pdu_primitives import P_DATA
from strategies_dimse import KINDS, messages_of

FEW = settings.default.max_examples // 6  # for tests that run once a message type

KEYWORDS = {
    "message_id": "MessageID",
    "message_id_being_responded_to": "MessageIDBeingRespondedTo",
    "affected_sop_class_uid": "AffectedSOPClassUID",
    "affected_sop_instance_uid": "AffectedSOPInstanceUID",
    "requested_sop_class_uid": "RequestedSOPClassUID",
    "requested_sop_instance_uid": "RequestedSOPInstanceUID",
    "priority": "Priority",
    "status": "Status",
    "offending_elements": "OffendingElement",
    "error_comment": "ErrorComment",
    "error_id": "ErrorID",
    "move_destination": "MoveDestination",
    "move_originator_ae": "MoveOriginatorApplicationEntityTitle",
    "move_originator_message_id": "MoveOriginatorMessageID",
    "event_type_id": "EventTypeID",
    "action_type_id": "ActionTypeID",
    "attribute_identifier_list": "AttributeIdentifierList",
    "remaining": "NumberOfRemainingSuboperations",
    "completed": "NumberOfCompletedSuboperations",
    "failed": "NumberOfFailedSuboperations",
    "warning": "NumberOfWarningSuboperations",
}
THEIR_NAMES = {  # ours: theirs
    "CEcho": "C_ECHO",
    "CStore": "C_STORE",
    "CFind": "C_FIND",
    "CGet": "C_GET",
    "CMove": "C_MOVE",
    "CCancel": "C_CANCEL",
    "NEventReport": "N_EVENT_REPORT",
    "NGet": "N_GET",
    "NSet": "N_SET",
    "NAction": "N_ACTION",
    "NCreate": "N_CREATE",
    "NDelete": "N_DELETE",
}


def their_class(kind: type[Message]) -> type[theirs.DIMSEMessage]:
    name = kind.__name__
    stem, ending = (name[:-3], "_RSP") if name.endswith("RSP") else (name[:-2], "_RQ")
    found: type[theirs.DIMSEMessage] = getattr(theirs, THEIR_NAMES[stem] + ending)
    return found


def their_values(message: theirs.DIMSEMessage) -> dict[str, object]:
    """Our field names with what they hold, empty ones left out."""
    found: dict[str, object] = {}
    for name, keyword in KEYWORDS.items():
        value = message.command_set.get(keyword)
        if value is None or value == "":
            continue
        if keyword in ("OffendingElement", "AttributeIdentifierList"):
            tags = [value] if isinstance(value, int) else value  # pydicom: one value or a list
            found[name] = tuple(int(tag) for tag in tags)
        else:
            found[name] = int(value) if isinstance(value, int) else str(value)
    return found


def our_values(message: Message) -> dict[str, object]:
    return {
        f.name: getattr(message, f.name)
        for f in fields(message)
        if f.name != "has_dataset" and getattr(message, f.name) not in (None, ())
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=FEW)
@given(data=st.data())
def test_they_read_what_we_write(kind: type[Message], data: st.DataObject) -> None:
    message = replace(data.draw(messages_of(kind)), has_dataset=False)
    primitive = P_DATA()
    primitive.presentation_data_value_list = [[1, b"\x03" + encode_message(message)]]  # type: ignore[list-item]
    found = theirs.DIMSEMessage()
    assert found.decode_msg(primitive)
    assert type(found) is their_class(kind)
    assert their_values(found) == our_values(message)
    assert found.command_set.CommandGroupLength == len(encode_message(message)) - 12


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=FEW)
@given(data=st.data())
def test_we_read_what_they_write(kind: type[Message], data: st.DataObject) -> None:
    """Their encoder is given each element by its keyword, and what it writes is what we write."""
    message = replace(data.draw(messages_of(kind)), has_dataset=data.draw(st.booleans()))
    written = their_class(kind)()
    for keyword in [e.keyword for e in written.command_set]:
        delattr(written.command_set, keyword)
    for name, value in our_values(message).items():
        setattr(written.command_set, KEYWORDS[name], list(value) if isinstance(value, tuple) else value)
    written.command_set.CommandField = kind.command_field
    written.command_set.CommandDataSetType = 0x0001 if message.has_dataset else 0x0101
    raw = encode_message(message)
    written.command_set.CommandGroupLength = len(raw) - 12
    written.data_set = BytesIO()
    pieces = [
        piece[1:]
        for pdata in written.encode_msg(1, 64)
        for _, piece in pdata.presentation_data_value_list
        if piece[0] & 1
    ]
    assert b"".join(pieces) == raw
    assert decode_message(b"".join(pieces), []) == message
