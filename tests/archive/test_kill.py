"""kill -9 of a serving process at random moments under load: what was answered with success is there."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.dataset.part10 import read_header
from aiodicom.dimse import messages as m
from aiodicom.dimse.levels import Root
from aiodicom.testing import ScriptError
from archive_objects import files_below
from wire import IMPLICIT, calling, ct, hear, identifier, implicit, say, store_request

SERVE = """
import asyncio, sys
from aiodicom.server.archive_service import serve_archive

async def main():
    async with serve_archive(sys.argv[1], port=0, durability=sys.argv[2]) as server:
        print(server.port, flush=True)
        await server.serve_forever()

asyncio.run(main())
"""
ROUNDS = 6
SENDERS = 6


class Ledger:
    """What was sent, and what of it was answered with success."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(seed)
        self.sent: dict[str, bytes] = {}
        self.answered: set[str] = set()
        self.enough = asyncio.Event()
        self.wanted = 0

    def next_object(self) -> tuple[str, bytes]:
        """A new object, or now and then one that was sent already."""
        if self.sent and self.dice.random() < 0.1:
            uid = self.dice.choice(list(self.sent))
            return uid, self.sent[uid]
        number = len(self.sent) + 1
        study = f"1.2.3.{number % 7}"
        uid = f"{study}.1.{number}"
        size = self.dice.choice((0, 100, 10_000, 100_000, 1_000_000))
        data = implicit(ct(uid, size=size, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1"))
        self.sent[uid] = data
        return uid, data

    def success(self, uid: str) -> None:
        self.answered.add(uid)
        self.wanted -= 1
        if self.wanted <= 0:
            self.enough.set()


async def send(server: object, ledger: Ledger) -> None:
    """Store until the server is gone."""
    with suppress(ScriptError, OSError, asyncio.IncompleteReadError):
        async with calling(server, [("1.2.840.10008.5.1.4.1.1.2", [IMPLICIT])]) as peer:
            for message_id in range(1, 60000):
                uid, data = ledger.next_object()
                await say(peer, 1, store_request(message_id, uid), data)
                answer = (await hear(peer, m.CStoreRSP)).message
                assert answer.status == 0
                ledger.success(uid)


async def one_life(folder: Path, durability: str, ledger: Ledger) -> None:
    """Start a server, load it, kill it after some answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(folder), durability, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        server = SimpleNamespace(port=int(await asyncio.wait_for(process.stdout.readline(), 60)))
        ledger.enough.clear()
        ledger.wanted = ledger.dice.randrange(1, 40)
        senders = [asyncio.ensure_future(send(server, ledger)) for _ in range(SENDERS)]
        await asyncio.wait_for(ledger.enough.wait(), 60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.wait_for(asyncio.gather(*senders), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def check(folder: Path, ledger: Ledger) -> None:
    """Reopened, index and files agree with each other and with what was sent; nothing answered is missing."""
    with Archive(folder) as archive:
        assert files_below(folder / "incoming") == ["journal"]
        on_disk = {Path(name).stem: folder / "objects" / name for name in files_below(folder / "objects")}
        for uid, path in on_disk.items():
            raw = path.read_bytes()
            header = read_header(path)
            assert header.sop_instance_uid == uid
            assert raw[header.data_offset :] == ledger.sent[uid], f"{uid} is not as it was sent"
        assert ledger.answered <= on_disk.keys()
        query = identifier("IMAGE", SOPInstanceUID="")
        listed = [str(one.SOPInstanceUID) for one in archive.find(Root.PATIENT, None, query)]
        assert sorted(listed) == sorted(on_disk)
        assert archive.counts().instances == len(on_disk)
        assert files_below(folder / "conflicts") == []


@pytest.mark.parametrize("durability", ["fsync", "rename"])
@pytest.mark.slow
async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path, durability: str) -> None:
    ledger = Ledger(durability)
    for number in range(ROUNDS):
        await one_life(tmp_path, durability, ledger)
        if number % 2:  # every other time the next server itself has to clean up
            await asyncio.to_thread(check, tmp_path, ledger)
    await asyncio.to_thread(check, tmp_path, ledger)
    assert len(ledger.answered) >= ROUNDS
