"""Finding out why a peer cannot be used: every step from the host's name to a released association, in words.

A diagnosis never raises for what the peer does. Where a step fails it looks further for the likely cause: a
plain client on a TLS port tries a handshake, a TLS client on a plain port an association, a refused
association one with verification alone.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from ..association.answers import words_of
from ..association.association import Association
from ..association.connect import Peer, associate
from ..association.dialing import check_port, os_words
from ..association.endings import rejection_advice
from ..association.errors import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    Cause,
    ConnectFailed,
    ConnectionRefused,
    ConnectTimeout,
    ContextNotAccepted,
    HostUnknown,
    NotDicomPeer,
    OperationFailed,
    TLSFailed,
)
from ..association.tasks import on_thread
from ..association.tls import describe_tls_error
from ..dimse import messages as m
from ..dimse.contexts import VERIFICATION, Proposal, outcomes
from ..dimse.levels import Root, find_model, get_model, move_model
from ..dimse.sop_classes import storage_sop_classes
from ..dimse.status import Status
from ..dimse.uid_names import UID_NAMES, uid_name
from ..pdu.errors import AiodicomError, describe_rejection
from . import advice as advice_of
from .diagnosis import ContextAnswer, Diagnosis, Outcome, Step
from .negotiated import describe as describe_connection
from .negotiated import sop_class_name
from .results import ConnectionInfo
from .speaking import handshake, speaks_http, speaks_plain_dicom, speaks_tls

_WORKLIST = "1.2.840.10008.5.1.4.31"
_STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
PRIVATE_CLASS = "2.25.278109150691651220334750209191273561787"
"""A SOP class that nobody knows: who accepts it accepts private ones."""
PROBE = 2.0
"""Seconds that a look for the cause of a silence may take, all of it at once."""
_EVERYDAY = 16
"""How many of the storage SOP classes, the everyday ones first, are proposed."""


async def diagnose(peer: Peer, *, needed: Iterable[str] = ()) -> Diagnosis:
    """Walk name, TCP, TLS, association, contexts, echo and release.

    `needed` are SOP classes whose refusal is a failure; verification always is one. Raises ValueError for a
    number that is no port.

    >>> (await aiodicom.diagnose(aiodicom.Peer(host=HOST, port=PORT))).ok
    True
    """
    check_port(peer.port)
    walk = _Walk(peer, tuple(needed))
    try:
        await walk.run()
    except AiodicomError as error:  # a step has told it already
        walk.error = error
    finally:
        await walk.close()
    return Diagnosis(peer.host, peer.port, tuple(walk.steps), tuple(walk.contexts), walk.info, walk.error)


async def _soon(probe: Awaitable[bool]) -> bool:
    """What a probe says within `PROBE` seconds, else no."""
    try:
        async with asyncio.timeout(PROBE):
            return await probe
    except TimeoutError:
        return False


class _Walk:
    """One diagnosis under way: a step adds what it found, and raises when the next make no sense."""

    def __init__(self, peer: Peer, needed: tuple[str, ...]) -> None:
        self.peer = peer
        self.needed = (VERIFICATION, *needed)
        self.steps: list[Step] = []
        self.contexts: list[ContextAnswer] = []
        self.info: ConnectionInfo | None = None
        self.error: AiodicomError | None = None
        self._association: Association | None = None
        self._started = time.perf_counter()

    async def run(self) -> None:
        addresses = await self._name()
        await self._tcp(addresses)
        await self._tls()
        await self._associate()
        self._judge_contexts()
        await self._echo()
        await self._release()

    async def close(self) -> None:
        """Leave nothing open, however the walk ended."""
        if self._association is not None:
            await self._association.abort()

    def _add(
        self, name: str, outcome: Outcome, text: str, advice: str = "", cause: Cause | None = None
    ) -> None:
        now = time.perf_counter()
        self.steps.append(Step(name, outcome, text, advice, now - self._started, cause))
        self._started = now

    def _fail(
        self, name: str, error: AiodicomError, text: str, advice: str, cause: Cause | None = None
    ) -> AiodicomError:
        self._add(name, Outcome.FAILED, text, advice, cause)
        return error.at(self.peer.name)

    # --- the connection

    async def _name(self) -> list[tuple[int, tuple[object, ...]]]:
        """The host's addresses, as (family, socket address)."""
        host, limit = self.peer.host, self.peer.timeouts.connect
        try:
            async with asyncio.timeout(limit):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, self.peer.port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            text = f"the name service did not answer within {limit} s"
            error = ConnectTimeout(text, limit="connect", seconds=limit)
            raise self._fail("name", error, text, "check the network and its DNS") from None
        except (socket.gaierror, UnicodeError) as error:
            raise self._fail(
                "name",
                HostUnknown(f"the host name {host!r} does not resolve: {os_words(error)}"),
                f"the host name {host!r} does not resolve: {os_words(error)}",
                "check its spelling, or give the address instead",
            ) from error
        addresses = [(int(family), tuple(address)) for family, _, _, _, address in found]
        shown = ", ".join(dict.fromkeys(str(address[0]) for _, address in addresses))
        self._add("name", Outcome.OK, f"{host} is {shown}")
        return addresses

    async def _tcp(self, addresses: list[tuple[int, tuple[object, ...]]]) -> None:
        """Whether one of the addresses takes a connection."""
        failures: list[str] = []
        timed_out = refused = False
        for family, address in addresses:
            try:
                await self._dial(family, address)
            except TimeoutError:
                timed_out = True
                failures.append(f"{address[0]}: no answer within {self.peer.timeouts.connect} s")
            except OSError as error:
                refused = refused or isinstance(error, ConnectionRefusedError)
                failures.append(f"{address[0]}: {os_words(error)}")
            else:
                text = f"port {self.peer.port} of {address[0]} takes connections"
                if failures:
                    self._add("tcp", Outcome.WARNING, f"{text}; {'; '.join(failures)}")
                else:
                    self._add("tcp", Outcome.OK, text)
                return
        text = f"no connection to port {self.peer.port}: {'; '.join(failures) or 'the host has no address'}"
        if refused:
            advice = (
                "the host is there, but nothing listens on this port: is the archive running, and is this its"
                " DICOM port (usual ones are 104, 11112, 4242, and 2762 for TLS)?"
            )
            raise self._fail("tcp", ConnectionRefused(text), text, advice)
        advice = "a firewall drops it, the host is off, or the address is wrong"
        late = ConnectTimeout(text, limit="connect", seconds=self.peer.timeouts.connect)
        raise self._fail("tcp", late if timed_out else ConnectionRefused(text), text, advice)

    async def _dial(self, family: int, address: tuple[object, ...]) -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            async with asyncio.timeout(self.peer.timeouts.connect):
                await asyncio.get_running_loop().sock_connect(sock, address)

    async def _tls(self) -> None:
        """The handshake, when TLS is wanted."""
        if self.peer.tls is None:
            self._add("tls", Outcome.SKIPPED, "not asked for: what is sent can be read on the network")
            return
        try:
            text = await handshake(self.peer, self.peer.tls)
        except TimeoutError:
            limit = self.peer.timeouts.connect
            late = ConnectTimeout(f"no TLS handshake within {limit} s", limit="connect", seconds=limit)
            error: AiodicomError = late
            cause: BaseException = error
        except OSError as failure:
            error = TLSFailed(describe_tls_error(failure))
            cause = failure
        else:
            self._add("tls", Outcome.OK, text)
            return
        advice = advice_of.tls(cause)
        if await speaks_plain_dicom(self.peer):
            text = (
                "TLS on one side only: the port speaks DICOM without TLS; leave TLS out, or find its TLS port"
            )
            advice = text, None
        raise self._fail("tls", error, error.text, *advice) from cause

    # --- the association

    async def _associate(self) -> None:
        """Open an association with everything worth knowing about; with verification alone if that fails."""
        proposals = _proposals(self.needed)
        # names that are not at hand are pydicom's, which takes 0.2 s to load
        strange = [uid for uid in self.needed if uid not in UID_NAMES]
        if strange:
            await on_thread(lambda: [uid_name(uid) for uid in strange])
        try:
            self._association = await associate(self.peer, proposals)
        except AssociationRejected as error:
            calling, called = self.peer.calling_ae, self.peer.called_ae
            advice = rejection_advice(error.source, error.reason, calling, called)
            if advice is not None or not await self._only_verification(len(proposals)):
                text = f"the association was {describe_rejection(error.result, error.source, error.reason)}"
                advice = advice or advice_of.rejected(calling, called)
                raise self._fail("association", error, text, *advice) from error
        except AssociationTimeout as error:
            await self._look_into_silence(error, len(proposals))
        except AiodicomError as error:
            elsewhere = isinstance(error, ConnectFailed | NotDicomPeer)
            if elsewhere or not (
                await self._without_window(proposals) or await self._only_verification(len(proposals))
            ):
                name = "tls" if isinstance(error, TLSFailed) else "association"
                raise self._fail(name, error, error.text, *await self._advice(error)) from error
        else:
            self._add("association", Outcome.OK, self._greeting())

    async def _look_into_silence(self, error: AssociationTimeout, count: int) -> None:
        """What may be the cause is tried all at once: who has waited for a limit waits for no other."""
        plain = self.peer.tls is None
        probes = [self._only_verification(count)]
        if plain:
            probes += [speaks_tls(self.peer), speaks_http(self.peer)]
        fewer, tls, http = (*await asyncio.gather(*map(_soon, probes)), False, False)[:3]
        if fewer:
            return
        advice: tuple[str, Cause | None] = (
            "it takes the connection and says nothing: another service, or an archive that hangs",
            None,
        )
        if tls:
            advice = ("TLS on one side only: the port speaks TLS", Cause.TLS)
        elif http:
            advice = (advice_of.other_service("HTTP"), None)
        raise self._fail("association", error, error.text, *advice) from error

    async def _without_window(self, proposals: list[Proposal]) -> bool:
        """Whether the peer takes it without an asynchronous operations window: some drop what offers one."""
        if self.peer.async_operations is None:
            return False
        self.peer = replace(self.peer, async_operations=None)
        try:
            self._association = await associate(self.peer, proposals)
        except AiodicomError:
            return False
        self._add(
            "association",
            Outcome.WARNING,
            f"{self._greeting()}, but only without an asynchronous operations window",
            "write window = false among the quirks of its node: without it each client is dropped once first",
        )
        return True

    async def _only_verification(self, count: int) -> bool:
        """Whether the peer takes an association with less in it: some choke on many contexts."""
        try:
            self._association = await associate(self.peer, [Proposal(VERIFICATION)])
        except AiodicomError:
            return False
        self._add(
            "association",
            Outcome.WARNING,
            f"{self._greeting()}, but only for verification alone: with {count} contexts it refuses",
            "propose fewer contexts to this peer, or look into its log for what it refuses",
        )
        return True

    def _greeting(self) -> str:
        assert self._association is not None
        self.info = describe_connection(self.peer, self._association)
        self.contexts = _context_answers(self._association)
        name = (
            self.info.implementation_version_name or self.info.implementation_class_uid or "an unnamed peer"
        )
        return f"{self.peer.called_ae!r} ({name}) accepts {self.peer.calling_ae!r}"

    async def _advice(self, error: AiodicomError) -> tuple[str, Cause | None]:
        """The likely cause of an association that did not come about."""
        if isinstance(error, TLSFailed):
            return advice_of.tls(error.__cause__ or error)
        if isinstance(error, NotDicomPeer) and error.spoken != "TLS":
            return advice_of.other_service(error.spoken), None
        plain = self.peer.tls is None
        if isinstance(error, NotDicomPeer) or (plain and await speaks_tls(self.peer)):
            return "TLS on one side only: the port speaks TLS", Cause.TLS
        if isinstance(error, AssociationAborted) and not error.by_peer:
            return "what answers is not DICOM, or breaks its rules: is this the archive's DICOM port?", None
        return advice_of.hung_up(self.peer.calling_ae), None

    def _judge_contexts(self) -> None:
        """What the peer accepted, and whether something needed is missing."""
        accepted = [answer for answer in self.contexts if answer.accepted]
        refused = [answer for answer in self.contexts if not answer.accepted]
        text = f"{len(accepted)} of {len(self.contexts)} presentation contexts accepted"
        missing = [answer for answer in refused if answer.abstract_syntax in self.needed]
        if missing:
            names = "; ".join(f"{answer.name}: {answer.text}" for answer in missing)
            first = missing[0]
            error = ContextNotAccepted(first.name, [first.text], abstract_syntax=first.abstract_syntax)
            self._add(
                "contexts",
                Outcome.FAILED,
                f"{text}; refused: {names}",
                "SOP class refused: the peer does not offer the service, or not to our AE title",
            )
            self.error = self.error or error
        elif not accepted:
            self._add("contexts", Outcome.WARNING, text, "an association without a context is of no use")
        else:
            self._add("contexts", Outcome.OK, text)
        if self.info is not None and self.info.deviations:
            shown = "; ".join(map(str, self.info.deviations))
            self._add("standard", Outcome.WARNING, f"the peer deviates from the standard: {shown}")

    async def _echo(self) -> None:
        association = self._association
        assert association is not None
        contexts = association.find_contexts(VERIFICATION)
        if not contexts:
            self._add("echo", Outcome.SKIPPED, "no context for verification")
            return
        try:
            operation = await association.invoke(contexts[0], lambda n: m.CEchoRQ(message_id=n))
            response, data = await operation.next()
        except AiodicomError as error:
            raise self._fail(
                "echo", error, error.text, "it accepts the association and fails at once"
            ) from error
        status = Status(response.status)
        if not status.ok:
            failed = OperationFailed(
                "C-ECHO", response.status, words_of(response, data, contexts[0].transfer_syntax)
            )
            self._add("echo", Outcome.FAILED, failed.text, advice_of.echo(response.status))
            self.error = self.error or failed
            return
        self._add("echo", Outcome.OK, f"C-ECHO answered {status.meaning}")

    async def _release(self) -> None:
        association = self._association
        assert association is not None
        try:
            await association.release()
        except AiodicomError as error:
            raise self._fail(
                "release", error, error.text, "the peer does not end associations in order"
            ) from error
        if association.error is not None:
            self._fail(
                "release",
                association.error,
                association.error.text,
                "the peer does not end associations in order",
            )
            self.error = self.error or association.error
            return
        self._add("release", Outcome.OK, "the association ended in order")


# --- Parts ---------------------------------------------------------------------------------------


def _proposals(needed: tuple[str, ...]) -> list[Proposal]:
    """One context for each service worth knowing about."""
    models: list[Callable[[Root], str]] = [find_model, get_model, move_model]
    retrieval = [model(root) for root in (Root.PATIENT, Root.STUDY) for model in models]
    storage = [*storage_sop_classes()[:_EVERYDAY], PRIVATE_CLASS]
    wanted = [*needed, *retrieval, _WORKLIST, _STORAGE_COMMITMENT, *storage]
    return [Proposal(uid) for uid in dict.fromkeys(wanted)]


def _context_answers(association: Association) -> list[ContextAnswer]:
    """The answer to every context proposed, in the order of proposing."""
    session = association.session
    assert session.request is not None
    assert session.answer is not None
    answers = []
    for one in outcomes(session.request, session.answer):
        uid = one.proposed.abstract_syntax
        accepted = session.contexts.get(one.proposed.context_id)
        text = one.words if accepted is None else sop_class_name(accepted.transfer_syntax)
        named = "A private SOP class" if uid == PRIVATE_CLASS else sop_class_name(uid)
        answers.append(ContextAnswer(uid, named, accepted is not None, text))
    return answers
