"""The DIMSE messages as values (PS3.7 9.3, 10.3), and their command sets.

A field without a default is mandatory on the wire; None and () mean absent. `has_dataset` is the Command
Data Set Type in words. `decode_message(encode_message(m)) == m`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from ..pdu.errors import AbortReason, AiodicomError, Deviation, DeviationLog, RemoteProtocolError
from . import command as c
from .command import Value, decode_command, encode_command
from .status import MISTYPED_ARGUMENT, PENDING, PENDING_WARNING, UNRECOGNIZED_OPERATION


class Priority:
    """Priorities of an operation (PS3.7 E.1)."""

    MEDIUM = 0x0000
    HIGH = 0x0001
    LOW = 0x0002


_PRIORITIES = frozenset({Priority.MEDIUM, Priority.HIGH, Priority.LOW})


class CommandRefused(AiodicomError):
    """A command set that is whole but lacks what it must have: answered with a failure status.

    Only a request can be refused so; a response that lacks something is a RemoteProtocolError.
    """

    def __init__(self, status: int, comment: str, elements: dict[int, Value]) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment
        self.elements = elements


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    message_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    message_id_being_responded_to: int
    status: int
    offending_elements: tuple[int, ...] = ()
    error_comment: str | None = None
    error_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CEchoRQ(_Request):
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""

    command_field: ClassVar[int] = 0x0030
    affected_sop_class_uid: str = "1.2.840.10008.1.1"
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CEchoRSP(_Response):
    """C-ECHO-RSP (PS3.7 9.3.5.2)."""

    command_field: ClassVar[int] = 0x8030
    affected_sop_class_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreRQ(_Request):
    """C-STORE-RQ (PS3.7 9.3.1.1)."""

    command_field: ClassVar[int] = 0x0001
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    priority: int = Priority.MEDIUM
    move_originator_ae: str | None = None
    move_originator_message_id: int | None = None
    has_dataset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CStoreRSP(_Response):
    """C-STORE-RSP (PS3.7 9.3.1.2)."""

    command_field: ClassVar[int] = 0x8001
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CFindRQ(_Request):
    """C-FIND-RQ (PS3.7 9.3.2.1)."""

    command_field: ClassVar[int] = 0x0020
    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM
    has_dataset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CFindRSP(_Response):
    """C-FIND-RSP (PS3.7 9.3.2.2); a pending one carries an identifier."""

    command_field: ClassVar[int] = 0x8020
    affected_sop_class_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CGetRQ(_Request):
    """C-GET-RQ (PS3.7 9.3.3.1)."""

    command_field: ClassVar[int] = 0x0010
    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM
    has_dataset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _SubOperations(_Response):
    affected_sop_class_uid: str | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CGetRSP(_SubOperations):
    """C-GET-RSP with the sub-operation counters (PS3.7 9.3.3.2); its data set is the failed list."""

    command_field: ClassVar[int] = 0x8010


@dataclass(frozen=True, slots=True, kw_only=True)
class CMoveRQ(_Request):
    """C-MOVE-RQ (PS3.7 9.3.4.1)."""

    command_field: ClassVar[int] = 0x0021
    affected_sop_class_uid: str
    move_destination: str
    priority: int = Priority.MEDIUM
    has_dataset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CMoveRSP(_SubOperations):
    """C-MOVE-RSP with the sub-operation counters (PS3.7 9.3.4.2); its data set is the failed list."""

    command_field: ClassVar[int] = 0x8021


@dataclass(frozen=True, slots=True, kw_only=True)
class CCancelRQ:
    """C-CANCEL-RQ of a find, get or move (PS3.7 9.3.2.3, 9.3.3.3, 9.3.4.3). It has no response."""

    command_field: ClassVar[int] = 0x0FFF
    message_id_being_responded_to: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NEventReportRQ(_Request):
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1)."""

    command_field: ClassVar[int] = 0x0100
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    event_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NEventReportRSP(_Response):
    """N-EVENT-REPORT-RSP (PS3.7 10.3.1.2)."""

    command_field: ClassVar[int] = 0x8100
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    event_type_id: int | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NGetRQ(_Request):
    """N-GET-RQ (PS3.7 10.3.2.1)."""

    command_field: ClassVar[int] = 0x0110
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    attribute_identifier_list: tuple[int, ...] = ()
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NGetRSP(_Response):
    """N-GET-RSP (PS3.7 10.3.2.2)."""

    command_field: ClassVar[int] = 0x8110
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NSetRQ(_Request):
    """N-SET-RQ (PS3.7 10.3.3.1)."""

    command_field: ClassVar[int] = 0x0120
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    has_dataset: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NSetRSP(_Response):
    """N-SET-RSP (PS3.7 10.3.3.2)."""

    command_field: ClassVar[int] = 0x8120
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    attribute_identifier_list: tuple[int, ...] = ()
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NActionRQ(_Request):
    """N-ACTION-RQ (PS3.7 10.3.4.1)."""

    command_field: ClassVar[int] = 0x0130
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    action_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NActionRSP(_Response):
    """N-ACTION-RSP (PS3.7 10.3.4.2)."""

    command_field: ClassVar[int] = 0x8130
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    action_type_id: int | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NCreateRQ(_Request):
    """N-CREATE-RQ (PS3.7 10.3.5.1)."""

    command_field: ClassVar[int] = 0x0140
    affected_sop_class_uid: str
    affected_sop_instance_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NCreateRSP(_Response):
    """N-CREATE-RSP (PS3.7 10.3.5.2)."""

    command_field: ClassVar[int] = 0x8140
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NDeleteRQ(_Request):
    """N-DELETE-RQ (PS3.7 10.3.6.1)."""

    command_field: ClassVar[int] = 0x0150
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    has_dataset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NDeleteRSP(_Response):
    """N-DELETE-RSP (PS3.7 10.3.6.2)."""

    command_field: ClassVar[int] = 0x8150
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    has_dataset: bool = False


CRequest = CEchoRQ | CStoreRQ | CFindRQ | CGetRQ | CMoveRQ
NRequest = NEventReportRQ | NGetRQ | NSetRQ | NActionRQ | NCreateRQ | NDeleteRQ
CResponse = CEchoRSP | CStoreRSP | CFindRSP | CGetRSP | CMoveRSP
NResponse = NEventReportRSP | NGetRSP | NSetRSP | NActionRSP | NCreateRSP | NDeleteRSP
Request = CRequest | NRequest
Response = CResponse | NResponse
Message = Request | Response | CCancelRQ

REQUESTS: dict[int, type[Request]] = {
    t.command_field: t
    for t in (
        CEchoRQ, CStoreRQ, CFindRQ, CGetRQ, CMoveRQ,
        NEventReportRQ, NGetRQ, NSetRQ, NActionRQ, NCreateRQ, NDeleteRQ,
    )
}  # fmt: skip
RESPONSES: dict[int, type[Response]] = {
    t.command_field: t
    for t in (
        CEchoRSP, CStoreRSP, CFindRSP, CGetRSP, CMoveRSP,
        NEventReportRSP, NGetRSP, NSetRSP, NActionRSP, NCreateRSP, NDeleteRSP,
    )
}  # fmt: skip
MESSAGES: dict[int, type[Message]] = {**REQUESTS, **RESPONSES, CCancelRQ.command_field: CCancelRQ}

# Command Data Set Type "shall be set to 0101H" (PS3.7 9.3, 10.3), whatever the circumstances
_WITHOUT_DATASET = frozenset(
    t.command_field for t in (CEchoRQ, CEchoRSP, CStoreRSP, CCancelRQ, NGetRQ, NDeleteRQ, NDeleteRSP)
)

_ELEMENTS = {
    "message_id": c.MESSAGE_ID,
    "message_id_being_responded_to": c.MESSAGE_ID_BEING_RESPONDED_TO,
    "affected_sop_class_uid": c.AFFECTED_SOP_CLASS_UID,
    "affected_sop_instance_uid": c.AFFECTED_SOP_INSTANCE_UID,
    "requested_sop_class_uid": c.REQUESTED_SOP_CLASS_UID,
    "requested_sop_instance_uid": c.REQUESTED_SOP_INSTANCE_UID,
    "priority": c.PRIORITY,
    "status": c.STATUS,
    "offending_elements": c.OFFENDING_ELEMENT,
    "error_comment": c.ERROR_COMMENT,
    "error_id": c.ERROR_ID,
    "move_destination": c.MOVE_DESTINATION,
    "move_originator_ae": c.MOVE_ORIGINATOR_AE,
    "move_originator_message_id": c.MOVE_ORIGINATOR_MESSAGE_ID,
    "event_type_id": c.EVENT_TYPE_ID,
    "action_type_id": c.ACTION_TYPE_ID,
    "attribute_identifier_list": c.ATTRIBUTE_IDENTIFIER_LIST,
    "remaining": c.REMAINING_SUBOPERATIONS,
    "completed": c.COMPLETED_SUBOPERATIONS,
    "failed": c.FAILED_SUBOPERATIONS,
    "warning": c.WARNING_SUBOPERATIONS,
}

# per type: (field name, element, mandatory), has_dataset apart
_FIELDS: dict[type[Message], tuple[tuple[str, int, bool], ...]] = {
    t: tuple((f.name, _ELEMENTS[f.name], f.default is MISSING) for f in fields(t) if f.name != "has_dataset")
    for t in MESSAGES.values()
}

# mandatory on the wire, but a peer that leaves them out can be understood: noted
_ASSUMED = frozenset({c.AFFECTED_SOP_CLASS_UID, c.PRIORITY})


def encode_message(message: Message) -> bytes:
    """The command set of a message."""
    elements: dict[int, Value] = {
        c.COMMAND_FIELD: message.command_field,
        c.COMMAND_DATA_SET_TYPE: c.DATA_SET_PRESENT if message.has_dataset else c.NO_DATA_SET,
    }
    for name, element, _ in _FIELDS[type(message)]:
        value = getattr(message, name)
        if value is not None and value != ():
            elements[element] = value
    return encode_command(elements)


def decode_message(data: bytes | bytearray | memoryview, noted: list[Deviation]) -> Message:
    """The message of a command set.

    Raises CommandRefused for a request to answer with a failure, RemoteProtocolError for what cannot be
    answered: malformed elements, no command field, no message id, a response that lacks its status.
    """
    elements = decode_command(data, noted)
    command_field = elements.get(c.COMMAND_FIELD)
    if not isinstance(command_field, int):
        raise _unanswerable("no Command Field")
    if c.COMMAND_DATA_SET_TYPE not in elements:
        raise _unanswerable("no Command Data Set Type")
    has_dataset = elements[c.COMMAND_DATA_SET_TYPE] != c.NO_DATA_SET
    message_type = MESSAGES.get(command_field)
    if message_type is None:
        if command_field & 0x8000 or c.MESSAGE_ID not in elements:
            raise _unanswerable(f"unknown Command Field {command_field:04X}H")
        raise CommandRefused(UNRECOGNIZED_OPERATION, f"unknown Command Field {command_field:04X}H", elements)
    if has_dataset and command_field in _WITHOUT_DATASET:
        noted.append(Deviation("PS3.7 E.1", f"{message_type.__name__} with a data set"))
    values: dict[str, Any] = {"has_dataset": has_dataset}
    for name, element, mandatory in _FIELDS[message_type]:
        if element in elements:
            values[name] = elements[element]
            if element == c.PRIORITY and values[name] not in _PRIORITIES:
                noted.append(Deviation("PS3.7 E.1", f"{message_type.__name__} with priority {values[name]}"))
        elif mandatory:
            _missing(message_type, element, elements)
        elif element in _ASSUMED and command_field in REQUESTS:
            noted.append(Deviation("PS3.7 E.1", f"{message_type.__name__} without (0000,{element:04X})"))
    message = message_type(**values)
    if isinstance(message, CFindRSP) and has_dataset is not (message.status in (PENDING, PENDING_WARNING)):
        which = "final C-FIND-RSP with" if has_dataset else "pending C-FIND-RSP without"
        noted.append(Deviation("PS3.7 9.3.2.2", f"a {which} a data set"))
    return message


class Decoder:
    """Decodes the command sets of one association, of which pending answers are one many times.

    A log keeps each deviation once, so what is remembered need not be noted again.
    """

    REMEMBERED = 512
    """Bytes of a command set up to which the last one is remembered."""

    def __init__(self, noted: DeviationLog) -> None:
        self._noted = noted
        self._last: tuple[bytes, Message] | None = None

    def decode(self, data: bytearray) -> Message:
        """As `decode_message`."""
        last = self._last
        if last is not None and data == last[0]:
            return last[1]
        message = decode_message(data, self._noted)
        if len(data) <= self.REMEMBERED:
            self._last = bytes(data), message
        return message


def _missing(message_type: type[Message], element: int, elements: dict[int, Value]) -> None:
    text = f"{message_type.__name__} without (0000,{element:04X})"
    if message_type.command_field not in REQUESTS or element == c.MESSAGE_ID:
        raise _unanswerable(text)
    raise CommandRefused(MISTYPED_ARGUMENT, text, elements)


def _unanswerable(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed command set: {message}", reason=AbortReason.INVALID_PARAMETER)


def response_type(request: type[Request] | Request) -> type[Response]:
    """The response message of a request's service."""
    return RESPONSES[request.command_field | 0x8000]


def make_response(
    request: Request,
    status: int,
    **values: Any,
) -> Response:
    """The response to a request, with what it names (SOP class, instance, event or action type).

    `values` are further fields, and come first.

    A UID of the peer's that is none and could not be sent is left out.
    """
    kind = response_type(request)
    names = {name for name, _, _ in _FIELDS[kind]}
    for which in ("sop_class_uid", "sop_instance_uid"):
        affected = f"affected_{which}"
        named = getattr(request, affected, None) or getattr(request, f"requested_{which}", None)
        if affected in names and named is not None and _can_be_sent(named):
            values.setdefault(affected, named)
    for echoed in ("event_type_id", "action_type_id"):
        if echoed in names:
            values.setdefault(echoed, getattr(request, echoed))
    return kind(message_id_being_responded_to=request.message_id, status=status, **values)


def failure_response(elements: dict[int, Value], status: int, comment: str) -> bytes:
    """The command set that refuses a request known by its elements alone (PS3.7 Annex C)."""
    answer: dict[int, Value] = {
        c.COMMAND_FIELD: int(elements[c.COMMAND_FIELD]) | 0x8000,  # type: ignore[arg-type]
        c.MESSAGE_ID_BEING_RESPONDED_TO: elements[c.MESSAGE_ID],
        c.COMMAND_DATA_SET_TYPE: c.NO_DATA_SET,
        c.STATUS: status,
        c.ERROR_COMMENT: comment[:64],
    }
    for requested, affected in (
        (c.AFFECTED_SOP_CLASS_UID, c.AFFECTED_SOP_CLASS_UID),
        (c.REQUESTED_SOP_CLASS_UID, c.AFFECTED_SOP_CLASS_UID),
        (c.AFFECTED_SOP_INSTANCE_UID, c.AFFECTED_SOP_INSTANCE_UID),
        (c.REQUESTED_SOP_INSTANCE_UID, c.AFFECTED_SOP_INSTANCE_UID),
    ):
        value = elements.get(requested)
        if isinstance(value, str) and _can_be_sent(value):
            answer[affected] = value
    return encode_command(answer)


def _can_be_sent(uid: str) -> bool:
    """Whether what a peer sent as a UID can be sent back to it: 64 characters of ASCII at most."""
    return uid.isascii() and len(uid) <= 64
