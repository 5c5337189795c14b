"""The system under test: its address, what it claims, what is allowed, and the connections of one case."""

from __future__ import annotations

import asyncio
import ipaddress
import shlex
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import wire
from .case import Effect, NotApplicableError
from .claims import check_claims
from .dissect import Gathering, Pdu, command_set, dissect, outcome, us
from .link import Link, Trace, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of the peer beforehand; as TOML in section 9 of the kit's documentation."""

    name: str = ""
    version: str = ""
    host: str = "127.0.0.1"
    port: int = 104
    called_ae: str = "ANY-SCP"
    calling_ae: str = "AIODICOM-KIT"
    test_system: bool = False
    abstract: str = ""
    """Of a client: the abstract syntax whose associations are judged; the first whatever it is when empty."""
    claims: Mapping[str, object] = field(default_factory=dict)
    artim: float | None = None
    allow: frozenset[Effect] = frozenset({Effect.NONE, Effect.READ})
    tls: ssl.SSLContext | None = None

    @property
    def loopback(self) -> bool:
        """Whether the peer is this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def words(self) -> str:
        """What the command line needs to reach the peer again, beside host and port; of TLS that it is."""
        title = "" if self.called_ae == "ANY-SCP" else f" --called-ae {shlex.quote(self.called_ae)}"
        return title + " --test-system" * self.test_system + " --tls" * (self.tls is not None)

    def permits(self, effect: Effect) -> bool:
        """Whether a case of this effect may run.

        On a machine that is not ours only what has no effect, unless it is declared a test system.
        """
        if effect is Effect.NONE:
            return True
        return (self.loopback or self.test_system) and effect in self.allow


_SUT = {
    **dict.fromkeys(("name", "version", "host", "called_ae", "calling_ae", "abstract"), str),
    "port": int,
    "test_system": bool,
}
"""What [sut] of a profile holds."""


def load_profile(path: Path) -> Profile:
    """A profile from its TOML file. Raises OSError, or ValueError for what is not understood."""
    text = path.read_text(encoding="utf-8")
    try:
        return _profile(tomllib.loads(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _profile(data: dict[str, Any]) -> Profile:
    tables: dict[str, dict[str, Any]] = {}
    for name in ("sut", "allow", "timers", "claims"):
        tables[name] = data.get(name, {})
        if not isinstance(tables[name], dict):
            raise ValueError(f"[{name}] is a table, not {data[name]!r}")
    for key, value in tables["sut"].items():
        if key not in _SUT:
            raise ValueError(f"unknown in [sut]: {key}")
        if type(value) is not _SUT[key]:
            raise ValueError(f"[sut] {key} cannot be {value!r}")
    allowed = {Effect.NONE, Effect.READ}
    for name, on in tables["allow"].items():
        if type(on) is not bool:
            raise ValueError(f"[allow] {name} is true or false, not {on!r}")
        allowed |= {Effect(name)} if on else set()
    artim = tables["timers"].get("artim")
    if artim is not None and (isinstance(artim, bool) or not isinstance(artim, int | float)):
        raise ValueError(f"[timers] artim is a number of seconds, not {artim!r}")
    check_claims(tables["claims"])
    return Profile(**tables["sut"], claims=tables["claims"], artim=artim, allow=frozenset(allowed))


@dataclass(slots=True)
class Sut:
    """A server under test for the length of one case."""

    profile: Profile
    patience: float = 10.0
    trace: Trace = field(default_factory=Trace)
    links: list[Link] = field(default_factory=list)
    find_accepted: bool = False

    async def connect(self) -> Link:
        """A connection with nothing said on it."""
        link = await connect(
            self.profile.host, self.profile.port, self.trace, self.patience, self.profile.tls
        )
        self.links.append(link)
        return link

    def request(self, **changes: object) -> wire.Associate:
        """The plainest A-ASSOCIATE-RQ: Verification on context 1 in Implicit VR Little Endian."""
        plain = wire.Associate(
            called=self.profile.called_ae,
            calling=self.profile.calling_ae,
            contexts=(wire.context_rq(1, wire.VERIFICATION, wire.IMPLICIT),),
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    async def ask(self, request: wire.Associate | bytes) -> tuple[Link, str, Pdu | None]:
        """Send a request on a new connection: the link, the answer's name, the answer."""
        link = await self.connect()
        await link.send(request if isinstance(request, bytes) else request.encode())
        raw = await link.pdu()
        if raw is None:
            return link, link.ending or "silence", None
        found = dissect(raw)
        return link, outcome(raw), found

    async def associate(self, **changes: object) -> Link:
        """An association that stands. Raises Unexpected with the outcome when it does not."""
        link, name, answer = await self.ask(self.request(**changes))
        if name != "accepted" or answer is None:
            raise UnexpectedError(name)
        return link

    async def echo(self, link: Link, message_id: int = 1, context: int = 1) -> str:
        """A C-ECHO as a fence: "answered", or what came instead."""
        await link.send(wire.echo_rq(message_id, context=context))
        return await self.answer(link, message_id)

    async def answer(self, link: Link, message_id: int = 1) -> str:
        """The next response: "answered" when it is a success to this message, else what it was."""
        reply = await self.message(link)
        if isinstance(reply, str):
            return reply
        if us(reply, 0x0120) != message_id:
            return f"response-to-{us(reply, 0x0120)}"
        status = us(reply, 0x0900)
        return "answered" if status == 0 else f"status-{status:04x}"

    async def message(self, link: Link) -> dict[int, bytes] | str:
        """The next command set, or the name of what came instead."""
        raw = await self.raw_message(link)
        return raw if isinstance(raw, str) else command_set(raw)

    async def raw_message(self, link: Link) -> bytes | str:
        """The next command set's bytes, or the name of what came instead."""
        gathering = Gathering()
        while True:
            raw = await link.pdu()
            if raw is None:
                return link.ending or "silence"
            if raw[0] != wire.DATA:
                return outcome(raw)
            for found in gathering.whole(dissect(raw)):
                return found

    async def release(self, link: Link) -> str:
        """Release: "released", or what came instead."""
        await link.send(wire.release_rq())
        return await link.seen()

    def need(self, condition: bool, what: str) -> None:
        """Raises NotApplicableError when a case lacks what it needs."""
        if not condition:
            raise NotApplicableError(what)

    async def done(self) -> None:
        """End what is still open, politely and together."""
        await asyncio.gather(*(link.close() for link in self.links))


class UnexpectedError(Exception):
    """Something came that ends the case: its name is the outcome."""
