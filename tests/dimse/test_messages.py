"""The messages of PS3.7 9.3 and 10.3: there and back, each mandatory field missing, answers to requests."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace

import pytest
from aiodicom.dimse import (
    CCancelRQ,
    CEchoRQ,
    CommandRefused,
    CStoreRQ,
    Message,
    NCreateRQ,
    NGetRQ,
    Request,
    decode_message,
    encode_message,
    response_type,
)
from aiodicom.dimse.command import decode_command, encode_command
from aiodicom.dimse.messages import (
    MESSAGES,
    REQUESTS,
    RESPONSES,
    CFindRSP,
    Decoder,
    failure_response,
    make_response,
)
from aiodicom.pdu import Deviation, RemoteProtocolError
from aiodicom.pdu.errors import DeviationLog
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_dimse import KINDS, US, command_elements, messages, messages_of

FEW = settings.default.max_examples // 4  # for tests that run once a message type

# PS3.7 Tables 9.3-1 to 9.3-14 and 10.3-1 to 10.3-12: command field, mandatory elements
TABLES = {
    "CStoreRQ": (0x0001, {0x0002, 0x0110, 0x0700, 0x1000}),
    "CStoreRSP": (0x8001, {0x0120, 0x0900}),
    "CFindRQ": (0x0020, {0x0002, 0x0110, 0x0700}),
    "CFindRSP": (0x8020, {0x0120, 0x0900}),
    "CGetRQ": (0x0010, {0x0002, 0x0110, 0x0700}),
    "CGetRSP": (0x8010, {0x0120, 0x0900}),
    "CMoveRQ": (0x0021, {0x0002, 0x0110, 0x0700, 0x0600}),
    "CMoveRSP": (0x8021, {0x0120, 0x0900}),
    "CEchoRQ": (0x0030, {0x0002, 0x0110}),
    "CEchoRSP": (0x8030, {0x0120, 0x0900}),
    "CCancelRQ": (0x0FFF, {0x0120}),
    "NEventReportRQ": (0x0100, {0x0002, 0x0110, 0x1000, 0x1002}),
    "NEventReportRSP": (0x8100, {0x0120, 0x0900}),
    "NGetRQ": (0x0110, {0x0003, 0x0110, 0x1001}),
    "NGetRSP": (0x8110, {0x0120, 0x0900}),
    "NSetRQ": (0x0120, {0x0003, 0x0110, 0x1001}),
    "NSetRSP": (0x8120, {0x0120, 0x0900}),
    "NActionRQ": (0x0130, {0x0003, 0x0110, 0x1001, 0x1008}),
    "NActionRSP": (0x8130, {0x0120, 0x0900}),
    "NCreateRQ": (0x0140, {0x0002, 0x0110}),
    "NCreateRSP": (0x8140, {0x0120, 0x0900}),
    "NDeleteRQ": (0x0150, {0x0003, 0x0110, 0x1001}),
    "NDeleteRSP": (0x8150, {0x0120, 0x0900}),
}
ASSUMED = {0x0700, 0x0002}  # missing in a request whose type has a default for it: noted, not refused

EXAMPLE = {
    "message_id": 7,
    "message_id_being_responded_to": 7,
    "status": 0,
    "affected_sop_class_uid": "1.2.840.10008.1.1",
    "requested_sop_class_uid": "1.2.840.10008.1.1",
    "affected_sop_instance_uid": "1.2.3",
    "requested_sop_instance_uid": "1.2.3",
    "event_type_id": 1,
    "action_type_id": 1,
    "move_destination": "DEST",
    "priority": 0,
}


def example(kind: type[Message]) -> Message:
    """A message with its mandatory fields and no other."""
    return kind(
        **{f.name: EXAMPLE[f.name] for f in fields(kind) if f.default is MISSING or f.name in ("priority",)}
    )


def assumed(kind: type[Message], element: int) -> bool:
    return element == 0x0700 or (element == 0x0002 and kind is CEchoRQ)


def test_every_message_of_the_standard() -> None:
    assert {kind.__name__: field for field, kind in MESSAGES.items()} == {
        name: field for name, (field, _) in TABLES.items()
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_message_carries_what_its_table_demands(kind: type[Message]) -> None:
    field, mandatory = TABLES[kind.__name__]
    found = decode_command(encode_message(example(kind)), [])
    assert found[0x0100] == field
    assert mandatory <= set(found)
    assert found[0x0800] == (1 if example(kind).has_dataset else 0x0101)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=FEW)
@given(data=st.data())
def test_there_and_back(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages_of(kind))
    assert decode_message(encode_message(message), []) == message


@given(messages())
def test_a_message_of_ours_has_nothing_to_note(message: Message) -> None:
    noted: list[Deviation] = []
    decode_message(encode_message(message), noted)
    assert [d for d in noted if "a data set" not in d.message] == []


_MISSING = [
    (kind, element)
    for kind in KINDS
    for element in sorted(TABLES[kind.__name__][1])
    if not assumed(kind, element)
]


@pytest.mark.parametrize(("kind", "element"), _MISSING, ids=lambda x: getattr(x, "__name__", f"{x}"))
def test_a_mandatory_element_missing(kind: type[Message], element: int) -> None:
    """A request is refused with 0212H; without its message id, or as a response, it cannot be answered."""
    elements = decode_command(encode_message(example(kind)), [])
    del elements[element]
    raw = encode_command(elements)
    if kind.command_field in REQUESTS and element != 0x0110:
        with pytest.raises(CommandRefused) as refused:
            decode_message(raw, [])
        assert refused.value.status == 0x0212
        assert refused.value.elements == elements
        assert f"{element:04X}" in refused.value.comment
    else:
        with pytest.raises(RemoteProtocolError) as broken:
            decode_message(raw, [])
        assert broken.value.reason == 6


@pytest.mark.parametrize(
    ("kind", "element"),
    [(k, e) for k in KINDS for e in sorted(TABLES[k.__name__][1]) if assumed(k, e)],
    ids=lambda x: getattr(x, "__name__", f"{x}"),
)
def test_what_can_be_assumed_is_noted(kind: type[Message], element: int) -> None:
    noted: list[Deviation] = []
    elements = decode_command(encode_message(example(kind)), [])
    del elements[element]
    assert decode_message(encode_command(elements), noted) == example(kind)
    assert [f"{element:04X}" in d.message for d in noted] == [True]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("element", [0x0100, 0x0800])
def test_what_every_message_must_have(kind: type[Message], element: int) -> None:
    elements = decode_command(encode_message(example(kind)), [])
    del elements[element]
    with pytest.raises(RemoteProtocolError):
        decode_message(encode_command(elements), [])


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0100, 0x0102, 0xFEFE, 0xFFFF])
def test_any_data_set_type_but_0101_is_a_data_set(value: int) -> None:
    elements = decode_command(encode_message(example(CStoreRQ)), [])
    assert decode_message(encode_command(elements | {0x0800: value}), []).has_dataset
    assert not decode_message(encode_command(elements | {0x0800: 0x0101}), []).has_dataset


NEVER = ["CEchoRQ", "CEchoRSP", "CStoreRSP", "CCancelRQ", "NGetRQ", "NDeleteRQ", "NDeleteRSP"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_data_set_where_there_can_be_none_is_noted(kind: type[Message]) -> None:
    noted: list[Deviation] = []
    elements = decode_command(encode_message(example(kind)), [])
    assert decode_message(encode_command(elements | {0x0800: 1}), noted).has_dataset
    assert bool(noted) == (kind.__name__ in (*NEVER, "CFindRSP"))  # the example's status is final


@given(US.filter(lambda field: field not in MESSAGES), US)
def test_an_unknown_command_field(field: int, message_id: int) -> None:
    """Refused with 0211H when it is a request that can be answered (PS3.7 C.5.21)."""
    elements = {0x0100: field, 0x0110: message_id, 0x0800: 0x0101}
    with pytest.raises(RemoteProtocolError if field & 0x8000 else CommandRefused) as caught:
        decode_message(encode_command(elements), [])
    if isinstance(caught.value, CommandRefused):
        assert caught.value.status == 0x0211
    del elements[0x0110]
    with pytest.raises(RemoteProtocolError):
        decode_message(encode_command(elements), [])


@given(command_elements())
def test_any_elements_give_a_message_or_one_of_two_errors(elements: dict[int, object]) -> None:
    refused: CommandRefused | None = None
    try:
        message = decode_message(encode_command(elements), [])  # type: ignore[arg-type]
    except RemoteProtocolError:
        return
    except CommandRefused as error:
        refused = error
    if refused is None:
        assert decode_message(encode_message(message), []) == message
    else:
        found = decode_command(failure_response(refused.elements, refused.status, refused.comment), [])
        assert found[0x0120] == elements[0x0110]
        assert found[0x0900] == refused.status
        assert found[0x0800] == 0x0101
        assert found[0x0100] == elements[0x0100] | 0x8000  # type: ignore[operator]


# --- answers


@pytest.mark.parametrize("kind", list(REQUESTS.values()), ids=lambda kind: kind.__name__)
@settings(max_examples=FEW)
@given(data=st.data())
def test_the_response_to_a_request(kind: type[Request], data: st.DataObject) -> None:
    request = data.draw(messages_of(kind))
    status = data.draw(US)
    response = make_response(request, status)  # type: ignore[arg-type]
    assert type(response) is response_type(kind) is RESPONSES[kind.command_field | 0x8000]
    assert response.message_id_being_responded_to == request.message_id  # type: ignore[union-attr]
    assert response.status == status
    named = decode_command(encode_message(request), [])
    answered = decode_command(encode_message(response), [])
    assert answered.get(0x0002) == (named.get(0x0002) or named.get(0x0003))
    if 0x1000 in answered or kind is CStoreRQ:
        assert answered.get(0x1000) == (named.get(0x1000) or named.get(0x1001))


def test_further_fields_of_a_response() -> None:
    request = NCreateRQ(message_id=1, affected_sop_class_uid="1.2")
    response = make_response(request, 0x0110, error_comment="no", affected_sop_instance_uid="1.2.9")
    assert (response.error_comment, response.affected_sop_instance_uid) == ("no", "1.2.9")  # type: ignore[union-attr]


@pytest.mark.parametrize("uid", ["1.2.é", "1." + "2" * 63])
def test_a_uid_that_cannot_be_sent_is_left_out_of_answers(uid: str) -> None:
    request = NGetRQ(message_id=1, requested_sop_class_uid="1.2", requested_sop_instance_uid=uid)
    response = make_response(request, 0x0112)
    assert response.affected_sop_instance_uid is None  # type: ignore[union-attr]
    encode_message(response)
    raw = failure_response({0x0100: 0x0110, 0x0110: 1, 0x0003: "1.2", 0x1001: uid}, 0x0112, "no such")
    assert decode_command(raw, []) == {
        0x0002: "1.2",
        0x0100: 0x8110,
        0x0120: 1,
        0x0800: 0x0101,
        0x0900: 0x0112,
        0x0902: "no such",
    }


def test_a_cancel_has_no_response() -> None:
    assert CCancelRQ.command_field not in REQUESTS
    assert CCancelRQ.command_field | 0x8000 not in RESPONSES


def test_a_command_set_that_comes_again_is_decoded_once_and_any_other_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pending = CFindRSP(message_id_being_responded_to=1, status=0xFF00, has_dataset=True)
    final = replace(pending, status=0, has_dataset=False)
    long = replace(pending, affected_sop_class_uid="1.2", error_comment="x" * 64)
    sets = [encode_message(one) for one in (pending, pending, final, pending, pending, long, long)]
    log = DeviationLog()
    decoder = Decoder(log)
    monkeypatch.setattr(Decoder, "REMEMBERED", len(sets[0]) + 20)
    decoded = [decoder.decode(bytearray(one)) for one in sets]
    assert decoded == [pending, pending, final, pending, pending, long, long]
    assert decoded[0] is decoded[1]
    assert decoded[3] is decoded[4]
    assert decoded[5] is not decoded[6], "no long one is held"
    odd = bytearray(encode_message(replace(final, has_dataset=False)).replace(b"\x01\x01", b"\x02\x01"))
    plain = DeviationLog()
    for _ in range(3):
        assert decoder.decode(odd) == decode_message(odd, plain)
    assert log == plain
    broken = bytearray(sets[0][:-1])
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            decoder.decode(broken)
