"""Ten thousand associations, opened and ended in every way there is: nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import uvloop
from aiodicom.association.connect import Peer, associate
from aiodicom.client.pacs import Pacs
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Proposal
from aiodicom.pdu import (
    PDV,
    AAbort,
    AiodicomError,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    UserIdentityRQ,
    UserInformation,
    encode,
)
from aiodicom.server.access import Access
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.testing import associate_request, message_pdvs
from archive_objects import files_below
from conftest import TLSPair
from wire import ALL, CT, FIND, IMPLICIT, PATIENCE, STEADY, VERIFICATION, ct, identifier, implicit

COUNT = 10_000
AT_ONCE = 40

REQUEST = encode(associate_request(ALL))
REJECTED = encode(associate_request(called_ae="NOBODY"))
IDENTIFIED = encode(
    associate_request(user_information=UserInformation(user_identity=UserIdentityRQ(1, b"x")))
)
ECHO = encode(PDataTF((PDV(1, True, True, m.encode_message(m.CEchoRQ(message_id=1))),)))
FIND_ALL = b"".join(
    encode(PDataTF((pdv,)))
    for pdv in message_pdvs(
        5,
        m.encode_message(m.CFindRQ(message_id=2, affected_sop_class_uid=FIND)),
        implicit(identifier()),
        fragment=16000,
    )
)
RELEASE = encode(AReleaseRQ())
RELEASED = encode(AReleaseRP())
ABORT = encode(AAbort(0, 0))
LINGER = struct.pack("ii", 1, 0)


def store(uid: str) -> bytes:
    """A C-STORE as bytes."""
    request = m.CStoreRQ(message_id=3, affected_sop_class_uid=CT, affected_sop_instance_uid=uid)
    pdvs = message_pdvs(3, m.encode_message(request), implicit(ct(uid, size=2000)), fragment=500)
    return b"".join(encode(PDataTF((pdv,))) for pdv in pdvs)


STORE = store("1.2.3.4.5")


class Line:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None = None) -> Line:
        name = "localhost" if tls else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def pdu(self) -> bytes:
        header = await self.reader.readexactly(6)
        return header + await self.reader.readexactly(int.from_bytes(header[2:], "big"))

    async def status(self) -> int:
        """That of a response, in one PDV."""
        whole = await self.pdu()
        assert (whole[0], whole[11]) == (4, 3)
        message = m.decode_message(whole[12:], [])
        assert isinstance(message, m.Response)
        return message.status

    async def open_association(self) -> None:
        self.send(REQUEST)
        assert (await self.pdu())[0] == 2

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


# --- the ways


async def _released(line: Line) -> None:
    await line.open_association()
    line.send(RELEASE)
    assert await line.pdu() == RELEASED


async def _echoed(line: Line) -> None:
    await line.open_association()
    line.send(ECHO)
    assert await line.status() == 0
    line.send(RELEASE)
    assert await line.pdu() == RELEASED


async def _aborted(line: Line) -> None:
    await line.open_association()
    line.send(ABORT)
    assert await line.reader.read() == b""


async def _closed(line: Line) -> None:
    await line.open_association()


async def _reset(line: Line) -> None:
    await line.open_association()
    line.reset()


async def _aborted_by_the_server(line: Line) -> None:
    await line.open_association()
    line.send(b"\x04\0\0\0\0\4\0\0\0\0")
    assert (await line.pdu())[0] == 7


async def _rejected(line: Line) -> None:
    line.send(REJECTED)
    assert (await line.pdu())[0] == 3


async def _rejected_and_reset(line: Line) -> None:
    line.send(REJECTED)
    line.reset()


async def _identity_refused(line: Line) -> None:
    line.send(IDENTIFIED)
    assert (await line.pdu())[0] == 3


async def _garbage(line: Line) -> None:
    line.send(b"GET / HTTP/1.1\r\n\r\n")
    assert (await line.pdu())[0] == 7


async def _half_a_request(line: Line) -> None:
    line.send(REQUEST[:-10])


async def _nothing(line: Line) -> None:
    return


async def _connect_and_reset(line: Line) -> None:
    line.reset()


async def _request_and_gone(line: Line) -> None:
    line.send(REQUEST)


async def _find_and_gone(line: Line) -> None:
    await line.open_association()
    line.send(FIND_ALL)


async def _find_and_reset(line: Line) -> None:
    await line.open_association()
    line.send(FIND_ALL)
    line.reset()


async def _store_cut(line: Line) -> None:
    await line.open_association()
    line.send(STORE[:-700])


async def _store_cut_by_abort(line: Line) -> None:
    await line.open_association()
    line.send(STORE[: len(STORE) // 2 + 1])
    line.reset()


async def _store_and_gone(line: Line) -> None:
    """The answer may find nobody."""
    await line.open_association()
    line.send(STORE)


async def _stored(line: Line) -> None:
    await line.open_association()
    line.send(STORE)
    assert await line.status() == 0
    line.send(RELEASE)
    assert await line.pdu() == RELEASED


async def _released_in_the_middle(line: Line) -> None:
    await line.open_association()
    line.send(FIND_ALL + RELEASE)


Way = Callable[[Line], Awaitable[None]]
WAYS: tuple[Way, ...] = (
    _released, _echoed, _aborted, _closed, _reset, _aborted_by_the_server, _rejected, _rejected_and_reset,
    _identity_refused, _garbage, _half_a_request, _nothing, _connect_and_reset, _request_and_gone,
    _find_and_gone, _find_and_reset, _store_cut, _store_cut_by_abort, _store_and_gone, _stored,
    _released_in_the_middle,
)  # fmt: skip

TLS_WAYS: tuple[bytes, ...] = (
    b"",
    b"\x16",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    b"GET / HTTP/1.0\r\n\r\n",
    REQUEST,
)


async def run(port: int, way: Way, tls: ssl.SSLContext | None = None) -> None:
    line = await Line.open(port, tls)
    try:
        await way(line)
    except (OSError, asyncio.IncompleteReadError):
        # a reset of ours may overtake what the server says
        assert way in (_rejected_and_reset, _find_and_reset, _store_cut_by_abort, _connect_and_reset)
    finally:
        await line.close()


# --- what is left


@dataclass(frozen=True)
class Footprint:
    """What this process holds."""

    tasks: int
    descriptors: int
    threads: int
    objects: int
    memory: int

    @classmethod
    def take(cls) -> Footprint:
        for _ in range(3):
            gc.collect()
        return cls(
            tasks=len(asyncio.all_tasks()),
            descriptors=len(_descriptors()),
            threads=threading.active_count(),
            objects=len(gc.get_objects()),
            memory=psutil.Process().memory_info().rss,
        )


def _descriptors() -> list[str]:
    """What our descriptors are open on, but the index's readers: it keeps those that were used at once, and
    each has the log of the database open beside it."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    readers = [target for target in found if target.rpartition("/")[2].startswith("index.sqlite")]
    assert len(readers) < 80
    return [target for target in found if target not in readers]


async def settled(server: object) -> None:
    """Wait until the server has no connection any more, and only the test and `accept` run."""
    async with asyncio.timeout(PATIENCE):
        while (
            server.associations  # type: ignore[attr-defined]
            or server._beginning  # type: ignore[attr-defined]
            or server.connections.pending  # type: ignore[attr-defined]
            or len(asyncio.all_tasks()) > 2
        ):
            await asyncio.sleep(0.005)


async def refuse(identity: object, caller: object) -> object:
    from aiodicom.pdu import Rejection

    return Rejection.NO_REASON


async def in_parallel(jobs: list[Callable[[], Awaitable[None]]]) -> None:
    """All jobs, `AT_ONCE` at a time."""
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


LIMITS = ServerLimits(artim_timeout=20, max_pending_connections=2000)
ACCESS = Access(called_ae={"CALLED"}, identity=refuse)  # type: ignore[arg-type]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_associations_against_our_server(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    # each way as often as the others, in the same mixed order every time
    count = COUNT // 2
    ways = list(itertools.islice(itertools.cycle(WAYS), count))
    random.Random(1).shuffle(ways)

    async def main() -> None:
        async with serve_archive(
            tmp_path, port=0, limits=LIMITS, access=ACCESS, durability="rename"
        ) as server:

            async def burst(some: list[Way]) -> None:
                await in_parallel([lambda way=way: run(server.port, way) for way in some])  # type: ignore[misc]
                await settled(server.server)

            await burst(ways[: count // 5])  # caches fill, threads start
            before = Footprint.take()
            await burst(ways[count // 5 :])
            after = Footprint.take()
            assert not server.server.connections.counts
            assert not server.server.connections.open
            assert not server.server.connections.lingering
            assert files_below(tmp_path / "incoming") == ["journal"]
            assert len(files_below(tmp_path / "objects")) == 1
            same(before, after)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def same(before: Footprint, after: Footprint) -> None:
    """Nothing counted has grown; memory has not grown by what thousands of anything would take."""
    assert after.tasks == before.tasks
    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads + 8  # the executor's
    assert after.objects - before.objects < 1000
    assert after.memory - before.memory < 24 << 20


def test_tls_connections_against_our_server(tmp_path: Path, tls_pair: TLSPair) -> None:
    """Half a handshake, none at all, and whole ones ended in every way."""

    async def half(port: int, data: bytes, reset: bool) -> None:
        line = await Line.open(port)
        line.send(data)
        if reset:
            line.reset()
        await line.close()

    async def main() -> None:
        async with serve_archive(
            tmp_path, port=0, limits=LIMITS, access=ACCESS, durability="rename", tls=tls_pair.server
        ) as server:

            async def burst(turns: int) -> None:
                jobs: list[Callable[[], Awaitable[None]]] = []
                for number in range(turns):
                    for data in TLS_WAYS:
                        jobs.append(lambda data=data, number=number: half(server.port, data, number % 2 == 0))  # type: ignore[misc]
                    way = WAYS[number % len(WAYS)]
                    jobs.append(lambda way=way: over_tls(server.port, way, tls_pair.client))  # type: ignore[misc]
                await in_parallel(jobs)
                await settled(server.server)

            await burst(150)  # OpenSSL's own heap takes its size
            before = Footprint.take()
            await burst(200)
            after = Footprint.take()
            same(before, after)

    asyncio.run(main())


async def over_tls(port: int, way: Way, tls: ssl.SSLContext) -> None:
    with suppress(ConnectionError, ssl.SSLError):  # who resets a TLS connection may meet an error itself
        await run(port, way, tls)


def test_associations_of_our_client(tmp_path: Path) -> None:
    """Ours at both ends: what the client held is given back too."""

    async def main() -> None:
        async with serve_archive(
            tmp_path, port=0, limits=replace(LIMITS, artim_timeout=5), access=ACCESS, durability="rename"
        ) as server:
            peer = Peer(host="127.0.0.1", port=server.port, called_ae="CALLED", timeouts=STEADY)
            proposals = [Proposal(VERIFICATION), Proposal(FIND), Proposal(CT, (IMPLICIT,))]

            async def released() -> None:
                association = await associate(peer, proposals)
                await association.release()

            async def aborted() -> None:
                association = await associate(peer, proposals)
                await association.abort()

            async def dropped() -> None:
                association = await associate(peer, proposals)
                association.connection.drop()
                await association.wait_closed()

            async def rejected() -> None:
                with pytest.raises(AiodicomError):
                    await associate(replace(peer, called_ae="NOBODY"), proposals)

            async def used() -> None:
                async with Pacs(peer) as client:
                    await client.echo()
                    async for _ in client.find("STUDY"):
                        break
                    await client.store(ct("1.2.3.4.5", size=100))

            async def cancelled() -> None:
                task = asyncio.ensure_future(used())
                for _ in range(random.Random(len(asyncio.all_tasks())).randrange(30)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            async def late() -> None:
                impatient = replace(peer, timeouts=replace(STEADY, association=0.0, artim=0.1))
                with suppress(AiodicomError):
                    await (await associate(impatient, proposals)).release()

            ways = [released, aborted, dropped, rejected, used, cancelled, late]

            async def burst(turns: int) -> None:
                await in_parallel(ways * turns)
                await settled(server.server)

            await burst(30)
            before = Footprint.take()
            await burst(100)
            after = Footprint.take()
            same(before, after)
            assert files_below(tmp_path / "incoming") == ["journal"]

    asyncio.run(main())
