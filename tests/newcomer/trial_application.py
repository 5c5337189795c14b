"""The first hour of an author of an asynchronous application: errors, cancelling, sources, a pool."""

import asyncio
import io
import logging
import tempfile
from pathlib import Path

import aiodicom
from aiodicom.imaging.phantom import write_series


async def nobody_is_there() -> None:
    try:
        await aiodicom.connect("127.0.0.1", 1)
    except aiodicom.ConnectionRefused as error:
        assert "ANY-SCP@127.0.0.1:1" in str(error), error
    try:
        await aiodicom.connect("no-such-host.invalid", 104)
    except aiodicom.HostUnknown as error:
        assert "does not resolve" in str(error), error


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
            try:
                await pacs.find("STUDY", {"PatientNaem": "X"})
            except aiodicom.QueryError as error:
                assert "PatientNaem" in str(error)
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
        try:
            async with aiodicom.connect(
                "127.0.0.1", server.port, timeouts=aiodicom.Timeouts(total=1e-6)
            ) as pacs:
                await pacs.echo()
        except aiodicom.TotalTimeout as error:
            assert (error.limit, error.seconds) == ("total", 1e-6)
    assert any("association" in one for one in records), records
    print("application: done")


asyncio.run(main())
