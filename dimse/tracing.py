"""One direction of a connection, read by somebody who takes no part in it: PDUs, messages, data sets.

For logs, traces and measures. Nothing is decided here and nothing raised: the session judges what comes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..pdu.errors import AiodicomError, Deviation
from ..pdu.types import PduType
from .messages import Message, decode_message

KEPT_BODY = 64 * 1024
"""Bytes of a PDU other than P-DATA-TF that are kept to be looked at."""
KEPT_COMMAND = 64 * 1024
"""Bytes of a command set that are kept to be decoded."""

_PDU = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
NAMES: dict[int, str] = {
    PduType.A_ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    PduType.A_ASSOCIATE_AC: "A-ASSOCIATE-AC",
    PduType.A_ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    PduType.P_DATA_TF: "P-DATA-TF",
    PduType.A_RELEASE_RQ: "A-RELEASE-RQ",
    PduType.A_RELEASE_RP: "A-RELEASE-RP",
    PduType.A_ABORT: "A-ABORT",
}


@dataclass(frozen=True, slots=True)
class Pdu:
    """A PDU: of a P-DATA-TF its header has come, of another all. `length` is that of its header (9.3.1).

    `body` is what follows the header, None for a P-DATA-TF or where it is longer than `KEPT_BODY`.
    """

    kind: int
    length: int
    body: bytes | None

    @property
    def name(self) -> str:
        """As PS3.8 calls it."""
        return NAMES.get(self.kind) or f"PDU of type {self.kind:02X}H"


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command set; `message` is None where it could not be decoded, and `problem` says why."""

    context_id: int
    message: Message | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Dataset:
    """The end of a data set of `length` bytes."""

    context_id: int
    length: int


@dataclass(frozen=True, slots=True)
class Lost:
    """From here on the bytes make no PDUs; nothing follows."""

    problem: str


Seen = Pdu | Command | Dataset | Lost


class Stream:
    """Reads what one side sends; `feed` takes it in pieces of any size."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._pdu: tuple[int, int] | None = None  # kind and length of the PDU whose body arrives
        self._body: bytearray | None = None
        self._left = 0  # bytes of the PDU still to come
        self._value_left: int | None = None  # bytes of the PDV still to come
        self._control = (0, 0)  # context id and message control header of that PDV
        self._command = bytearray()
        self._command_length = 0
        self._dataset_length = 0
        self._lost = False

    def feed(self, data: memoryview) -> list[Seen]:
        """What these bytes made whole, in order. The view is not kept."""
        found: list[Seen] = []
        at, end = 0, len(data)
        while at < end and not self._lost:
            if self._value_left is not None:
                at += self._value(data[at : at + self._value_left], found)
            elif self._pdu is not None and self._pdu[0] != PduType.P_DATA_TF:
                at += self._other(data[at : at + self._left], found)
            else:
                part = data[at : at + 6 - len(self._head)]
                self._head += part
                at += len(part)
                if len(self._head) == 6:
                    head = bytes(self._head)
                    self._head.clear()
                    if self._pdu is None:
                        self._begin(head, found)
                    else:
                        self._begin_value(head, found)
        return found

    def _begin(self, head: bytes, found: list[Seen]) -> None:
        kind, length = _PDU.unpack(head)
        self._left = length
        if kind == PduType.P_DATA_TF:
            found.append(Pdu(kind, length, None))
            self._pdu = (kind, length) if length else None
            self._room(found)
            return
        self._pdu = (kind, length)
        self._body = bytearray() if length <= KEPT_BODY else None
        if not length:
            self._end_other(found)

    def _room(self, found: list[Seen]) -> None:
        """Between two PDVs: the PDU ends, or has room for another header."""
        if not self._left:
            self._pdu = None
        elif self._left < _PDV.size:
            self._lose(f"a P-DATA-TF ends inside the header of a PDV, {self._left} bytes of it", found)

    def _begin_value(self, head: bytes, found: list[Seen]) -> None:
        length, context_id, control = _PDV.unpack(head)
        if not 2 <= length <= self._left - 4:
            self._lose(f"a PDV of {length} bytes where {self._left - 4} are left", found)
            return
        self._left -= _PDV.size
        self._control = (context_id, control)
        self._value_left = length - 2
        if not self._value_left:
            self._end_value(found)

    def _value(self, part: memoryview, found: list[Seen]) -> int:
        taken = len(part)
        if self._control[1] & 1:
            self._command_length += taken
            if self._command_length <= KEPT_COMMAND:
                self._command += part
        else:
            self._dataset_length += taken
        self._left -= taken
        self._value_left = (self._value_left or 0) - taken
        if not self._value_left:
            self._end_value(found)
        return taken

    def _end_value(self, found: list[Seen]) -> None:
        self._value_left = None
        context_id, control = self._control
        if control & 3 == 3:
            found.append(self._decoded(context_id))
            self._command.clear()
            self._command_length = 0
        elif control & 3 == 2:
            found.append(Dataset(context_id, self._dataset_length))
            self._dataset_length = 0
        self._room(found)

    def _decoded(self, context_id: int) -> Command:
        if self._command_length > KEPT_COMMAND:
            return Command(context_id, None, f"a command set of {self._command_length} bytes")
        noted: list[Deviation] = []
        try:
            return Command(context_id, decode_message(self._command, noted), None)
        except AiodicomError as error:
            # the words of an error may quote a value; its kind does not
            return Command(context_id, None, f"a command set that cannot be read ({type(error).__name__})")

    def _other(self, part: memoryview, found: list[Seen]) -> int:
        if self._body is not None:
            self._body += part
        self._left -= len(part)
        if not self._left:
            self._end_other(found)
        return len(part)

    def _end_other(self, found: list[Seen]) -> None:
        assert self._pdu is not None
        body = None if self._body is None else bytes(self._body)
        found.append(Pdu(*self._pdu, body))
        self._pdu = self._body = None

    def _lose(self, problem: str, found: list[Seen]) -> None:
        self._lost = True
        found.append(Lost(problem))
