"""Stored objects decompressed for a peer that takes them in no other way, in a few processes of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ..dataset.errors import ImagingError
from ..dataset.instance import Instance
from ..pdu.uids import EXPLICIT_VR_LITTLE_ENDIAN
from .tasks import on_thread, to_its_end

log: logging.Logger = logging.getLogger("aiodicom.decompressing")

IDLE = 10.0
"""Seconds a process waits for another object: starting one takes longer than most objects."""


class Decompressor:
    """Decodes on `processes` at once at most; each is started when it is needed and ends when it is idle.

    max_decoded: bytes of native pixel data an object may have; a process may use four times that and 1 GiB.
    timeout: seconds an object may take; the process is killed then.
    """

    def __init__(self, processes: int, max_decoded: int, timeout: float) -> None:
        self._max_decoded = max_decoded
        self._timeout = timeout
        self._free = asyncio.Semaphore(processes)
        self._idle: list[tuple[asyncio.subprocess.Process, asyncio.TimerHandle]] = []
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def decompressed(self, item: Instance) -> AsyncGenerator[Instance, None]:
        """The object in explicit VR little endian, in a temporary file that is there as long as this lasts.

        Raises ImagingError (it cannot be decompressed, or not in its time and memory), OSError.
        """
        target = await on_thread(_temporary, unwanted=Path.unlink)
        try:
            size = await self._decode(item, target)
            yield replace(
                item,
                path=target,
                transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
                data_offset=0,
                data_size=size,
            )
        finally:  # it may be large
            await to_its_end(on_thread(lambda: target.unlink(missing_ok=True)))

    async def _decode(self, item: Instance, target: Path) -> int:
        asked = {
            "source": os.fspath(item.path.absolute()),
            "offset": item.data_offset,
            "syntax": item.transfer_syntax_uid,
            "target": os.fspath(target),
        }
        async with self._free:
            process = await self._process()
            answer = b""
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                async with asyncio.timeout(self._timeout):
                    process.stdin.write(json.dumps(asked).encode() + b"\n")
                    answer = await process.stdout.readline()
            except TimeoutError:
                raise ImagingError(f"it cannot be decompressed: it took over {self._timeout:g} s") from None
            except ConnectionError:  # as one that ended before it answered
                answer = b""
            finally:
                if answer.endswith(b"\n"):
                    self._rest(process)
                else:
                    await _end(process)
        if not answer.endswith(b"\n"):
            raise ImagingError("it cannot be decompressed: the decoder crashed")
        told = json.loads(answer)
        if "error" in told:
            raise ImagingError(str(told["error"]))
        return int(told["size"])

    async def _process(self) -> asyncio.subprocess.Process:
        while self._idle:
            process, timer = self._idle.pop()
            timer.cancel()
            assert process.stdin is not None
            if process.returncode is None and not process.stdin.is_closing():
                return process
            await _end(process)  # it was idle too long, and may be ending
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing of the folder we happen to be in
            "-m",
            "aiodicom.dataset.decompress",
            str(self._max_decoded),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # decoders quote what they read
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )

    def _rest(self, process: asyncio.subprocess.Process) -> None:
        timer = self._loop.call_later(IDLE, _close_input, process)
        self._idle.append((process, timer))

    async def close(self) -> None:
        """End the processes. Nothing is decompressed any more."""
        while self._idle:
            process, timer = self._idle.pop()
            timer.cancel()
            await _end(process)


def _temporary() -> Path:
    descriptor, name = tempfile.mkstemp(prefix="aiodicom-", suffix=".native")
    os.close(descriptor)
    return Path(name)


def _close_input(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()  # it reads the end and ends


async def _end(process: asyncio.subprocess.Process) -> None:
    _close_input(process)
    if process.returncode is None:
        process.kill()
    await process.wait()
