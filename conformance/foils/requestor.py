"""A client of a hundred lines that keeps every clause but the one its knob names: one C-ECHO, or some."""

from __future__ import annotations

import asyncio

from .. import wire
from ..dissect import Context, Pdu, command_set, dissect, us
from . import knobs
from .machine import FIXED_LENGTHS, InvalidError, Machine

PLAIN_ECHO = wire.command(wire.echo_fields(1))


class CrashError(RuntimeError):
    """The foil died of what it was sent."""


class Requestor(Machine):
    """One connection of a foil client; `over` is done when it has ended."""

    start = "Sta5"

    def __init__(self, knob: str, over: asyncio.Future[None]) -> None:
        super().__init__(knob)
        self._over = over
        self._echo: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        contexts = (wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),)
        self.send(wire.Associate(contexts=contexts).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        if not self._over.done():
            self._over.set_result(None)

    def pdu(self, raw: bytes) -> None:
        """A whole PDU came."""
        if self._dies(dissect(raw)):
            self._die()
            return
        super().pdu(raw)

    def _die(self) -> None:
        self.state = "closed"
        if not self._over.done():
            self._over.set_exception(CrashError())
        if self._out is not None:
            self._out.abort()

    def _dies(self, found: Pdu) -> bool:
        if not self.knob.startswith("crash-"):
            return False
        wanted = FIXED_LENGTHS.get(found.kind)
        if self.has("crash-on-answer") and found.kind == 2:
            plain = wire.context_ac(1)
            bodies = [part.body for part in found.items if part.kind == 0x50]
            context = [found.raw[p.offset : p.offset + 4 + p.length] for p in found.items]
            kinds = [part.kind for part in found.items]
            odd = bodies != [b"".join(knobs.USER)] or plain not in context or kinds != [0x10, 0x21, 0x50]
            odd = odd or wire.item(0x10, wire.text(wire.APPLICATION)) not in context
            return odd or self.malformed(found)
        if self.has("crash-on-lie"):
            return self.malformed(found) or (wanted is not None and len(found.raw) != 6 + wanted)
        if self.has("crash-on-rejection"):
            return found.kind == 3 and found.raw[6:] not in knobs.KNOWN_REJECTIONS
        if found.kind != 4:
            return False
        if self.has("crash-on-second"):
            return self.state == "Sta7"
        if self.has("crash-on-fragment"):
            return len(found.values) != 1 or found.values[0].control != 3
        plain = wire.response(command_set(wire.command(wire.echo_fields(1))))
        return self.has("crash-on-command") and any(value.data != plain for value in found.values)

    def _hopeless(self, head: bytes) -> bool:
        hopeless = super()._hopeless(head)
        if hopeless and self.has("crash-on-lie"):
            self._die()
        return hopeless

    def eof_received(self) -> bool:
        """Called by the event loop."""
        if self._buffer and self.has("crash-on-lie"):
            self._die()
            return False
        return super().eof_received()

    def role_act(self, cell: str, found: Pdu) -> None:
        """The actions of a requestor."""
        if cell == "AE-3":
            self._accepted(found)
        elif cell == "AE-4":
            if self.has("ignores-rejection"):
                self._ask()
            else:
                self.close()
        elif cell == "AR-2":
            if self.has("picky-reserved-closes") and any(found.raw[6:]):
                self.close()
                return
            self.send(wire.release_rp())
            self.state = "Sta13"
        elif cell == "AR-3":
            if self.has("picky-reserved") and any(found.raw[6:]):
                self.abort(2, 6)
            elif not self.has("keeps-open"):
                self.close()
        elif cell == "AR-8":
            self.send(wire.release_rp())
            self.state = "Sta11"
        elif cell not in ("AA-6", "."):
            self.abort(2, 2)

    def _accepted(self, found: Pdu) -> None:
        if self._picks(found):
            self.abort(0, 0)
            return
        self.maximum = found.max_pdu or 0
        self.state = "Sta6"
        usable = [part for part in found.contexts if part.number == 1 and self._usable(part)]
        if self.has("uses-nothing"):
            self._release()
        elif usable or self.has("uses-refused"):
            self.contexts[1] = wire.VERIFICATION
            self._ask()
        elif self.has("leaves-without-release"):
            self.close()
        else:
            self._release()

    def _picks(self, found: Pdu) -> bool:
        """Whether the knob has it refuse an acceptance that is right."""
        own = {
            "picky-user": lambda: [sub.kind for sub in found.user][:3] != [0x51, 0x52, 0x55],
            "picky-titles": lambda: found.raw[26:42] != wire.title("AIODICOM-KIT"),
            "picky-called": lambda: found.raw[10:26] != wire.title("ANY-SCP"),
            "picky-43": lambda: any(found.raw[42:74]),
            "picky-names": lambda: not knobs.plain_user(found),
        }
        if self.knob in own:
            return own[self.knob]()
        return self.knob in knobs.PICKY and knobs.PICKY[self.knob](_plainly(found))

    def _usable(self, part: Context) -> bool:
        known = [sub.uid for sub in part.syntaxes] == [wire.IMPLICIT]
        return part.result == 0 and (known or self.has("uses-any-syntax"))

    def _ask(self) -> None:
        self._echo += 1
        fields = wire.echo_fields(self._echo)
        self.say(1, knobs.echo_request(self.knob, fields))

    def _release(self) -> None:
        if self.has("leaves-without-release"):
            self.close()
            return
        self.send(wire.release_rq(reserved=0x55 if self.has("rq-reserved") else 0))
        self.state = "Sta7"

    def data(self, found: Pdu) -> None:
        """A P-DATA-TF; in Sta7 it changes nothing."""
        if self.has("picky-reserved") and found.raw[1]:
            self.abort(2, 6)
        elif self.state == "Sta6":
            super().data(found)

    def message(self, fields: dict[int, bytes]) -> None:
        """A whole response."""
        known = {0, 2, 0x0100, 0x0110, 0x0120, 0x0800, 0x0900}
        if us(fields, 0x0100) != 0x8030 or us(fields, 0x0120) != self._echo:
            raise InvalidError
        if self.has("picky-elements") and (not set(fields) <= known or 2 not in fields):
            self.close()
            return
        if self.has("stuck-on-status") and us(fields, 0x0900) != 0:
            self.close()
            return
        self._release()


def _plainly(found: Pdu) -> Pdu:
    """The acceptance as the checks of requests read it: what the request said is no reserved field."""
    fields = tuple(part for part in found.fields if part.offset != 42)
    return Pdu(found.raw, fields, found.items, found.values, found.notes)


async def request(host: str, port: int, knob: str = "") -> None:
    """Call a server once, release, and wait for the end. Raises OSError or CrashError."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Requestor(knob, over), host, port)
    try:
        await over
    finally:
        transport.close()
