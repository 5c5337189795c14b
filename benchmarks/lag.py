"""How long the event loop of `aiodicom serve` keeps others waiting while peers do what costs it most.

    python benchmarks/lag.py [--seconds 5] [--peers 8] [SCENARIO ...]

The server is a process of its own with the limits it has by default. A timer in its loop that is due every
few milliseconds tells how late it comes, and how much CPU time the loop's thread had meanwhile, which does
not depend on who else uses the machine. The peers are another process. `nothing` is the noise of the
machine: what the others have more than that is ours. `make soak` prints the same table. The exit code is 1
where the CPU time in one go is over the bar, `BAR`, for any scenario.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiodicom
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.pdu import (
    PDV,
    AAssociateRQ,
    PDataTF,
    PresentationContextRQ,
    UnknownItem,
    UserInformation,
    encode,
)
from pydicom.dataset import Dataset

BAR = 0.05
"""Seconds that nobody's request may keep the loop from others'."""
TICK = 0.005
"""Seconds between two looks."""
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
STALL = 0.5
"""Seconds that a stalling disk takes for each write and each fsync."""


# --- the server


async def serve(folder: Path) -> None:
    """Serve, and do what is told on stdin, a line each: "begin", "end", "stall"."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    busy = [0.0, time.thread_time()]

    def tick(due: float) -> None:
        now, used = time.monotonic(), time.thread_time()
        late.append(max(now - due, 0.0))
        busy[:] = max(busy[0], used - busy[1]), used
        loop.call_later(TICK, tick, now + TICK)

    def stall() -> None:
        def slowly(real: Callable[..., Any]) -> Callable[..., Any]:
            def stalled(*arguments: Any) -> Any:
                time.sleep(STALL)
                return real(*arguments)

            return stalled

        for name in ("write", "pwrite", "fsync"):
            setattr(os, name, slowly(getattr(os, name)))

    async with aiodicom.serve_archive(folder, port=0) as server:
        print(server.port, flush=True)
        gc.freeze()  # as `aiodicom serve` does
        tick(time.monotonic())
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            match line.strip():
                case "begin":
                    late.clear()
                    busy[:] = 0.0, time.thread_time()
                case "stall":
                    stall()
                case "end":
                    print(json.dumps([busy[0], *sorted(late)]), flush=True)


class Served:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *, unread: bool = False) -> None:
        """unread: its stderr is a pipe that nobody reads, and it logs everything."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(folder), "2" if unread else "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if unread else subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def tell(self, order: str) -> None:
        """Have it do something."""
        print(order, file=self._process.stdin, flush=True)

    def late(self) -> list[float]:
        """The most CPU time between two looks since "begin", then how late those were, ascending."""
        self.tell("end")
        assert self._process.stdout is not None
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


# --- the peers


class Peer:
    """A connection that sends bytes made beforehand, so that the peers cost little."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        """Send it all."""
        self.writer.writelines(data)
        await self.writer.drain()

    async def pdu(self) -> tuple[int, bytes]:
        """The next PDU: its type and what it holds."""
        header = await self.reader.readexactly(6)
        return header[0], await self.reader.readexactly(struct.unpack(">L", header[2:])[0])

    async def answered(self) -> None:
        """To the final response of a request, whatever it says; pending ones are thrown away."""
        while True:
            kind, body = await self.pdu()
            if kind != 4:
                raise ConnectionError("the server ended the association")
            at = body.find(b"\0\0\0\x09\2\0\0\0", 0, 400)  # the status, of a command
            if body[5] & 1 and at >= 0 and body[at + 9] != 0xFF:
                return


def request(*more: UnknownItem) -> bytes:
    """An A-ASSOCIATE-RQ for a query and an object."""
    contexts = tuple(PresentationContextRQ(n, uid, (IMPLICIT,)) for n, uid in ((1, FIND), (3, CT)))
    return encode(
        AAssociateRQ(
            called_ae="ARCHIVE",
            calling_ae="LAG",
            presentation_contexts=contexts,
            user_information=UserInformation(implementation_class_uid="1.2.3"),
            unknown_items=more,
        )
    )


@contextlib.asynccontextmanager
async def connected(port: int, opening: bytes | None = None, *, source: str = "127.0.0.1"):
    """A connection from that address; with an association where `opening` is its request."""
    where = {"local_addr": (source, 0), "limit": 1 << 20}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **where)
    try:
        peer = Peer(reader, writer)
        if opening is not None:
            await peer.send(opening)
            if (await peer.pdu())[0] != 2:
                raise ConnectionError("no association")
        yield peer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def message(context: int, command: m.Message, data: bytes, size: int = 16_000, each: int = 1) -> bytes:
    """A message in PDVs of `size` bytes of data, `each` of them in a PDU."""
    pdvs = [PDV(context, True, True, m.encode_message(command))]
    pdvs += [
        PDV(context, False, at + size >= len(data), data[at : at + size]) for at in range(0, len(data), size)
    ]
    pdus = [pdvs[:1], *(pdvs[at : at + each] for at in range(1, len(pdvs), each))]
    return b"".join(encode(PDataTF(tuple(one))) for one in pdus)


def image(uid: str, *, size: int = 0, **values: Any) -> bytes:
    """An object with so many bytes of pixels, encoded."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.BitsAllocated, dataset.PixelData = 8, bytes(size)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode_dataset(dataset, IMPLICIT)


def store_request(uid: str) -> m.CStoreRQ:
    """A C-STORE-RQ."""
    return m.CStoreRQ(message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid=uid)


def find(data: bytes) -> bytes:
    """A C-FIND of that identifier."""
    return message(1, m.CFindRQ(message_id=1, affected_sop_class_uid=FIND), data)


async def nothing(port: int, number: int, until: float) -> None:
    """An idle association."""
    async with connected(port, request()):
        await asyncio.sleep(until - time.monotonic())


async def identifiers(port: int, number: int, until: float) -> None:
    """Identifiers of many empty elements, small and large, one after the other."""
    empty = b"".join(struct.pack("<HHL", 0x0011, n, 0) for n in range(0x1000, 0x1000 + 30_000))
    level = struct.pack("<HHL", 8, 0x52, 6) + b"STUDY "
    floods = [
        find(level + empty[: 1000 - len(level)]),
        find(level + empty[:30_000]),
        find(level + empty[:240_000]),
    ]
    async with connected(port, request()) as peer:
        while time.monotonic() < until:
            for flood in floods:
                await peer.send(flood)
                await peer.answered()


async def requests(port: int, number: int, until: float) -> None:
    """A-ASSOCIATE-RQs of as many tiny items as are let pass, and of 64,000 in 256 kB."""
    floods = [request(*(UnknownItem(0x99, b""),) * count) for count in (8000, 64_000)]
    while time.monotonic() < until:
        for flood in floods:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                async with connected(port) as peer:
                    await peer.send(flood)
                    await peer.pdu()


async def answers(port: int, number: int, until: float) -> None:
    """Answers with sequences as long as objects have them."""
    async with connected(port, request()) as peer:
        for one in range(5):
            item = Dataset()
            item.ScheduledProcedureStepDescription = "x" * 60
            uid = f"1.2.3.{number}.{one}"
            data = image(uid, RequestAttributesSequence=[item] * 700)
            await peer.send(message(3, store_request(uid), data))
            await peer.answered()
        wanted = Dataset()
        wanted.QueryRetrieveLevel, wanted.SOPInstanceUID = "IMAGE", ""
        wanted.RequestAttributesSequence = []
        flood = find(encode_dataset(wanted, IMPLICIT))
        while time.monotonic() < until:
            await peer.send(flood)
            await peer.answered()


async def stalling(port: int, number: int, until: float) -> None:
    """Objects, while each write and each fsync of the server takes `STALL` seconds."""
    async with connected(port, request()) as peer:
        for one in range(1_000_000):
            if time.monotonic() > until:
                return
            uid = f"1.2.4.{number}.{one}"
            await peer.send(message(3, store_request(uid), image(uid, size=200_000)))
            await peer.answered()


async def noise(port: int, number: int, until: float) -> None:
    """What makes a server log, of which nobody reads a line."""
    while time.monotonic() < until:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            async with connected(port) as peer:
                await peer.send(b"GET / HTTP/1.1\r\n\r\n")
                await peer.pdu()
        async with connected(port, request()) as peer:
            await peer.send(find(b"\0" * 40))
            await peer.answered()


async def fragments(port: int, number: int, until: float) -> None:
    """Objects in fragments of one byte, thousands of them in a PDU."""
    async with connected(port, request()) as peer:
        uid = f"1.2.5.{number}"
        flood = message(3, store_request(uid), image(uid, size=100_000), size=1, each=15_000)
        while time.monotonic() < until:
            await peer.send(flood)
            await peer.answered()


async def empties(port: int, number: int, until: float) -> None:
    """Objects, and such as are refused, with thousands of PDVs before the last that say nothing."""
    uid = f"1.2.6.{number}"
    store = store_request(uid)
    refused = m.CStoreRQ(message_id=1, affected_sop_class_uid=FIND, affected_sop_instance_uid=uid)
    flood = encode(PDataTF((PDV(3, False, False, b""),) * 10_000)) * 4
    flood += encode(PDataTF((PDV(3, False, False, b"\0"),) * 10_000)) * 4
    async with connected(port, request()) as peer:
        while time.monotonic() < until:
            for command, data in ((store, image(uid, size=1000)), (refused, b"")):
                head = encode(PDataTF((PDV(3, True, True, m.encode_message(command)),)))
                await peer.send(head, flood, encode(PDataTF((PDV(3, False, True, data),))))
                await peer.answered()


Scenario = Callable[[int, int, float], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (nothing, identifiers, requests, answers, stalling, noise, fragments, empties)
}


async def attack(port: int, name: str, peers: int, seconds: float) -> None:
    """So many peers at once."""
    until = time.monotonic() + seconds
    await asyncio.gather(*(SCENARIOS[name](port, number, until) for number in range(peers)))


def measured(name: str, peers: int, seconds: float) -> list[float]:
    """`Served.late` of a server meanwhile."""
    with tempfile.TemporaryDirectory() as place:
        served = Served(Path(place) / "archive", unread=name == "noise")
        try:
            if name == "stalling":
                served.tell("stall")
            served.tell("begin")
            command = [sys.executable, __file__, "attack", str(served.port), name, str(peers), str(seconds)]
            subprocess.run(command, check=True, timeout=seconds + 60)
            return served.late()
        finally:
            served.close()


def table(names: Sequence[str], peers: int, seconds: float, over: list[str]) -> Iterator[str]:
    """One line each, in milliseconds; `over` takes the names of those whose CPU time is over the bar."""
    yield f"| lag of the loop in ms, {peers} peers | median | 99 % | worst | most CPU in one go |"
    yield "|---|---|---|---|---|"
    for name in names:
        busy, *late = measured(name, peers, seconds)
        median, most, worst = (
            late[min(int(share * len(late)), len(late) - 1)] * 1e3 for share in (0.5, 0.99, 1)
        )
        mark = ""
        if busy > BAR:
            over.append(name)
            mark = f" (over {BAR * 1e3:.0f})"
        yield f"| {name} | {median:.1f} | {most:.1f} | {worst:.1f} | {busy * 1e3:.1f}{mark} |"


def main() -> int:
    """The script, or one of the processes it starts."""
    match sys.argv[1:]:
        case ["serve", folder, level]:
            import uvloop
            from aiodicom.cli.logs import start_logging
            from aiodicom.cli.serve import SWITCH_INTERVAL

            start_logging(int(level))
            sys.setswitchinterval(SWITCH_INTERVAL)
            uvloop.run(serve(Path(folder)))
        case ["attack", port, name, peers, seconds]:
            asyncio.run(attack(int(port), name, int(peers), float(seconds)))
        case arguments:
            parser = argparse.ArgumentParser(
                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            parser.add_argument("--seconds", type=float, default=5)
            parser.add_argument("--peers", type=int, default=8)
            parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
            options = parser.parse_args(arguments)
            over: list[str] = []
            names = options.scenarios or list(SCENARIOS)
            for line in table(names, options.peers, options.seconds, over):
                print(line, flush=True)
            return 1 if over else 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
