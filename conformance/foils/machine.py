"""What both foils share: bytes to events, events to the actions of Table 9-10, command sets put together.

A knob is a name. `cell:Sta6:Evt19` changes that cell; the others are asked for where they matter.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from .. import wire
from ..dissect import Pdu, Value, command_elements, command_set, dissect, items, split
from ..table910 import action

EVENTS = {1: "Evt6", 2: "Evt3", 3: "Evt4", 4: "Evt10", 5: "Evt12", 6: "Evt13", 7: "Evt16"}
LONGEST = 1 << 20
"""Bytes of a PDU, but P-DATA, that are waited for."""
FIXED_LENGTHS = {3: 4, 5: 4, 6: 4, 7: 4}


class InvalidError(Exception):
    """What came is no message: the association is to be aborted."""


class Machine(asyncio.Protocol, ABC):
    """One connection of a foil: subclasses say what an indication leads to."""

    start = "Sta2"

    def __init__(self, knob: str = "") -> None:
        self.knob = knob
        self.state: str = self.start
        self.gathered: bytes = b""
        self.command: dict[int, bytes] | None = None
        self.context: int = 0
        self.contexts: dict[int, str] = {}
        self.maximum: int = 0
        self._buffer = b""
        self._out: asyncio.Transport | None = None

    def has(self, *names: str) -> bool:
        """Whether the knob is one of these."""
        return self.knob in names

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._out = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._buffer += data
        if self.has("one-read-one-pdu") and len(split(data)[0]) != 1:
            self.close()
            return
        whole, self._buffer = split(self._buffer)
        for raw in whole:
            if self.state == "closed":
                return
            self.pdu(raw)
        if len(self._buffer) >= 6 and self._hopeless(self._buffer):
            self._buffer = b""
            self.event("Evt19", dissect(b""))

    def _hopeless(self, head: bytes) -> bool:
        length = int.from_bytes(head[2:6], "big")
        return head[0] not in EVENTS or length > LONGEST

    def eof_received(self) -> bool:
        """Called by the event loop."""
        self.event("Evt17", dissect(b""))
        return self.state != "closed"

    # --- Table 9-10

    def pdu(self, raw: bytes) -> None:
        """A whole PDU came."""
        found = dissect(raw)
        name = EVENTS.get(found.kind, "Evt19")
        wanted = FIXED_LENGTHS.get(found.kind)
        if (wanted is not None and len(raw) != 6 + wanted) or self.malformed(found):
            name = "Evt19"
        self.event(name, found)

    def malformed(self, found: Pdu) -> bool:
        """Whether the items or values of a PDU do not fill it."""
        if found.kind in (1, 2):
            whole = len(found.raw) >= 74 and all(part.whole for part in (*found.items, *found.user))
            sizes = [
                sum(4 + s.length for s in items(p.body)) == len(p.body) for p in found.items if p.kind == 0x50
            ]
            whole = whole and all(sizes)
            inside = sum(4 + part.length for part in found.items)
            return not whole or 74 + inside != len(found.raw)
        if found.kind == 4:
            inside = sum(4 + value.length for value in found.values)
            return 6 + inside != len(found.raw) or not all(value.whole for value in found.values)
        return False

    def event(self, name: str, found: Pdu) -> None:
        """Do what the cell of Table 9-10 says, or what the knob makes of it."""
        cell = action(name, self.state) if self.state != "closed" else "."
        if self.knob == f"cell:{self.state}:{name}":
            self.wrongly(cell, name)
            return
        self.act(cell, found)

    def wrongly(self, cell: str, name: str) -> None:
        """A changed cell: an A-RELEASE-RP that nobody asked for, or an abort where one was."""
        self.send(wire.reject() if cell in ("AR-2", "AR-8", "AR-3") else wire.release_rp())
        if name in ("Evt16", "Evt17") or self.state == "Sta13":
            self.close()
        else:
            self.state = "Sta13"

    def act(self, cell: str, found: Pdu) -> None:
        """The actions that both roles have alike."""
        if cell in ("AA-1", "AA-7"):
            self.send(wire.abort(0 if cell == "AA-1" else 2, 0))
            self.state = "Sta13"
        elif cell == "AA-8":
            self.abort(2, 2)
        elif cell in ("AA-2", "AA-3", "AA-4", "AA-5", "AR-5"):
            self.closing(cell)
        elif cell in ("DT-2", "AR-6"):
            self.data(found)
        else:
            self.role_act(cell, found)

    @abstractmethod
    def role_act(self, cell: str, found: Pdu) -> None:
        """The actions of a role alone."""

    def closing(self, cell: str) -> None:
        """The connection is over."""
        if self.has("abort-answered") and cell == "AA-3":
            self.send(wire.abort(2, 0))
        if not self.has("keeps-open"):
            self.close()

    # --- doing

    def send(self, data: bytes) -> None:
        """Write."""
        if self._out is not None and not self._out.is_closing():
            self._out.write(data)

    def abort(self, source: int = 2, reason: int = 0) -> None:
        """Send an A-ABORT and wait for the other side's close."""
        if self.has("abort-form"):
            self.send(wire.pdu(7, bytes((9, 9, 7, 77))))
        elif self.has("aborts-by-closing"):
            self.send(wire.release_rp())
        else:
            self.send(wire.abort(source, reason))
        self.state = "Sta13"

    def close(self) -> None:
        """Close the connection; what was sent is delivered."""
        self.state = "closed"
        if self._out is not None:
            self._out.close()

    # --- messages

    def data(self, found: Pdu) -> None:
        """Put a message together from presentation data values (PS3.8 E.1, E.2)."""
        for value in found.values:
            try:
                self.value(value)
            except InvalidError:
                self.abort(2, 6)
            if self.state in ("Sta13", "closed"):
                return

    def value(self, value: Value) -> None:
        """One presentation data value."""
        if self.has("picky-control") and value.control & 0xFC:
            raise InvalidError
        if self.has("whole-messages-only") and not value.control & 2:
            raise InvalidError
        known = value.context in self.contexts
        if self.has("first-context-only"):
            known = value.context == 1
        if not known and not self.has("any-context"):
            raise InvalidError
        fresh = not self.gathered and self.command is None
        if not fresh and value.context != self.context and not self.has("any-context"):
            raise InvalidError
        self.context = value.context
        if bool(value.control & 1) != (self.command is None) and not self.has("any-order"):
            raise InvalidError
        self.gathered += value.data if value.control & 1 or self.has("any-order") else b""
        if not value.control & 2:
            return
        raw, self.gathered = self.gathered, b""
        if self.command is None:
            self.commanded(raw)
        else:
            command, self.command = self.command, None
            self.message(command)

    def commanded(self, raw: bytes) -> None:
        """A command set is whole: a data set follows, or the message is."""
        elements = list(command_elements(raw))
        fields = command_set(raw)
        if any(len(value) != length for *_, length, value in elements) or 0x0100 not in fields:
            raise InvalidError
        flag = fields.get(0x0800, b"\1\1")
        if flag != b"\1\1":
            self.command = fields
        else:
            self.message(fields)

    @abstractmethod
    def message(self, fields: dict[int, bytes]) -> None:
        """A message is whole."""

    def say(self, context: int, raw: bytes) -> None:
        """Send a command set in fragments within the other side's maximum."""
        room = (
            self.maximum - 6
            if self.maximum >= 8 and not self.knob.startswith("maximum-ignored")
            else len(raw)
        )
        room = max(2, room & ~1)
        pieces = [raw[at : at + room] for at in range(0, len(raw), room)]
        for index, piece in enumerate(pieces):
            last = wire.LAST if index == len(pieces) - 1 else 0
            self.send(wire.p_data(wire.pdv(context, wire.COMMAND | last, piece)))
