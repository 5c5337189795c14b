"""What a message must agree with before anyone acts on it (PS3.7 7 to 10, PS3.4)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ..pdu.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from . import messages as m
from .command import values_of_group
from .contexts import VERIFICATION, Context
from .status import MISTYPED_ARGUMENT, SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION, Category, categorize

FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
# services whose responses may be pending (PS3.7 9.1.2.1, 9.1.3.1, 9.1.4.1)
MULTIPLE_RESPONSES = frozenset(t.command_field for t in (m.CFindRQ, m.CGetRQ, m.CMoveRQ))

# requests that come from the SCP of the SOP class (PS3.7 10.1.1)
_FROM_SCP = frozenset({m.NEventReportRQ.command_field})


def sop_class(request: m.Request) -> str:
    """The SOP class a request names."""
    if isinstance(request, m.NGetRQ | m.NSetRQ | m.NActionRQ | m.NDeleteRQ):
        return request.requested_sop_class_uid
    return request.affected_sop_class_uid


def may_invoke(context: Context, command_field: int) -> bool:
    """Whether this side may send a request of this kind on a context."""
    return context.scp if command_field in _FROM_SCP else context.scu


def may_perform(context: Context, command_field: int) -> bool:
    """Whether this side may be sent a request of this kind on a context."""
    return context.scu if command_field in _FROM_SCP else context.scp


def refusal(context: Context, request: m.Request) -> tuple[int, str] | None:
    """Status and comment for a request that its presentation context does not carry, or None.

    A composite service names the context's abstract syntax; a normalized one may name a SOP class of the
    meta SOP class negotiated, so that is for its service to judge.
    """
    if not may_perform(context, request.command_field):
        return SOP_CLASS_NOT_SUPPORTED, "role not negotiated for this SOP class"
    if isinstance(request, m.CEchoRQ) and context.abstract_syntax != VERIFICATION:
        return SOP_CLASS_NOT_SUPPORTED, "C-ECHO outside a Verification context"
    composite = isinstance(request, m.CEchoRQ | m.CStoreRQ | m.CFindRQ | m.CGetRQ | m.CMoveRQ)
    if composite and sop_class(request) != context.abstract_syntax:
        return SOP_CLASS_NOT_SUPPORTED, "SOP class is not the context's abstract syntax"
    if isinstance(request, m.CEchoRQ):
        return None
    if context.abstract_syntax == VERIFICATION:
        return UNRECOGNIZED_OPERATION, "operation of another service class"
    if (composite or isinstance(request, m.NSetRQ)) and not request.has_dataset:
        return MISTYPED_ARGUMENT, "request without its data set"
    return None


def response_fault(request_field: int, response: m.Response) -> str | None:
    """What is wrong with a response to a request of this kind, in words, or None."""
    if response.command_field != request_field | 0x8000:
        return f"{type(response).__name__} in answer to another kind of request"
    if categorize(response.status) is Category.PENDING and request_field not in MULTIPLE_RESPONSES:
        return f"{type(response).__name__} with a pending status"
    return None


def cancellable(performed: Mapping[int, tuple[int, int]], context_id: int, cancel: m.CCancelRQ) -> bool:
    """Whether there is something to cancel; PS3.7 has no answer to a late or foreign C-CANCEL.

    performed: context id and command field of each request that is being performed, by message id.
    """
    found = performed.get(cancel.message_id_being_responded_to)
    return found is not None and found[0] == context_id and found[1] in MULTIPLE_RESPONSES


def failed_list(message: m.Message, command: bytearray, transfer_syntax: str) -> bytes | None:
    """The data set of a retrieve's response that was sent inside its command set instead.

    Orthanc puts the list of failed instances (0008,0058) there (PS3.7 6.3.1 has group 0000 alone); of two,
    both count. None unless it is there and no data set follows.
    """
    if message.has_dataset or not isinstance(message, m.CGetRSP | m.CMoveRSP):
        return None
    values = values_of_group(command, FAILED_SOP_INSTANCE_UID_LIST)
    value = b"\\".join(filter(None, (one.strip(b"\0 ") for one in values)))
    value += b"\0" * (len(value) % 2)
    if not values or transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN or len(value) > 0xFFFF:
        return None
    if transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN:
        return struct.pack("<HHL", 0x0008, 0x0058, len(value)) + value
    order = ">" if transfer_syntax == EXPLICIT_VR_BIG_ENDIAN else "<"
    return struct.pack(f"{order}HH2sH", 0x0008, 0x0058, b"UI", len(value)) + value
