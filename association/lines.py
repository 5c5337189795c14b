"""Events of associations as lines of the log: who, what, how much; never what data sets say.

An association is INFO, a PDU or message DEBUG, the bytes of PDUs other than P-DATA-TF `TRACE`.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache

from ..dimse import messages as m
from ..dimse.status import Status
from ..dimse.uid_names import uid_name
from .observing import (
    BytesEvent,
    EndedEvent,
    Event,
    MessageEvent,
    OpenedEvent,
    PduEvent,
    RequestEvent,
    name_of,
    service_name,
)

log: logging.Logger = logging.getLogger("aiodicom.association")

TRACE = 5
"""The level, below DEBUG, at which the bytes of control PDUs are logged."""
HEX_BYTES = 1024
"""Bytes of a PDU that are logged."""

_IDENTITY = frozenset({0x58, 0x59})  # PS3.7 D.3.3.7: user names, passcodes, tickets, assertions
_USER_INFORMATION = 0x50
_ASSOCIATE_HEAD = 68  # PS3.8 Table 9-11, from behind the length to the variable items


def log_event(event: Event) -> None:
    """Log an event at its level, where anybody wants to know."""
    level = logging.INFO if isinstance(event, OpenedEvent | EndedEvent) else logging.DEBUG
    if log.isEnabledFor(level):
        line = line_of(event)
        if line is not None:
            log.log(level, "%s", line)
    if isinstance(event, PduEvent) and event.body and log.isEnabledFor(TRACE):
        for line in hex_lines(event):
            log.log(TRACE, "%s", line)


def line_of(event: Event) -> str | None:
    """An event on one line; None for what has none."""
    head = f"#{event.number}"
    match event:
        case OpenedEvent():
            whose = "with" if event.requestor else "of"
            return (
                f"{head} association {whose} {event.peer} opened:"
                f" {event.accepted} of {event.proposed} contexts accepted"
            )
        case EndedEvent():
            return f"{head} {_ended(event)}"
        case PduEvent():
            return f"{head} {_arrow(event.sent)} {event.name}, {event.length} bytes"
        case MessageEvent():
            return f"{head} {_arrow(event.sent)} {_message(event)}"
        case RequestEvent():
            moved = f", {event.data_bytes} bytes of data sets" if event.data_bytes else ""
            service = event.name.removesuffix("-RQ")
            status = Status(event.status, service)
            return f"{head} {service} id {event.message_id} took {event.seconds:.3f} s{moved}: {status}"
        case BytesEvent():
            return None


def _arrow(sent: bool) -> str:
    return "->" if sent else "<-"


def _ended(event: EndedEvent) -> str:
    what = f"association with {event.peer}" if event.opened else f"connection of {event.peer}"
    text = f"{what} {event.outcome} after {event.seconds:.3f} s"
    if event.reason is not None and event.outcome != "released":
        text += f" ({event.reason})"
    text += f"; {event.bytes_received} bytes in, {event.bytes_sent} out"
    counts = _counts(event.sent, "sent"), _counts(event.received, "received")
    return "; ".join([text, *filter(None, counts)])


def _counts(found: Mapping[str, int], which: str) -> str:
    return f"{which} " + ", ".join(f"{count} {name}" for name, count in found.items()) if found else ""


def _message(event: MessageEvent) -> str:
    message = event.message
    where = "" if event.abstract_syntax is None else f" {_syntax_name(event.abstract_syntax)}"
    if message is None:
        return f"{event.problem} in context {event.context_id}{where}"
    if isinstance(message, m.Request):
        number = message.message_id
    else:
        number = message.message_id_being_responded_to
    parts = [f"{name_of(message)} id {number}{where}"]
    if isinstance(message, m.Response):
        status = Status(message.status, service_name(type(message)))
        parts.append(str(status))
    for name in ("remaining", "completed", "failed", "warning"):
        count = getattr(message, name, None)
        if count is not None:
            parts.append(f"{count} {name}")
    uid = getattr(message, "affected_sop_instance_uid", None)
    uid = uid or getattr(message, "requested_sop_instance_uid", None)
    if uid is not None:
        parts.append(f"instance {uid}")
    if isinstance(message, m.CMoveRQ):
        parts.append(f"to {message.move_destination}")
    if isinstance(message, m.CStoreRQ) and message.move_originator_ae is not None:
        parts.append(f"for {message.move_originator_ae} id {message.move_originator_message_id}")
    return ", ".join(parts)


@lru_cache(256)
def _syntax_name(uid: str) -> str:
    """``Study Root FIND``, ``CT Image Storage``; the UID of what the standard does not name."""
    name = uid_name(uid)
    model, _, service = name.partition(" Query/Retrieve Information Model - ")
    return f"{model} {service}" if service else name.removesuffix(" SOP Class")


def hex_lines(event: PduEvent) -> Iterator[str]:
    """The bytes of a PDU, sixteen a line; what identifies users is struck out."""
    body = without_identity(event.name, event.body or b"")
    shown = body[:HEX_BYTES]
    for start in range(0, len(shown), 16):
        part = shown[start : start + 16]
        text = "".join(chr(one) if 32 <= one < 127 else "." for one in part)
        yield f"#{event.number} {_arrow(event.sent)} {start:04x}  {part.hex(' '):<47}  {text}"
    if len(shown) < len(body):
        yield f"#{event.number} {_arrow(event.sent)} and {len(body) - len(shown)} bytes more"


def without_identity(name: str, body: bytes) -> bytes:
    """The body of an A-ASSOCIATE PDU with X in the place of every user identity."""
    if not name.startswith("A-ASSOCIATE-") or name.endswith("RJ"):
        return body
    clean = bytearray(body)
    for kind, start, end in _items(body, _ASSOCIATE_HEAD, len(body)):
        if kind == _USER_INFORMATION:
            for inner, first, last in _items(body, start, end):
                if inner in _IDENTITY:
                    clean[first:last] = b"X" * (last - first)
    return bytes(clean)


def _items(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each item; one that is cut ends where the bytes do."""
    while at + 4 <= end:
        kind, length = struct.unpack_from(">BxH", body, at)
        yield kind, at + 4, min(at + 4 + length, end)
        at += 4 + length
