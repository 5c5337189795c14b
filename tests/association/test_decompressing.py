"""Processes that decompress: as many as allowed, ended when they hang, crash, are idle or not wanted."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from aiodicom.association import decompressing
from aiodicom.association.decompressing import Decompressor
from aiodicom.association.stores import Outcome, StoreRun
from aiodicom.client.connect import connect
from aiodicom.dataset.convert import convert
from aiodicom.dataset.errors import ImagingError
from aiodicom.dataset.instance import Instance
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import Context
from aiodicom.server.archive_service import serve_archive
from aiodicom.server.limits import ServerLimits
from aiodicom.server.listener import serve
from archive_objects import BIG, CT, EXPLICIT, IMPLICIT, RLE, compressed, encode, picture
from wire import (
    PATIENCE,
    OnlyOne,
    calling,
    got,
    hear,
    on_each_loop,
    say,
    store_request,
)

LIMIT = 1 << 20
MPEG2 = "1.2.840.10008.1.2.4.100"  # of which pydicom knows no decoder
SLEEPER = "import sys, time\nfor line in sys.stdin:\n    time.sleep(1000)\n"
CRASHER = "import os, sys\nfor line in sys.stdin:\n    os.abort()\n"


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "decompress" in " ".join(command(one))]


def command(process: psutil.Process) -> list[str]:
    """Of one that has ended meanwhile, nothing is left of it."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a zombie is one of these
        return []


def stored(tmp_path: Path, syntax: str = RLE) -> tuple[Instance, bytes]:
    data = compressed(picture())
    path = tmp_path / "a"
    path.write_bytes(data)
    return Instance(path, CT, "1.2.3.1.1", syntax, 0, len(data)), encode(picture())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@on_each_loop
async def test_one_process_decodes_one_object_after_the_other(tmp_path: Path, temporary: Path) -> None:
    item, expected = stored(tmp_path)
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    try:
        async with decompressor.decompressed(item) as native:
            [process] = children()
            assert native.path.read_bytes() == expected
            assert (native.transfer_syntax_uid, native.data_size) == (EXPLICIT, len(expected))
            assert native.path.stat().st_mode & 0o77 == 0
        assert not list(temporary.iterdir())
        both = [decompressor.decompressed(item) for _ in range(2)]
        await asyncio.gather(*(one.__aenter__() for one in both))
        assert children() == [process]
        for one in both:
            await one.__aexit__(None, None, None)
    finally:
        await decompressor.close()
    assert not children()
    assert not list(temporary.iterdir())


async def test_what_was_cancelled_while_it_was_decoded_is_not_sent(tmp_path: Path, temporary: Path) -> None:
    item, _ = stored(tmp_path)
    asked: list[int] = []

    def wanted() -> bool:  # not any more, once it is decoded
        asked.append(len(list(temporary.iterdir())))
        return not asked[-1]

    nobody = SimpleNamespace(
        connection=SimpleNamespace(taken=lambda: 0),
        session=SimpleNamespace(window=SimpleNamespace(invoked=1)),
        contexts={1: Context(1, CT, EXPLICIT)},
        invoke=None,  # which is not called
    )
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    told: list[Outcome] = []
    run = StoreRun(
        association=nobody,  # type: ignore[arg-type]
        done=told.append,
        wanted=wanted,
        convert=True,
        decompressor=decompressor,
    )
    try:
        await run.run([item])
    finally:
        await decompressor.close()
    assert (asked, told) == ([0, 1], [])
    assert not list(temporary.iterdir())


async def test_what_a_process_says_of_an_object_fails_that_object(tmp_path: Path, temporary: Path) -> None:
    item, _ = stored(tmp_path, MPEG2)
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    try:
        with pytest.raises(ImagingError, match="no decoder for MPEG2"):
            async with decompressor.decompressed(item):
                pass
        assert len(children()) == 1
    finally:
        await decompressor.close()
    assert not list(temporary.iterdir())


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs another program in the decoder's place."""
    real = asyncio.create_subprocess_exec

    def put(text: str) -> None:
        script = tmp_path / "decompress_instead.py"
        script.write_text(text)

        async def instead(executable, *_arguments, **options):
            return await real(executable, str(script), **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)

    return put


@pytest.mark.parametrize(
    ("text", "words"),
    [(SLEEPER, r"over 0\.2 s"), (CRASHER, "crashed"), ("print('no line', end='')", "crashed")],
)
async def test_a_process_that_hangs_or_crashes(tmp_path: Path, temporary: Path, program, text, words) -> None:
    program(text)
    item, _ = stored(tmp_path)
    decompressor = Decompressor(1, LIMIT, 0.2 if text == SLEEPER else PATIENCE)
    for _ in range(2):
        with pytest.raises(ImagingError, match=words):
            async with decompressor.decompressed(item):
                pass
        assert not children()
    await decompressor.close()
    assert not list(temporary.iterdir())


async def test_one_that_is_given_up_is_killed(tmp_path: Path, temporary: Path, program) -> None:
    program(SLEEPER)
    item, _ = stored(tmp_path)
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    task = asyncio.ensure_future(decompressor.decompressed(item).__aenter__())
    async with asyncio.timeout(PATIENCE):
        while not children():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not children()
    await decompressor.close()
    assert not list(temporary.iterdir())


async def test_an_idle_process_ends_and_one_that_died_is_replaced(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, expected = stored(tmp_path)
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    try:
        async with decompressor.decompressed(item):
            pass
        [process] = children()
        os.kill(process.pid, signal.SIGKILL)
        await decompressor._idle[0][0].wait()
        monkeypatch.setattr(decompressing, "IDLE", 0.05)
        async with decompressor.decompressed(item) as native:
            assert native.path.read_bytes() == expected
        async with asyncio.timeout(PATIENCE):
            while children():
                await asyncio.sleep(0.01)
    finally:
        await decompressor.close()


async def test_one_that_was_idle_too_long_is_asked_nothing(
    tmp_path: Path, temporary: Path, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to end."""
    program(
        "import sys, time\n"
        "while line := sys.stdin.readline():\n"
        "    print('{\"size\": 7}', flush=True)\n"
        "time.sleep(1000)\n"
    )
    monkeypatch.setattr(decompressing, "IDLE", 0.01)
    item, _ = stored(tmp_path)
    decompressor = Decompressor(1, LIMIT, PATIENCE)
    try:
        for _ in range(3):
            async with decompressor.decompressed(item) as native:
                assert native.data_size == 7
            process, _timer = decompressor._idle[0]
            assert process.stdin is not None
            async with asyncio.timeout(PATIENCE):
                while not process.stdin.is_closing():
                    await asyncio.sleep(0.01)
            assert process.returncode is None
            assert len(children()) == 1
    finally:
        await decompressor.close()
    assert not children()


def archive_of(count: int) -> dict[str, bytes]:
    """So many objects compressed, and one that cannot be decoded, by UID."""
    found = {}
    for number in range(count):
        dataset = picture()
        dataset.SOPInstanceUID = f"1.2.3.1.{number}"
        found[str(dataset.SOPInstanceUID)] = compressed(dataset)
    return found


def native(number: int, syntax: str = EXPLICIT) -> bytes:
    """What is to come of it."""
    dataset = picture()
    dataset.SOPInstanceUID = f"1.2.3.1.{number}"
    data = encode(dataset)
    if syntax == EXPLICIT:
        return data
    return b"".join(part for part, _ in convert(data, EXPLICIT, syntax).parts(memoryview(data), 8192))


def no_decoder(uid: str) -> bytes:
    """What is stored as something that no decoder is there for."""
    dataset = picture()
    dataset.SOPInstanceUID = uid
    return compressed(dataset)


async def put(server, objects: dict[str, bytes], syntax: str = RLE) -> None:
    async with calling(server, [(CT, [syntax])]) as peer:
        for number, (uid, data) in enumerate(objects.items(), 1):
            await say(peer, 1, store_request(number, uid), data)
            assert (await hear(peer, m.CStoreRSP)).message.status == 0


@pytest.mark.parametrize("taken", [EXPLICIT, IMPLICIT, BIG])
async def test_a_get_by_who_takes_nothing_compressed(tmp_path: Path, taken: str) -> None:
    """Each is decompressed, in whatever uncompressed syntax was taken; one that cannot be fails alone."""
    objects = archive_of(3)
    async with serve_archive(tmp_path, port=0) as server:
        await put(server, objects)
        await put(server, {"1.2.3.1.9": no_decoder("1.2.3.1.9")}, MPEG2)
        came, final = await got(server, [taken])
    assert (final.status, final.completed, final.failed) == (0xB000, 3, 1)
    assert came == {f"1.2.3.1.{number}": native(number, taken) for number in range(3)}
    assert not children()


async def test_who_takes_it_compressed_gets_it_so(tmp_path: Path) -> None:
    objects = archive_of(1)
    async with serve_archive(tmp_path, port=0) as server:
        await put(server, objects)
        came, final = await got(server, [RLE])
    assert (final.status, final.completed) == (0, 1)
    assert came == objects


async def test_none_is_decompressed_where_that_is_switched_off(tmp_path: Path) -> None:
    limits = ServerLimits(max_decompressions=0)
    async with serve_archive(tmp_path, port=0, limits=limits) as server:
        await put(server, archive_of(1))
        came, final = await got(server, [EXPLICIT])
    assert (final.status, final.failed, came) == (0xA702, 1, {})


@pytest.mark.parametrize(
    "limits", [ServerLimits(max_decompressed_size=69), ServerLimits(decompression_timeout=0.1)]
)
async def test_the_limits_of_one_object(tmp_path: Path, limits: ServerLimits, program) -> None:
    if limits.decompression_timeout < 1:
        program(SLEEPER)
    async with serve_archive(tmp_path, port=0, limits=limits) as server:
        await put(server, archive_of(1))
        came, final = await got(server, [EXPLICIT])
        assert (final.status, final.failed, came) == (0xA702, 1, {})
    assert not children()


async def test_a_move_to_who_takes_the_default_alone(tmp_path: Path) -> None:
    destination = OnlyOne()
    async with serve(destination, port=0) as there:
        where = {"THERE": ("127.0.0.1", there.port)}
        async with serve_archive(tmp_path, port=0, destinations=where) as server:
            await put(server, archive_of(2))
            async with connect("127.0.0.1", server.port) as pacs:
                result = await pacs.move("PATIENT", "P1", destination="THERE")
    assert result.completed == 2
    assert destination.stored == {f"1.2.3.1.{number}": native(number, IMPLICIT) for number in range(2)}
