"""A client under test: the kit listens, a case plays the server, and what the client says is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import wire
from .caller import Call, Caller
from .case import Case
from .dissect import Context, Pdu, command_set, dissect, outcome
from .foils.responder import FoilServer, Responder
from .link import Link, Listener, Trace
from .runner import Options, Run, Runner, Told
from .target import Profile, UnexpectedError

CALLING_TIME = 60.0
"""Seconds a client may take until it connects: an interpreter may have to start."""


@dataclass(slots=True)
class Asked:
    """A request of the client: its command set and the context it came on."""

    fields: dict[int, bytes]
    context: int


@dataclass(slots=True)
class Scu:
    """A client under test for the length of one case."""

    profile: Profile
    listener: Listener
    caller: Caller
    case_id: str
    patience: float = 10.0
    recovery: float = 45.0
    calling_time: float = CALLING_TIME
    trace: Trace = field(default_factory=Trace)
    end: str = ""
    _call: Call | None = None

    async def called(self) -> Link:
        """The client's next connection. Raises UnexpectedError when none comes."""
        if self._call is None:
            self.listener.renew()
            self.trace = self.listener.trace
            self.listener.patience = self.patience
            self.listener.otherwise = None
            words = {"host": self.profile.host, "port": str(self.listener.port), "case": self.case_id}
            self._call = await self.caller.start({"called": self.profile.called_ae, **words})
        link = await self.listener.accept(self.calling_time)
        if link is None:
            raise UnexpectedError("no-call")
        return link

    async def asked(self) -> tuple[Link, Pdu]:
        """The next connection and the A-ASSOCIATE-RQ on it.

        Where the profile names an abstract syntax, associations that do not propose it are served plainly:
        some clients verify first, or ask what is accepted.
        """
        wanted = self.profile.abstract
        while True:
            link = await self.called()
            raw = await link.pdu()
            if raw is None or raw[0] != wire.RQ:
                raise UnexpectedError(f"no-request-{outcome(raw) if raw else link.ending or 'silence'}")
            request = dissect(raw)
            proposed = {sub.uid for part in request.contexts for sub in part.abstracts}
            if not wanted or wanted in proposed:
                return link, request
            await link.send(self.acceptance(request).encode())
            if await self.used(link) in ("used", "release-asked"):
                await link.send(wire.release_rp())
            await link.close(associated=False)

    def acceptance(self, request: Pdu, **changes: object) -> wire.Associate:
        """The plainest A-ASSOCIATE-AC to a request: every context in its first transfer syntax."""
        echoed = {part.offset: part.raw for part in request.fields}
        plain = wire.Associate(
            kind=wire.AC,
            called=echoed[10],
            calling=echoed[26],
            reserved32=echoed[42],
            contexts=answers(request.contexts),
        )
        return plain.but(**changes)

    async def standing(self, **changes: object) -> Link:
        """An association that stands: the client asked, and was answered with some changes."""
        link, request = await self.asked()
        await link.send(self.acceptance(request, **changes).encode())
        return link

    async def request(self, link: Link) -> Asked:
        """The client's next request, its data set read. Raises UnexpectedError for what else comes."""
        data, fields, context = b"", dict[int, bytes](), 0
        while True:
            raw = await link.pdu()
            if raw is None or raw[0] != wire.DATA:
                raise UnexpectedError(outcome(raw) if raw else link.ending or "silence")
            for value in dissect(raw).values:
                if value.control & wire.COMMAND and not fields:
                    data, context = data + value.data, value.context
                    if value.control & wire.LAST:
                        fields = command_set(data)
                        if fields.get(0x0800) == b"\x01\x01":
                            return Asked(fields, context)
                elif value.control & wire.LAST:
                    return Asked(fields, context)

    async def busy(self, **changes: object) -> tuple[Link, Asked]:
        """Sta6 with a request of the client that was not answered."""
        link = await self.standing(**changes)
        return link, await self.request(link)

    async def serve(self, link: Link, asked: Asked, *raw: bytes) -> str:
        """Answer a request, with these bytes or plainly, and whatever follows it: what comes instead."""
        await link.send(*(raw or (answer(asked),)))
        while True:
            try:
                asked = await self.request(link)
            except UnexpectedError as came:
                return str(came)
            await link.send(answer(asked))

    async def used(self, link: Link) -> str:
        """Whether the client uses the association: "used" when it asks, is answered and releases."""
        try:
            asked = await self.request(link)
        except UnexpectedError as came:
            return str(came)
        seen = await self.serve(link, asked)
        return "used" if seen == "release-asked" else f"used-then-{seen}"

    async def releasing(self) -> Link:
        """Sta7: the client's requests were answered and it asked for the release."""
        link, asked = await self.busy()
        if (seen := await self.serve(link, asked)) != "release-asked":
            raise UnexpectedError(f"no-release-{seen}")
        return link

    async def done(self) -> None:
        """End what is open, let the client end, and see how it did."""
        server = FoilServer()
        self.listener.otherwise = lambda: Responder(server)
        links = list(self.listener.links)
        for link in links:
            if dissect_last(link) == wire.RELEASE_RQ and link.ending is None:
                await link.send(wire.release_rp())
        await asyncio.gather(*(link.close() for link in links))
        if self._call is not None:
            self.end = await self._call.ended(self.recovery)
        server.crash()


def dissect_last(link: Link) -> int:
    """The type of the last PDU that came; 0 when none did."""
    return link.came[-1][0] if link.came else 0


def answers(contexts: Iterable[Context], result: int = 0) -> tuple[bytes, ...]:
    """A presentation context item for each proposed, with its first transfer syntax."""
    return tuple(
        wire.context_ac(part.number, result, part.syntaxes[0].body if part.syntaxes else wire.IMPLICIT)
        for part in contexts
    )


def answer(asked: Asked, *, status: int = 0, changes: dict[int, int | str | bytes] | None = None) -> bytes:
    """A response without data set as one P-DATA-TF."""
    raw = wire.response(asked.fields, status=status, changes=changes)
    return wire.p_data(wire.pdv(asked.context, wire.COMMAND | wire.LAST, raw))


class ScuRunner(Runner):
    """One run over a client."""

    role: str = "scu"

    def __init__(
        self, profile: Profile, options: Options, caller: Caller, told: Told | None = None, *, port: int = 0
    ) -> None:
        super().__init__(profile, options, told)
        self.caller = caller
        self.patience: float = 10.0
        self.listener: Listener = Listener(self.patience, profile.tls)
        self._port = port
        self.calling_time: float = CALLING_TIME
        self._last: Scu | None = None

    def sut(self, case: Case | None = None) -> Scu:
        """The client for one case."""
        self._last = Scu(
            self.profile, self.listener, self.caller, case.id if case else "", self.patience,
            self.options.recovery, self.calling_time,
        )  # fmt: skip
        return self._last

    async def calibrate(self) -> bool:
        """Listen."""
        try:
            await self.listener.open(self.profile.host, self._port)
        except OSError as error:
            self.run.unreachable = f"cannot listen on {self.profile.host}:{self._port}: {error}"
            return False
        return True

    async def healthy(self) -> tuple[bool, float, str]:
        """How the client of the last case ended."""
        end = self._last.end if self._last is not None else ""
        return not end, 0.0, end

    async def restart(self) -> bool:
        """The next case makes a new call: one that hung, or died, is no reason to stop."""
        return True

    async def all(self, cases: Iterable[Case]) -> Run:
        """Run the cases."""
        try:
            return await super().all(cases)
        finally:
            await self.listener.close()


async def run_scu(
    profile: Profile,
    caller: Caller,
    cases: Iterable[Case],
    options: Options | None = None,
    told: Told | None = None,
    *,
    port: int = 0,
) -> Run:
    """Run cases against a client that `caller` makes call; the kit listens on `profile.host`."""
    return await ScuRunner(profile, options or Options(), caller, told, port=port).all(cases)
