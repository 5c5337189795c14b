"""PDUs to bytes and back (PS3.8 9.3).

`decode` takes one whole PDU body, checks every inner length against what is left of its container,
and either returns the value or raises `RemoteProtocolError`. What a receiver is told not to test is
not tested; what is wrong but harmless is appended to `deviations`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .errors import AbortReason, Deviation, LocalProtocolError, RemoteProtocolError
from .items import decode_user_information, encode_user_information
from .limits import ASSOCIATE_ITEMS
from .types import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    Pdu,
    PduType,
    PresentationContextAC,
    PresentationContextRQ,
    UnknownItem,
    UserInformation,
)
from .wire import ItemReader, count_items, decode_uid, encode_uid, item, note_reserved

_APPLICATION_CONTEXT = 0x10
_PRESENTATION_CONTEXT_RQ = 0x20
_PRESENTATION_CONTEXT_AC = 0x21
_ABSTRACT_SYNTAX = 0x30
_TRANSFER_SYNTAX = 0x40
_USER_INFORMATION = 0x50

_CONTAINERS = {_PRESENTATION_CONTEXT_RQ: 4, _PRESENTATION_CONTEXT_AC: 4, _USER_INFORMATION: 0}

_ASSOCIATE_HEAD = struct.Struct(">HH16s16s32s")  # PS3.8 9.3.2, bytes 7-74
_HEADER = struct.Struct(">BBL")


def encode(pdu: Pdu) -> bytes:
    """One PDU as bytes, header included.

    Raises LocalProtocolError for a value the wire cannot carry.
    """
    try:
        return _encode(pdu)
    except (struct.error, ValueError) as error:  # a number beyond its field, a character beyond ASCII
        raise LocalProtocolError(f"{type(pdu).__name__} cannot be sent: {error}") from None


def _encode(pdu: Pdu) -> bytes:
    match pdu:
        case AAssociateRQ():
            return _pdu(PduType.A_ASSOCIATE_RQ, _encode_rq(pdu))
        case AAssociateAC():
            return _pdu(PduType.A_ASSOCIATE_AC, _encode_ac(pdu))
        case AAssociateRJ():
            return _pdu(PduType.A_ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        case PDataTF():
            return _pdu(PduType.P_DATA_TF, b"".join(_encode_pdv(pdv) for pdv in pdu.pdvs))
        case AReleaseRQ():
            return _pdu(PduType.A_RELEASE_RQ, bytes(4))
        case AReleaseRP():
            return _pdu(PduType.A_RELEASE_RP, bytes(4))
        case AAbort():
            return _pdu(PduType.A_ABORT, bytes((0, 0, pdu.source, pdu.reason)))


def decode(pdu_type: int, body: bytes | memoryview, deviations: list[Deviation] | None = None) -> Pdu:
    """The PDU of this type whose variable part (everything after byte 6) is `body`.

    Raises RemoteProtocolError with the reason for an A-ABORT.
    """
    noted: list[Deviation] = [] if deviations is None else deviations
    view = memoryview(body)
    if pdu_type == PduType.A_ASSOCIATE_RQ:
        return _decode_rq(view, noted)
    if pdu_type == PduType.A_ASSOCIATE_AC:
        return _decode_ac(view, noted)
    if pdu_type == PduType.P_DATA_TF:
        return PDataTF(tuple(_decode_pdvs(view, noted)))
    try:
        kind = PduType(pdu_type)
    except ValueError:
        raise RemoteProtocolError(
            f"unrecognized PDU type {pdu_type:02X}H", reason=AbortReason.UNRECOGNIZED_PDU
        ) from None
    if len(view) != 4:
        raise _invalid(f"{kind.name} of length {len(view)} where 4 is fixed")
    reserved = {PduType.A_ASSOCIATE_RJ: 1, PduType.A_ABORT: 2}.get(kind, 4)
    if any(view[:reserved]):
        note_reserved(noted, kind.name.replace("_", "-"))
    if kind is PduType.A_ASSOCIATE_RJ:
        return AAssociateRJ(view[1], view[2], view[3])
    if kind is PduType.A_ABORT:
        return AAbort(view[2], view[3])
    return AReleaseRQ() if kind is PduType.A_RELEASE_RQ else AReleaseRP()


def _invalid(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason=AbortReason.INVALID_PARAMETER)


def _pdu(pdu_type: PduType, body: bytes) -> bytes:
    return _HEADER.pack(pdu_type, 0, len(body)) + body


# --- P-DATA-TF (PS3.8 9.3.5)


def _encode_pdv(pdv: PDV) -> bytes:
    control = (1 if pdv.command else 0) | (2 if pdv.last else 0)
    return struct.pack(">LBB", len(pdv.data) + 2, pdv.context_id, control) + pdv.data


def _decode_pdvs(view: memoryview, noted: list[Deviation]) -> Iterator[PDV]:
    offset = 0
    while offset < len(view):
        if len(view) - offset < 6:
            raise _invalid("a PDV header is cut by the end of its PDU")
        length, context_id, control = struct.unpack_from(">LBB", view, offset)
        check_pdv(length, len(view) - offset - 4, control, noted)
        yield PDV(
            context_id, bool(control & 1), bool(control & 2), bytes(view[offset + 6 : offset + 4 + length])
        )
        offset += 4 + length


def check_pdv(length: int, left: int, control: int, noted: list[Deviation]) -> None:
    """Judge a PDV's length against what is `left` of its PDU after the length field (PS3.8 9.3.5.1)."""
    if length < 2:
        raise _invalid(f"a PDV length of {length} leaves no room for its own header")
    if length > left:
        raise _invalid(f"a PDV length of {length} where its PDU has {left} bytes left")
    if control & 0xFC:
        noted.append(Deviation("PS3.8 E.2", f"message control header {control:02X}H has reserved bits set"))


# --- A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8 9.3.2, 9.3.3)


def encode_ae_title(title: str) -> bytes:
    """An AE title as 16 bytes, space padded (PS3.8 9.3.2, PS3.5 6.2).

    Raises LocalProtocolError unless it is 1 to 16 printable characters without a backslash.
    """
    text = title.strip(" ")
    if not 1 <= len(text) <= 16 or any(not " " <= c <= "~" or c == "\\" for c in text):
        raise LocalProtocolError(
            f"{title!r} is no AE title: 1 to 16 characters of ASCII, no backslash, not only spaces"
        )
    return text.encode("ascii").ljust(16)


def decode_ae_title(raw: bytes, which: str, noted: list[Deviation]) -> str:
    """The AE title in 16 bytes; NUL padding and control characters are noted, never an error."""
    if b"\0" in raw:
        noted.append(Deviation("PS3.8 9.3.2", f"{which} AE title padded with NUL"))
        raw = raw.split(b"\0", 1)[0]
    text = raw.decode("latin-1").strip(" ")
    if any(not " " <= c <= "~" or c == "\\" for c in text):
        noted.append(Deviation("PS3.5 6.2", f"{which} AE title holds characters an AE title may not hold"))
    if not text:
        noted.append(Deviation("PS3.8 9.3.2", f"{which} AE title is blank"))
    return text


def _encode_associate(
    pdu: AAssociateRQ | AAssociateAC, contexts: bytes, ae_titles: tuple[bytes, bytes]
) -> bytes:
    if len(pdu.reserved) not in (0, 32):
        raise LocalProtocolError(f"the reserved field has 32 bytes, not {len(pdu.reserved)}")
    return b"".join(
        (
            _ASSOCIATE_HEAD.pack(pdu.protocol_version, 0, *ae_titles, pdu.reserved),
            item(_APPLICATION_CONTEXT, encode_uid(pdu.application_context_name)),
            contexts,
            item(_USER_INFORMATION, encode_user_information(pdu.user_information)),
            *(item(unknown.item_type, unknown.data) for unknown in pdu.unknown_items),
        )
    )


def _encode_rq(pdu: AAssociateRQ) -> bytes:
    contexts = []
    for context in pdu.presentation_contexts:
        if not (0 < context.context_id < 256 and context.context_id % 2):
            raise LocalProtocolError(f"presentation context id {context.context_id} is not odd and 1 to 255")
        subitems = [item(_ABSTRACT_SYNTAX, encode_uid(context.abstract_syntax))]
        subitems += (item(_TRANSFER_SYNTAX, encode_uid(uid)) for uid in context.transfer_syntaxes)
        contexts.append(
            item(_PRESENTATION_CONTEXT_RQ, bytes((context.context_id, 0, 0, 0)) + b"".join(subitems))
        )
    titles = (encode_ae_title(pdu.called_ae), encode_ae_title(pdu.calling_ae))
    return _encode_associate(pdu, b"".join(contexts), titles)


def _encode_ac(pdu: AAssociateAC) -> bytes:
    contexts = b"".join(
        item(
            _PRESENTATION_CONTEXT_AC,
            bytes((context.context_id, 0, context.result, 0))
            + item(_TRANSFER_SYNTAX, encode_uid(context.transfer_syntax)),
        )
        for context in pdu.presentation_contexts
    )
    # PS3.8 9.3.3, bytes 11-42: sent back as received, not tested, so a blank title is no error here
    titles = tuple(t.encode("latin-1", "replace")[:16].ljust(16) for t in (pdu.called_ae, pdu.calling_ae))
    return _encode_associate(pdu, contexts, (titles[0], titles[1]))


class _Associate:
    """What both A-ASSOCIATE PDUs share, read field by field."""

    def __init__(self, view: memoryview, noted: list[Deviation], name: str, context_item: int) -> None:
        if len(view) < _ASSOCIATE_HEAD.size:
            raise _invalid(f"{name} of {len(view)} bytes is shorter than its fixed fields")
        # counted first: 64,000 unknown items of four bytes would hold the loop while they are made
        if count_items(view[_ASSOCIATE_HEAD.size :], _CONTAINERS, ASSOCIATE_ITEMS) > ASSOCIATE_ITEMS:
            raise _invalid(f"{name} with more than {ASSOCIATE_ITEMS} items")
        self.version, reserved, called, calling, more = _ASSOCIATE_HEAD.unpack_from(view)
        self.reserved: bytes = more if any(more) else b""
        if reserved or self.reserved:
            note_reserved(noted, name)
        self.called_ae = called
        self.calling_ae = calling
        self.application_context_name = ""
        self.contexts: list[memoryview] = []
        self.unknown: list[UnknownItem] = []
        user_information: UserInformation | None = None
        unknown: set[int] = set()
        for item_type, data in ItemReader(view[_ASSOCIATE_HEAD.size :], name, noted):
            if item_type == context_item:
                self.contexts.append(data)
            elif item_type == _APPLICATION_CONTEXT:
                if self.application_context_name:
                    raise _invalid(f"{name} with two application context items")
                self.application_context_name = decode_uid(data, "application context name", noted)
            elif item_type == _USER_INFORMATION:
                if user_information is not None:
                    raise _invalid(f"{name} with two user information items")
                user_information = decode_user_information(data, noted)
            else:  # PS3.8 9.3.1: unrecognized items are ignored
                if item_type not in unknown:  # said once: there may be thousands
                    noted.append(Deviation("PS3.8 9.3.1", f"{name} with an unknown item {item_type:02X}H"))
                unknown.add(item_type)
                self.unknown.append(UnknownItem(item_type, bytes(data)))
        if not self.application_context_name:
            noted.append(Deviation("PS3.8 9.3.2", f"{name} without an application context item"))
        if user_information is None:
            noted.append(Deviation("PS3.8 9.3.2", f"{name} without a user information item"))
            user_information = UserInformation(maximum_length=None)
        self.user_information = user_information


def _decode_rq(view: memoryview, noted: list[Deviation]) -> AAssociateRQ:
    read = _Associate(view, noted, "A-ASSOCIATE-RQ", _PRESENTATION_CONTEXT_RQ)
    contexts = tuple(_decode_context_rq(data, noted) for data in read.contexts)
    if not contexts:
        raise _invalid("A-ASSOCIATE-RQ without a presentation context")
    _check_ids([context.context_id for context in contexts])
    if read.user_information.user_identity_response is not None:
        noted.append(Deviation("PS3.7 D.3.3.7.2", "an answer to a user identity in an A-ASSOCIATE-RQ"))
    return AAssociateRQ(
        called_ae=decode_ae_title(read.called_ae, "called", noted),
        calling_ae=decode_ae_title(read.calling_ae, "calling", noted),
        presentation_contexts=contexts,
        user_information=read.user_information,
        application_context_name=read.application_context_name,
        protocol_version=read.version,
        unknown_items=tuple(read.unknown),
        reserved=read.reserved,
    )


def _decode_ac(view: memoryview, noted: list[Deviation]) -> AAssociateAC:
    read = _Associate(view, noted, "A-ASSOCIATE-AC", _PRESENTATION_CONTEXT_AC)
    contexts = tuple(_decode_context_ac(data, noted) for data in read.contexts)
    _check_ids([context.context_id for context in contexts])
    if read.user_information.user_identity is not None:
        noted.append(Deviation("PS3.7 D.3.3.7.1", "a user identity in an A-ASSOCIATE-AC"))
    if read.user_information.common_extended:
        noted.append(Deviation("PS3.7 D.3.3.6", "a common extended negotiation in an A-ASSOCIATE-AC"))
    return AAssociateAC(
        called_ae=read.called_ae.decode("latin-1").strip(" \0"),
        calling_ae=read.calling_ae.decode("latin-1").strip(" \0"),
        presentation_contexts=contexts,
        user_information=read.user_information,
        application_context_name=read.application_context_name,
        protocol_version=read.version,
        unknown_items=tuple(read.unknown),
        reserved=read.reserved,
    )


def _check_ids(ids: list[int]) -> None:
    """PS3.8 9.3.2.2: odd, 1 to 255, unique. No answer to a context could be told from another's."""
    for context_id in ids:
        if context_id % 2 == 0:
            raise _invalid(f"presentation context id {context_id} is not odd")
    if len(set(ids)) != len(ids):
        raise _invalid("two presentation contexts with one id")


def _decode_context_rq(data: memoryview, noted: list[Deviation]) -> PresentationContextRQ:
    if len(data) < 4:
        raise _invalid("a presentation context item shorter than its fixed fields")
    if any(data[1:4]):
        note_reserved(noted, "a proposed presentation context")
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for item_type, value in ItemReader(data[4:], "presentation context", noted):
        if item_type == _ABSTRACT_SYNTAX:
            if abstract_syntax:
                raise _invalid(f"presentation context {data[0]} with two abstract syntaxes")
            abstract_syntax = decode_uid(value, "abstract syntax", noted)
        elif item_type == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(decode_uid(value, "transfer syntax", noted))
        else:
            _note_subitem(item_type, noted)
    if not abstract_syntax:
        raise _invalid(f"presentation context {data[0]} without an abstract syntax")
    if not transfer_syntaxes:  # answerable: the context is refused (Table 9-18, result 4)
        noted.append(Deviation("PS3.8 9.3.2.2", f"presentation context {data[0]} without a transfer syntax"))
    return PresentationContextRQ(data[0], abstract_syntax, tuple(transfer_syntaxes))


def _note_subitem(item_type: int, noted: list[Deviation]) -> None:
    noted.append(Deviation("PS3.8 9.3.1", f"presentation context with an unknown item {item_type:02X}H"))


def _decode_context_ac(data: memoryview, noted: list[Deviation]) -> PresentationContextAC:
    if len(data) < 4:
        raise _invalid("a presentation context item shorter than its fixed fields")
    context_id, result = data[0], data[2]
    if data[1] or data[3]:
        note_reserved(noted, "an answered presentation context")
    uids = []
    for item_type, value in ItemReader(data[4:], "presentation context", noted):
        if item_type == _TRANSFER_SYNTAX and (result == 0 or value):
            uids.append(decode_uid(value, "transfer syntax", noted))
        elif item_type != _TRANSFER_SYNTAX:
            _note_subitem(item_type, noted)
    if result == 0 and len(uids) != 1:
        raise _invalid(
            f"accepted presentation context {context_id} with {len(uids)} transfer syntaxes, not one"
        )
    if result > 4:
        noted.append(Deviation("PS3.8 9.3.3.2", f"presentation context {context_id} with result {result}"))
    return PresentationContextAC(context_id, result, uids[0] if uids else "")
