"""What another client of `aiodicom serve` waits while peers do what costs most: an echo, a query, a store.

    python benchmarks/neighbours.py [--seconds 5] [--peers 8] [--objects 5000] [SCENARIO ...]

The server is the command with the limits it has by default, over an archive of so many objects of a patient.
The peers are another process, at another address of the loopback, where Linux has all of 127.0.0.0/8; the
client asks, with an association of its own each time, for one study and stores one object. The server is told
to stop while the peers go on. `lag.py` measures the loop alone; `make soak` prints both tables. The exit code
is 1 where the client was refused anything, waited `PATIENCE` seconds for one answer, or the server took
`STOPPING` to stop or more memory than `MEMORY`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
import lag
import psutil
from aiodicom.archive.archive import Archive
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.pdu import (
    AAssociateRQ,
    AsyncOperationsWindow,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
    encode,
)
from interop import peers as servers
from lag import CT, FIND, IMPLICIT, find, image, message, store_request
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

PATIENCE = 15.0
"""Seconds for one answer."""
STOPPING = 30.0
"""Seconds from SIGTERM to the end: ten are given to what runs, ten to a peer to close, five to what was given
up (`server.listener.CLOSING`); more is a defect."""
MEMORY = 1 << 30
"""Bytes of the server's resident memory."""
ELSEWHERE = "127.0.0.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
STUDY = "1.2.3"
"""Of `lag.image`."""
ITEMS = 1_900_000
"""Little less than an object may have."""
IDLE = 1200
"""Associations that nothing comes on, of all peers together: more than many a soft limit of descriptors."""
OUTSTANDING = 60
PEERS = 8
OBJECTS = 5000
"""In the archive, of one patient."""


# --- the peers


@contextlib.asynccontextmanager
async def calling(port: int, *contexts: str) -> AsyncIterator[lag.Peer]:
    """An association from elsewhere, in which these classes have the contexts 1, 3, ..."""
    proposed = tuple(PresentationContextRQ(2 * n + 1, uid, (IMPLICIT,)) for n, uid in enumerate(contexts))
    opening = AAssociateRQ(
        called_ae="ARCHIVE",
        calling_ae="NEIGHBOUR",
        presentation_contexts=proposed,
        user_information=UserInformation(
            implementation_class_uid="1.2.3",
            roles=(RoleSelection(CT, True, True),) if GET in contexts else (),
            async_operations=AsyncOperationsWindow(16, 16),
        ),
    )
    async with lag.connected(port, encode(opening), source=ELSEWHERE) as peer:
        yield peer


def identifier(**values: Any) -> bytes:
    """A query at the level of images."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "IMAGE"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return encode_dataset(dataset, IMPLICIT)


async def asking(port: int, flood: bytes) -> None:
    """That query, again and again."""
    async with calling(port, FIND) as peer:
        while True:
            await peer.send(flood)
            await peer.answered()


async def storing(port: int, number: int, data: Callable[[str], bytes]) -> None:
    """Objects, each of another UID, whatever is answered."""
    async with calling(port, FIND, CT) as peer:
        for one in itertools.count():
            uid = f"1.2.7.{number}.{one}"
            await peer.send(message(3, store_request(uid), data(uid), each=4))
            await peer.answered()


async def nothing(port: int, number: int) -> None:
    """An idle association."""
    async with calling(port, FIND):
        await asyncio.sleep(PATIENCE)


async def counts(port: int, number: int) -> None:
    """A value for what is counted of each patient, which none has."""
    await asking(port, find(identifier(NumberOfPatientRelatedInstances="1")))


async def wildcards(port: int, number: int) -> None:
    """Wild cards that fit nothing, compared with all there is."""
    await asking(port, find(identifier(PatientName="*a*b*c*", SeriesDescription="*x*y*z*")))


async def broken(port: int, number: int) -> None:
    """Objects with a character set that is none two levels deep, in a sequence that is indexed."""
    inner, outer = Dataset(), Dataset()
    inner.SpecificCharacterSet, inner.CodeMeaning = "ISO_IR 100", "x"
    outer.RequestedProcedureCodeSequence = [inner]

    def data(uid: str) -> bytes:
        return image(uid, RequestAttributesSequence=[outer]).replace(b"ISO_IR 100", b"ISO_IR\0001 0")

    await storing(port, number, data)


async def items(port: int, number: int) -> None:
    """Objects of empty items, 15 MB of them."""
    sequence = struct.pack("<HHL", 0x0040, 0x0275, 8 * ITEMS) + b"\xfe\xff\0\xe0\0\0\0\0" * ITEMS
    await storing(port, number, lambda uid: image(uid).partition(b"\xe0\x7f\x10\0")[0] + sequence)


async def unread(port: int, number: int) -> None:
    """Retrieves of all there is, of which nothing is read, and a C-CANCEL of another's id now and then."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", STUDY
    data = encode_dataset(wanted, IMPLICIT)
    async with calling(port, GET, CT) as peer:
        for one in range(OUTSTANDING):
            await peer.send(message(1, m.CGetRQ(message_id=one + 1, affected_sop_class_uid=GET), data))
        while True:
            await peer.send(message(1, m.CCancelRQ(message_id_being_responded_to=9999), b""))
            await asyncio.sleep(1)


async def crowd(port: int, number: int) -> None:
    """Idle associations by the hundred, and more where one is refused."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(IDLE // PEERS):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await stack.enter_async_context(calling(port, FIND))
        await asyncio.sleep(PATIENCE)


Scenario = Callable[[int, int], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    one.__name__: one for one in (nothing, counts, wildcards, broken, items, unread, crowd)
}


async def attack(port: int, name: str, count: int) -> None:
    """So many peers at once, each anew where the server ends it, until there is none."""

    async def peer(number: int) -> None:
        while True:
            try:
                await SCENARIOS[name](port, number)
            except ConnectionRefusedError:
                return
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.05)

    await asyncio.gather(*map(peer, range(count)))


# --- the client beside them


@dataclass(slots=True)
class Waited:
    """The longest that each kind of answer took, in seconds, and what went wrong."""

    rounds: int = 0
    longest: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    memory: int = 0
    stopping: float = 0.0


async def neighbour(port: int, seconds: float, memory: Callable[[], int]) -> Waited:
    """Echo, ask and store, one after the other."""
    waited = Waited()
    until = time.monotonic() + seconds

    def calling_ours() -> aiodicom.Pacs:
        return aiodicom.connect("127.0.0.1", port, called_ae="ARCHIVE")

    async def timed(name: str, work: Awaitable[bool]) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                right = await work
        except (TimeoutError, aiodicom.AiodicomError) as error:
            waited.wrong.append(f"{name}: {error or type(error).__name__}")
        else:
            if not right:
                waited.wrong.append(f"{name}: not what was asked for")
        waited.longest[name] = max(waited.longest.get(name, 0.0), time.monotonic() - begun)

    async def echo() -> bool:
        async with calling_ours() as pacs:
            return await pacs.echo() == 0

    async def ask() -> bool:
        async with calling_ours() as pacs:
            return len(await pacs.find("STUDY", {"StudyInstanceUID": STUDY})) == 1

    async def store() -> bool:
        async with calling_ours() as pacs:
            return (await pacs.store(dataset(f"1.2.8.{waited.rounds}"))).ok

    while time.monotonic() < until or not waited.rounds:
        waited.rounds += 1
        for name, work in (("echo", echo), ("find", ask), ("store", store)):
            await timed(name, work())
        waited.memory = max(waited.memory, memory())
        await asyncio.sleep(0.05)
    return waited


def dataset(uid: str) -> Dataset:
    """A small object of a study of its own."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, uid
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.8", "1.2.8.1"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(IMPLICIT)
    return made


def fill(folder: Path, objects: int) -> None:
    """An archive of so many objects of one patient."""
    with Archive(folder, durability="rename") as archive:
        waiting = []
        for number in range(objects):
            uid = f"1.2.3.1.{number}"
            sink = archive.sink(sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=IMPLICIT)
            data = image(uid, size=1000, PatientID="P1", PatientName="Bench^Mark", SeriesDescription="one")
            sink.write(memoryview(data))
            waiting.append(sink.committed())
        for one in waiting:
            one.result()


# --- both


def measured(name: str, count: int, seconds: float, objects: int) -> Waited:
    """What the client waited while so many peers did that."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "archive"
        fill(folder, objects)

        def command(port: int) -> list[str]:
            return [sys.executable, "-m", "aiodicom", "serve", str(folder), "--port", str(port)]

        with servers.launch("aiodicom", "ARCHIVE", Path(place) / "aiodicom", command) as server:
            process = psutil.Process(server.process.pid)
            hostile = [sys.executable, __file__, "attack", str(server.port), name, str(count)]
            with subprocess.Popen(hostile) as attackers:
                try:
                    time.sleep(min(1.0, seconds))  # they are under way
                    waited = asyncio.run(
                        neighbour(server.port, seconds, lambda: int(process.memory_info().rss))
                    )
                    begun = time.monotonic()
                    server.process.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        server.process.wait(STOPPING)
                    waited.stopping = time.monotonic() - begun
                finally:
                    attackers.kill()
    if waited.stopping >= STOPPING:
        waited.wrong.append(f"it had not stopped after {STOPPING:.0f} s")
    if waited.memory > MEMORY:
        waited.wrong.append(f"it took {waited.memory / 1e6:.0f} MB")
    return waited


def table(names: Sequence[str], count: int, seconds: float, objects: int, wrong: list[str]) -> Iterator[str]:
    """One line each, the longest waits in milliseconds; `wrong` takes what went wrong."""
    yield f"| longest ms, beside {count} peers | rounds | echo | find | store | server MB | stopped in s |"
    yield "|---|---|---|---|---|---|---|"
    for name in names:
        found = measured(name, count, seconds, objects)
        waits = " | ".join(f"{found.longest[one] * 1e3:.0f}" for one in ("echo", "find", "store"))
        mark = f" ({len(found.wrong)} wrong)" if found.wrong else ""
        wrong += [f"{name}: {one}" for one in dict.fromkeys(found.wrong)]
        yield f"| {name}{mark} | {found.rounds} | {waits} | {found.memory / 1e6:.0f} | {found.stopping:.1f} |"


def main() -> int:
    """The script, or the process of the peers."""
    match sys.argv[1:]:
        case ["attack", port, name, count]:
            asyncio.run(attack(int(port), name, int(count)))
        case arguments:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
            parser = argparse.ArgumentParser(
                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            parser.add_argument("--seconds", type=float, default=5)
            parser.add_argument("--peers", type=int, default=PEERS)
            parser.add_argument("--objects", type=int, default=OBJECTS)
            parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
            options = parser.parse_args(arguments)
            wrong: list[str] = []
            names = options.scenarios or list(SCENARIOS)
            for line in table(names, options.peers, options.seconds, options.objects, wrong):
                print(line, flush=True)
            print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
            return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
