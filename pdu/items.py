"""The user information item and its sub-items (PS3.8 9.3.2.3, PS3.7 D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import AbortReason, Deviation, LocalProtocolError, RemoteProtocolError
from .limits import RELATED_CLASSES
from .types import (
    AsyncOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
)
from .wire import ItemReader, decode_uid, encode_uid, item

_MAXIMUM_LENGTH = 0x51
_IMPLEMENTATION_CLASS_UID = 0x52
_ASYNC_OPERATIONS = 0x53
_ROLE_SELECTION = 0x54
_IMPLEMENTATION_VERSION_NAME = 0x55
_EXTENDED = 0x56
_COMMON_EXTENDED = 0x57
_USER_IDENTITY_RQ = 0x58
_USER_IDENTITY_AC = 0x59


def _invalid(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, reason=AbortReason.INVALID_PARAMETER)


# --- encoding


def _prefixed(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise LocalProtocolError(f"a sub-item field can hold 65535 bytes, not {len(data)}")
    return struct.pack(">H", len(data)) + data


def _encode_common(value: SOPClassCommonExtendedNegotiation) -> bytes:
    # the version stands where every other item has its reserved byte (PS3.7 Table D.3-12)
    related = b"".join(_prefixed(encode_uid(uid)) for uid in value.related_general_sop_classes)
    body = (
        _prefixed(encode_uid(value.sop_class_uid))
        + _prefixed(encode_uid(value.service_class_uid))
        + _prefixed(related)
    )
    return struct.pack(">BBH", _COMMON_EXTENDED, value.version, len(body)) + body


def _encode_identity(value: UserIdentityRQ) -> bytes:
    head = bytes((value.identity_type, int(value.positive_response_requested)))
    return head + _prefixed(value.primary_field) + _prefixed(value.secondary_field)


def _subitems(info: UserInformation) -> Iterator[bytes]:
    if info.maximum_length is not None:
        yield item(_MAXIMUM_LENGTH, struct.pack(">L", info.maximum_length))
    if info.implementation_class_uid is not None:
        yield item(_IMPLEMENTATION_CLASS_UID, encode_uid(info.implementation_class_uid))
    if info.async_operations is not None:
        window = info.async_operations
        yield item(_ASYNC_OPERATIONS, struct.pack(">HH", window.invoked, window.performed))
    for role in info.roles:
        body = _prefixed(encode_uid(role.sop_class_uid)) + bytes((role.scu_role, role.scp_role))
        yield item(_ROLE_SELECTION, body)
    if info.implementation_version_name is not None:
        yield item(_IMPLEMENTATION_VERSION_NAME, info.implementation_version_name.encode("ascii"))
    for extended in info.extended:
        yield item(_EXTENDED, _prefixed(encode_uid(extended.sop_class_uid)) + extended.information)
    for common in info.common_extended:
        yield _encode_common(common)
    if info.user_identity is not None:
        yield item(_USER_IDENTITY_RQ, _encode_identity(info.user_identity))
    if info.user_identity_response is not None:
        yield item(_USER_IDENTITY_AC, _prefixed(info.user_identity_response.server_response))
    for unknown in info.unknown:
        yield item(unknown.item_type, unknown.data)


def encode_user_information(info: UserInformation) -> bytes:
    """The data of a user information item."""
    return b"".join(_subitems(info))


# --- decoding


class _Fields:
    """Reads the fields of one sub-item; a length beyond it is a RemoteProtocolError."""

    def __init__(self, view: memoryview, what: str) -> None:
        self._view = view
        self._what = what

    def take(self, count: int) -> memoryview:
        if count > len(self._view):
            raise _invalid(f"{self._what}: a field of {count} bytes where {len(self._view)} are left")
        taken, self._view = self._view[:count], self._view[count:]
        return taken

    def u16(self) -> int:
        value: int = struct.unpack(">H", self.take(2))[0]
        return value

    def prefixed(self) -> memoryview:
        return self.take(self.u16())

    def rest(self) -> memoryview:
        return self.take(len(self._view))

    def end(self, noted: list[Deviation]) -> None:
        """Note what is left over: later editions may add fields, this one has none."""
        if self._view:
            message = f"{self._what}: {len(self._view)} bytes after its last field"
            noted.append(Deviation("PS3.7 D.3.3", message))

    def __bool__(self) -> bool:
        return len(self._view) > 0


@dataclass(slots=True)
class _Gathered:
    noted: list[Deviation]
    single: dict[str, object] = field(default_factory=dict)
    roles: list[RoleSelection] = field(default_factory=list)
    role_uids: set[str] = field(default_factory=set)
    extended: list[SOPClassExtendedNegotiation] = field(default_factory=list)
    common: list[SOPClassCommonExtendedNegotiation] = field(default_factory=list)
    unknown: list[UnknownItem] = field(default_factory=list)

    def once(self, name: str, value: object) -> None:
        if name in self.single:
            self.noted.append(Deviation("PS3.7 D.3.3", f"{name} sent twice; the first counts"))
        else:
            self.single[name] = value


def _fixed(view: memoryview, length: int, what: str) -> memoryview:
    if len(view) != length:
        raise _invalid(f"{what} sub-item of {len(view)} bytes where {length} is fixed")
    return view


def _maximum_length(view: memoryview, got: _Gathered) -> None:
    got.once("maximum_length", int.from_bytes(_fixed(view, 4, "maximum length"), "big"))


def _class_uid(view: memoryview, got: _Gathered) -> None:
    got.once("implementation_class_uid", decode_uid(view, "implementation class", got.noted))


def _version_name(view: memoryview, got: _Gathered) -> None:
    text = bytes(view).decode("latin-1").strip(" \0")
    if not 1 <= len(text) <= 16:
        got.noted.append(
            Deviation("PS3.7 D.3.3.2.3", f"implementation version name of {len(text)} characters")
        )
    if not (text.isascii() and text.isprintable()):
        got.noted.append(
            Deviation("PS3.7 D.3.3.2.3", "implementation version name with characters it may not hold")
        )
    got.once("implementation_version_name", text)


def _async_operations(view: memoryview, got: _Gathered) -> None:
    fields = _Fields(_fixed(view, 4, "asynchronous operations window"), "asynchronous operations window")
    got.once("async_operations", AsyncOperationsWindow(fields.u16(), fields.u16()))


def _role(view: memoryview, got: _Gathered) -> None:
    fields = _Fields(view, "role selection")
    uid = decode_uid(fields.prefixed(), "role selection SOP class", got.noted)
    scu, scp = fields.take(1)[0], fields.take(1)[0]
    if scu > 1 or scp > 1:
        got.noted.append(Deviation("PS3.7 D.3.3.4", f"role selection values {scu} and {scp}"))
    fields.end(got.noted)
    if uid in got.role_uids:
        got.noted.append(Deviation("PS3.7 D.3.3.4", "two role selections for one SOP class; the last counts"))
    got.role_uids.add(uid)
    got.roles.append(RoleSelection(uid, bool(scu), bool(scp)))


def _extended(view: memoryview, got: _Gathered) -> None:
    fields = _Fields(view, "extended negotiation")
    uid = decode_uid(fields.prefixed(), "extended negotiation SOP class", got.noted)
    got.extended.append(SOPClassExtendedNegotiation(uid, bytes(fields.rest())))


def _user_identity(view: memoryview, got: _Gathered) -> None:
    fields = _Fields(view, "user identity")
    kind, response = fields.take(1)[0], fields.take(1)[0]
    identity = UserIdentityRQ(kind, bytes(fields.prefixed()), bytes(fields.prefixed()), bool(response))
    fields.end(got.noted)
    if not 1 <= kind <= 5:
        got.noted.append(Deviation("PS3.7 D.3.3.7.1", f"user identity of unknown type {kind}"))
    got.once("user_identity", identity)


def _user_identity_response(view: memoryview, got: _Gathered) -> None:
    fields = _Fields(view, "user identity response")
    got.once("user_identity_response", UserIdentityAC(bytes(fields.prefixed())))
    fields.end(got.noted)


def _common(view: memoryview, version: int, got: _Gathered) -> None:
    fields = _Fields(view, "common extended negotiation")
    sop_class = decode_uid(fields.prefixed(), "common extended SOP class", got.noted)
    service_class = decode_uid(fields.prefixed(), "common extended service class", got.noted)
    inner = _Fields(fields.prefixed(), "related general SOP classes")
    related: list[str] = []
    while inner:
        if len(related) >= RELATED_CLASSES:
            raise _invalid(f"more than {RELATED_CLASSES} related general SOP classes")
        related.append(decode_uid(inner.prefixed(), "related general SOP class", got.noted))
    got.common.append(SOPClassCommonExtendedNegotiation(sop_class, service_class, tuple(related), version))


_SUBITEMS: dict[int, Callable[[memoryview, _Gathered], None]] = {
    _MAXIMUM_LENGTH: _maximum_length,
    _IMPLEMENTATION_CLASS_UID: _class_uid,
    _ASYNC_OPERATIONS: _async_operations,
    _ROLE_SELECTION: _role,
    _IMPLEMENTATION_VERSION_NAME: _version_name,
    _EXTENDED: _extended,
    _USER_IDENTITY_RQ: _user_identity,
    _USER_IDENTITY_AC: _user_identity_response,
}


def decode_user_information(view: memoryview, noted: list[Deviation]) -> UserInformation:
    """The user information in an item's data; unknown sub-items are kept (PS3.7 D.3.3)."""
    got = _Gathered(noted)
    offset = 0
    unknown: set[int] = set()
    for item_type, data in ItemReader(view, "user information", noted, versioned=_COMMON_EXTENDED):
        if item_type == _COMMON_EXTENDED:
            _common(data, view[offset + 1], got)
        elif item_type in _SUBITEMS:
            _SUBITEMS[item_type](data, got)
        else:
            if item_type not in unknown:  # said once: there may be thousands
                text = f"user information with an unknown item {item_type:02X}H"
                noted.append(Deviation("PS3.8 9.3.1", text))
            unknown.add(item_type)
            got.unknown.append(UnknownItem(item_type, bytes(data)))
        offset += 4 + len(data)
    if "maximum_length" not in got.single:
        noted.append(Deviation("PS3.8 D.1", "no maximum length sub-item"))
    if "implementation_class_uid" not in got.single:
        noted.append(Deviation("PS3.7 D.3.3.2", "no implementation class UID sub-item"))
    single = {"maximum_length": None, **got.single}
    return UserInformation(
        **single,  # type: ignore[arg-type]
        roles=tuple(got.roles),
        extended=tuple(got.extended),
        common_extended=tuple(got.common),
        unknown=tuple(got.unknown),
    )
