"""A server of a hundred lines that keeps every clause but the one its knob names."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from .. import wire
from ..dissect import Pdu, Value, dissect, split, us
from . import knobs
from .machine import LONGEST, InvalidError, Machine

SUPPORTED = {
    wire.VERIFICATION: (wire.IMPLICIT, wire.EXPLICIT),
    wire.STUDY_ROOT_FIND: (wire.IMPLICIT, wire.EXPLICIT),
}
RESPONSES = 0x8000


class Responder(Machine):
    """One connection to a foil server."""

    start = "Sta2"

    def __init__(self, server: FoilServer) -> None:
        super().__init__(server.knob)
        self.server = server
        self._echoes: int = 0
        self._ids: set[int] = set()
        self._identifier: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self.server.open.add(self)
        self.server.taken += 1
        if self.has("crash-on-two") and len(self.server.open) > 1:
            self.server.crash()
        self._artim()
        if self.has("one-association-ever") and self.server.taken > 1:
            self.close()

    def _artim(self) -> None:
        """ARTIM of Sta2 and Sta13 (PS3.8 9.1.5), where the server has one."""
        if self.server.artim is not None and not self.has("keeps-open"):
            asyncio.get_running_loop().call_later(self.server.artim, self._expired)

    def _expired(self) -> None:
        if self.state in ("Sta2", "Sta13"):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self.has("crash-on-joined") and self.state == "Sta2" and len(split(data)[0]) > 1:
            self.server.crash()
            return
        super().data_received(data)

    def pdu(self, raw: bytes) -> None:
        """A whole PDU came."""
        if knobs.crashes(self.knob, dissect(raw), self.state):
            self.server.crash()
            return
        super().pdu(raw)

    def malformed(self, found: Pdu) -> bool:
        """Whether a PDU is, where the knob does not say that one crashes on it."""
        wrong = super().malformed(found)
        if wrong and self.has("crash-on-request-lie" if found.kind == 1 else "crash-on-lie"):
            self.server.crash()
        return wrong

    def _hopeless(self, head: bytes) -> bool:
        if self.has("crash-on-lie", "crash-on-request-lie") and int.from_bytes(head[2:6], "big") > LONGEST:
            self.server.crash()
        return super()._hopeless(head)

    def eof_received(self) -> bool:
        """Called by the event loop."""
        if self._buffer and self.has("crash-on-lie", "crash-on-request-lie"):
            self.server.crash()
            return False
        return super().eof_received()

    def role_act(self, cell: str, found: Pdu) -> None:
        """The actions of an acceptor."""
        if cell == "AE-6":
            self._asked(found)
        elif cell == "AR-2":
            self._release(found)
        elif cell != "AA-6":
            self.abort(2, 2)

    def _release(self, found: Pdu) -> None:
        if self.has("never-releases") or (
            self.has("picky-reserved") and any(any(f.raw) for f in found.fields if f.name == "reserved")
        ):
            self.abort(0, 0)
            return
        self.send(wire.release_rp(reserved=0x55 if self.has("rp-reserved") else 0))
        self.state = "Sta13"

    def closing(self, cell: str) -> None:
        """The connection is over."""
        if self.has("abort-ends-all") and cell == "AA-3":
            for other in list(self.server.open):
                other.close()
        super().closing(cell)

    # --- association

    def _asked(self, found: Pdu) -> None:
        verdict = knobs.refusal(self.knob, found)
        if isinstance(verdict, tuple):
            self.send(knobs.rejection(self.knob, *verdict))
            self.state = "Sta13"
            self._artim()
            return
        if verdict == "abort":
            self.abort(2, 6)
            return
        self.maximum = found.max_pdu or 0
        answers = self._answers(found)
        self.send(knobs.acceptance(self.knob, found, answers))
        self.state = "Sta6"

    def _answers(self, found: Pdu) -> list[tuple[int, int, str]]:
        made: list[tuple[int, int, str]] = []
        for part in found.contexts:
            abstract = part.abstracts[0].uid.rstrip("\0") if part.abstracts else ""
            result, syntax = self._answer(abstract, [sub.uid for sub in part.syntaxes])
            if self.has("first-context-decides") and made:
                result = made[0][1]
            if result == 0:
                self.contexts[part.number] = abstract
            made.append((part.number, result, syntax))
        return made[:-1] if self.has("drops-contexts") else made

    def _answer(self, abstract: str, syntaxes: list[str]) -> tuple[int, str]:
        """Result and transfer syntax of a context."""
        if self.has("yes-man"):
            return 0, syntaxes[0] if syntaxes else wire.IMPLICIT
        if self.has("empty-contexts") and not (abstract and syntaxes):
            return 0, wire.IMPLICIT
        if abstract not in SUPPORTED or self.has("refuses-verification"):
            return 3, wire.IMPLICIT
        looked = syntaxes
        if self.has("first-syntax-only"):
            looked = syntaxes[:1]
        elif self.has("last-syntax-only"):
            looked = syntaxes[-1:]
        fitting = [name for name in looked if name in SUPPORTED[abstract]]
        if not fitting:
            return 4, wire.IMPLICIT
        return 0, wire.NO_SYNTAX if self.has("syntax-of-own-choice") else fitting[0]

    # --- messages

    def data(self, found: Pdu) -> None:
        """A P-DATA-TF."""
        if self.has("picky-reserved") and found.raw[1]:
            self.abort(2, 6)
            return
        super().data(found)

    def value(self, value: Value) -> None:
        """One presentation data value."""
        if self.has("any-order") and not value.control & 1 and not self.gathered and self.command is None:
            return
        if not value.control & 1:
            self._identifier += value.data
        super().value(value)

    def message(self, fields: dict[int, bytes]) -> None:
        """A whole request, or a response that nobody asked for."""
        identifier, self._identifier = self._identifier, b""
        if self.has("stuck-on-data") and fields.get(0x0800) != b"\1\1":
            return
        code, number = us(fields, 0x0100), us(fields, 0x0110)
        if code < 0 or code & RESPONSES:
            raise InvalidError
        if code == 0x0FFF:
            if self.has("cancel-answered"):
                self._respond(fields, 0xFE00)
            return
        if knobs.deaf(self.knob, fields, self._ids, self._echoes):
            if not self.has("never-answers"):
                self.close()
            return
        self._ids.add(number)
        self._echoes += 1
        if self.has("answers-strangers") and code == 0x0020:
            self._pend(fields)
        self._respond(fields, self._status(fields, code, identifier))

    def _pend(self, fields: dict[int, bytes]) -> None:
        """A match that nobody asked for."""
        raw = wire.response(fields, status=0xFF00, changes={0x0800: 1})
        self.send(wire.p_data(wire.pdv(self.context, wire.COMMAND | wire.LAST, raw)))
        patient = wire.element(0x0010, b"MARKER^PATIENT", group=0x0010)
        self.send(wire.p_data(wire.pdv(self.context, wire.LAST, patient)))

    def _status(self, fields: dict[int, bytes], code: int, identifier: bytes) -> int:
        if self.has("any-command", "yes-man"):
            return 0
        abstract = self.contexts.get(self.context, wire.VERIFICATION)
        if code == 0x0020 and abstract == wire.STUDY_ROOT_FIND:
            known = any(level in identifier for level in (b"STUDY ", b"SERIES", b"IMAGE "))
            if self.has("find-fails"):
                return 0xC001
            return 0 if known or self.has("any-level") else 0xA900
        if code != 0x0030:
            return 0x0211
        sop_class = fields.get(0x0002, b"")
        if not self.has("padding-compared"):
            sop_class = sop_class.rstrip(b"\0 ")
        if sop_class != wire.VERIFICATION.encode():
            return 0x0118
        return 0x0110 if self.has("echo-fails") else 0

    def _respond(self, fields: dict[int, bytes], status: int) -> None:
        context = 1 if self.has("answers-on-context-1") else self.context
        self.say(context, knobs.response(self.knob, fields, status))


class FoilServer:
    """A foil listening on loopback; `crash` is what a process that dies looks like from outside."""

    def __init__(self, knob: str = "", *, artim: float | None = None) -> None:
        self.knob = knob
        self.artim = artim
        self.port: int = 0
        self.taken: int = 0
        self.open: set[Responder] = set()
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None

    async def __aenter__(self) -> FoilServer:
        await self.listen()
        return self

    async def listen(self, port: int = 0) -> None:
        """Listen, again when it has crashed."""
        self._let_go()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Responder(self), "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self.crash()
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def crash(self) -> None:
        """Stop listening and drop every connection.

        The port stays bound, to nobody: another server that took it would look like this one well again.
        """
        if self._server is not None:
            self._server.close()
            self._server = None
            self._held = held = socket.socket()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # our own connections are still ending
            with contextlib.suppress(OSError):  # somebody was faster
                held.bind(("127.0.0.1", self.port))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        for one in list(self.open):
            if one._out is not None:
                one.state = "closed"
                one._out.abort()
