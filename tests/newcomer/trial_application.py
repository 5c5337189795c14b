"""The first hour of an author of an asynchronous application: errors, cancelling, sources, a pool."""

import asyncio
import io
import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path

import aiodicom
from aiodicom.imaging.phantom import write_series


@contextmanager
def raised(kind: type[Exception], words: str):
    """What is inside raises this, in these words."""
    try:
        yield
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


async def nobody_is_there() -> None:
    with raised(aiodicom.ConnectionRefused, "ANY-SCP@127.0.0.1:1"):
        await aiodicom.connect("127.0.0.1", 1)
    with raised(aiodicom.HostUnknown, "does not resolve"):
        await aiodicom.connect("no-such-host.invalid", 104)


async def main() -> None:
    folder = Path(tempfile.mkdtemp())
    write_series(folder / "series", slices=4, rows=16, columns=16)
    files = sorted((folder / "series").iterdir())
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("aiodicom").addHandler(handler)
    logging.getLogger("aiodicom").setLevel(logging.INFO)
    await nobody_is_there()
    async with aiodicom.serve_archive(folder / "archive", port=0) as server:
        async with aiodicom.connect("127.0.0.1", server.port) as pacs:
            assert await pacs.echo() == 0
            sources = [files[0], files[1].read_bytes(), io.BytesIO(files[2].read_bytes())]
            report = await pacs.store(sources)
            assert report.ok and report.stored_count == 3, report.items

            async def more():
                yield files[3]

            assert (await pacs.store(more())).ok
            with raised(aiodicom.QueryError, "PatientNaem"):
                await pacs.find("STUDY", {"PatientNaem": "X"})
            async for study in pacs.find("STUDY"):
                uid = study.StudyInstanceUID
            task = asyncio.ensure_future(pacs.get("STUDY", uid, directory=folder / "cancelled"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            result = await pacs.get("STUDY", uid, directory=folder / "out")
            assert result.ok and len(result.files) == 4, result
        async with aiodicom.create_pool("127.0.0.1", server.port, max_size=2) as pool:
            assert all(await asyncio.gather(*(pool.find("STUDY") for _ in range(8))))
        stats = server.stats()
        assert stats.requests["C-STORE", 0] == 4, stats
        hurried = aiodicom.Timeouts(total=1e-6)
        with raised(aiodicom.TotalTimeout, "longer than 1e-06 s"):
            async with aiodicom.connect("127.0.0.1", server.port, timeouts=hurried) as pacs:
                await pacs.echo()
    assert any("association" in one for one in records), records
    print("application: done")


asyncio.run(main())
