"""Any bytes as a command set, through the codec and the messages.

Input: the command set.

May be raised: RemoteProtocolError with reason 6 by `decode_command` and `decode_message`; CommandRefused by
`decode_message` for a request, which then can be answered; LocalProtocolError by `encode_message` for a
message with a UID or AE title that is no ASCII text, which may not be sent. Nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from aiodicom.dimse import CommandRefused, Request, Response, decode_message, encode_message
from aiodicom.dimse.command import VR, decode_command
from aiodicom.dimse.messages import failure_response, make_response
from aiodicom.pdu import Deviation, LocalProtocolError, RemoteProtocolError


def one_input(data: bytes) -> None:
    """Decode one command set; what is accepted must settle after one round trip."""
    noted: list[Deviation] = []
    caught: RemoteProtocolError | CommandRefused | None = None
    try:
        elements = decode_command(data, noted)
        message = decode_message(data, noted)
    except (RemoteProtocolError, CommandRefused) as error:
        caught = error
    if isinstance(caught, CommandRefused):
        answer = decode_command(failure_response(caught.elements, caught.status, caught.comment), [])
        assert answer[0x0120] == caught.elements[0x0110]
        assert answer[0x0900] == caught.status
        assert answer[0x0800] == 0x0101
        return
    if caught is not None:
        assert caught.reason == 6
        return
    assert set(elements) <= set(VR)
    if isinstance(message, Request):
        response = make_response(message, 0x0110)
        assert decode_message(encode_message(response), []) == response
    if isinstance(message, Response) and message.error_comment is not None:
        message = replace(message, error_comment=None)  # is made one LO value when it is sent
    try:
        raw = encode_message(message)
    except LocalProtocolError:
        assert any(isinstance(v, str) and not v.isascii() for v in elements.values())
        return
    again = decode_message(raw, [])
    assert again == message, f"{message!r} came back as {again!r}"
    assert encode_message(again) == raw
