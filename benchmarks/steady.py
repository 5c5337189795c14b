"""One operation of the library in a process of its own, which tells what the operation alone took.

    python benchmarks/steady.py HOST PORT AE_TITLE store FOLDER | get STUDY_UID FOLDER [DURABILITY]
                                                  | find STUDY_UID | echo COUNT | associate COUNT

The last line is `STEADY seconds CPU-seconds`. An association is open before the clocks start, but for
`associate`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import aiodicom
import uvloop
from measure import ANSWER_KEYS, STEADY


async def store(pacs: aiodicom.Pacs, folder: str) -> None:
    report = await pacs.store(folder)
    assert report.ok, report


async def get(pacs: aiodicom.Pacs, study: str, folder: str, durability: Any = "fsync") -> None:
    result = await pacs.get("STUDY", study, directory=folder, durability=durability)
    assert result.ok, result


async def find(pacs: aiodicom.Pacs, study: str) -> None:
    count = 0
    async for _ in pacs.find("IMAGE", {"StudyInstanceUID": study}, ANSWER_KEYS):
        count += 1
    assert count, "no answer"


async def echo(pacs: aiodicom.Pacs, count: str) -> None:
    for _ in range(int(count)):
        await pacs.echo()


async def associate(pacs: aiodicom.Pacs, count: str) -> None:
    await pacs.close()  # some servers take one at a time
    peer = pacs.peer
    for _ in range(int(count)):
        async with aiodicom.connect(peer.host, peer.port, called_ae=peer.called_ae):
            pass


WORK = {one.__name__: one for one in (store, get, find, echo, associate)}


async def main(host: str, port: str, title: str, work: str, *arguments: str) -> None:
    """Do it, and tell the times."""
    async with aiodicom.connect(host, int(port), called_ae=title) as pacs:
        await pacs.echo()
        started, cpu = time.perf_counter(), time.process_time()
        await WORK[work](pacs, *arguments)
        print(STEADY, time.perf_counter() - started, time.process_time() - cpu)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
