"""Frames PDUs in place from whatever pieces the network delivers (PS3.8 9.3.1, 9.3.5).

`feed` lends the reader a view; `next` gives one thing after another out of it until it returns None,
"need more". P-DATA is handed on as it arrives: a fragment is a view of what was fed, good until the next
`feed`. Kept between feeds are an incomplete header (at most 6 bytes) and an incomplete control PDU
(at most what the judge let pass, and never more than has really arrived).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable

from .codec import check_pdv, decode
from .errors import AbortReason, Deviation, RemoteProtocolError
from .types import Pdu, PduType

_PDU_HEADER = struct.Struct(">BBL")
_PDV_HEADER = struct.Struct(">LBB")
_EMPTY = memoryview(b"")


class Pause(enum.Enum):
    """A header was read that gave nothing: ask again."""

    PAUSE = enum.auto()


PAUSE = Pause.PAUSE


class Fragment:
    """A piece of a PDV. `last` is set on the final piece of a PDV that ends a command or data set.

    Not frozen, which takes several times as long to be made, once a fragment.
    """

    __slots__ = ("command", "context_id", "data", "last")

    def __init__(self, context_id: int, command: bool, last: bool, data: memoryview) -> None:
        self.context_id: int = context_id
        self.command: bool = command
        self.last: bool = last
        self.data: memoryview[int] = data

    def __repr__(self) -> str:
        kind = "command" if self.command else "data"
        return f"Fragment({self.context_id}, {kind}, last={self.last}, {len(self.data)} bytes)"


class PDUReader:
    """The framing of one connection.

    `judge(pdu_type, length, header)` is called for every PDU header (its six bytes) before a byte is
    stored for its body. It returns True to have the PDU read, False to have it skipped, or raises
    RemoteProtocolError.
    """

    __slots__ = (
        "_body",
        "_command",
        "_context_id",
        "_data",
        "_head",
        "_judge",
        "_last",
        "_noted",
        "_offset",
        "_pdu_left",
        "_pdu_type",
        "_pdv_left",
        "_skip",
        "filled",
        "started",
    )

    def __init__(self, judge: Callable[[int, int, bytes], bool], deviations: list[Deviation]) -> None:
        self._judge = judge
        self._noted = deviations
        self._data = _EMPTY
        self._offset = 0
        self._head = bytearray()
        self._body: bytearray | None = None  # a control PDU being gathered
        self._pdu_type = 0
        self._pdu_left = 0  # bytes of the PDU that have not been consumed
        self._pdv_left = -1  # bytes of the PDV likewise; -1: between PDVs
        self._skip = False
        self._context_id = 0
        self._command = False
        self._last = False
        self.started: int = 0  # PDU headers seen
        self.filled: int = 0  # of those and of PDVs, the ones that hold something

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun that has not ended."""
        return self._pdu_left > 0 or len(self._head) > 0 or self._pdv_left >= 0

    @property
    def mid_content(self) -> bool:
        """Whether the next byte belongs to what a PDU carries, and not to a header."""
        return self._pdv_left > 0 or self._body is not None or self._skip

    def keep(self) -> None:
        """What is left of the lent view will be asked for later: keep a copy, the view goes back."""
        self._data = memoryview(bytes(self._data[self._offset :]))
        self._offset = 0

    def feed(self, data: memoryview) -> None:
        """Lend the next bytes. `next` must have returned None before."""
        self._data = data
        self._offset = 0

    def next(self) -> Pdu | Fragment | None:
        """The next control PDU or data fragment, or None when more bytes are needed."""
        while (item := self.step()) is PAUSE:
            pass
        return item

    def step(self) -> Pdu | Fragment | Pause | None:
        """As `next`, but no further than one PDU or PDV of which nothing is handed on: PAUSE then."""
        while True:
            if self._pdv_left > 0 or (self._pdv_left == 0 and self._last):
                return self._take_fragment()
            if self._pdv_left == 0:  # an empty PDV that ends nothing
                self._pdv_left = -1
                return PAUSE
            if self._pdu_left == 0 and self._body is None:
                if not self._begin_pdu():
                    return None
                if self._pdu_left == 0 and self._body is None:
                    return PAUSE
            elif self._skip:
                return PAUSE if self._skip_body() else None
            elif self._body is not None:
                return self._gather(self._body)
            elif not self._begin_pdv():
                return None

    def _header(self) -> bytes | memoryview | None:
        """Six bytes of header, from the view itself where they stand whole in it."""
        data, offset, head = self._data, self._offset, self._head
        if not head and len(data) - offset >= 6:
            self._offset = offset + 6
            return data[offset : offset + 6]
        missing = 6 - len(head)
        head += data[offset : offset + missing]
        self._offset = min(offset + missing, len(data))
        if len(head) < 6:
            self._drop()
            return None
        whole = bytes(head)
        head.clear()
        return whole

    def _drop(self) -> None:
        self._data = _EMPTY
        self._offset = 0

    def _begin_pdu(self) -> bool:
        header = self._header()
        if header is None:
            return False
        pdu_type, reserved, length = _PDU_HEADER.unpack(header)
        self.started += 1
        if reserved:
            self._noted.append(Deviation("PS3.8 9.3.1", f"PDU header with reserved byte {reserved:02X}H"))
        wanted = self._judge(pdu_type, length, bytes(header))
        self._pdu_type = pdu_type
        self._pdu_left = length
        self._skip = not wanted
        if pdu_type != PduType.P_DATA_TF:
            self.filled += 1
            if wanted:
                self._body = bytearray()
        return True

    def _skip_body(self) -> bool:
        step = min(self._pdu_left, len(self._data) - self._offset)
        self._offset += step
        self._pdu_left -= step
        if self._pdu_left:
            self._drop()
            return False
        self._skip = False
        return True

    def _gather(self, body: bytearray) -> Pdu | None:
        step = min(self._pdu_left, len(self._data) - self._offset)
        if step == self._pdu_left and not body:  # whole in the view: decode without a copy
            pdu = self._decode(self._data[self._offset : self._offset + step])
            self._offset += step
            self._pdu_left = 0
            self._body = None
            return pdu
        body += self._data[self._offset : self._offset + step]
        self._offset += step
        self._pdu_left -= step
        if self._pdu_left:
            self._drop()
            return None
        self._body = None
        return self._decode(memoryview(body))

    def _decode(self, body: memoryview) -> Pdu:
        return decode(self._pdu_type, body, self._noted)

    def _begin_pdv(self) -> bool:
        if len(self._head) == 0 and self._pdu_left < 6:
            raise RemoteProtocolError(
                f"{self._pdu_left} bytes are left in a P-DATA-TF, too few for a PDV",
                reason=AbortReason.INVALID_PARAMETER,
            )
        header = self._header()
        if header is None:
            return False
        length, context_id, control = _PDV_HEADER.unpack(header)
        check_pdv(length, self._pdu_left - 4, control, self._noted)
        if length & 1:
            self._noted.append(Deviation("PS3.8 9.3.5.1", "PDV of odd length"))
        self._pdu_left -= 6
        self._pdv_left = length - 2
        self.filled += length > 2
        self._context_id = context_id
        self._command = bool(control & 1)
        self._last = bool(control & 2)
        return True

    def _take_fragment(self) -> Fragment | None:
        offset = self._offset
        step = min(self._pdv_left, len(self._data) - offset)
        if step == 0 and self._pdv_left:
            self._drop()
            return None
        data = self._data[offset : offset + step]
        self._offset = offset + step
        self._pdu_left -= step
        self._pdv_left -= step
        if self._pdv_left:
            return Fragment(self._context_id, self._command, False, data)
        self._pdv_left = -1
        return Fragment(self._context_id, self._command, self._last, data)


def guess_protocol(first: bytes) -> str | None:
    """What a peer speaks whose first bytes are no PDU, in words, or None."""
    if first[:1] in (b"\x16", b"\x15") and first[1:2] == b"\x03":
        return "TLS"
    for prefix, name in (
        (b"SSH-", "SSH"),
        (b"HTTP", "HTTP"),
        (b"GET ", "HTTP"),
        (b"POST", "HTTP"),
        (b"HEAD", "HTTP"),
        (b"OPTI", "HTTP"),
        (b"PUT ", "HTTP"),
        (b"PRI ", "HTTP/2"),
        (b"220 ", "SMTP or FTP"),
        (b"\x0bMSH", "HL7"),
    ):
        if first.startswith(prefix):
            return name
    return None
