"""The programs of docs/servers.md do what the page says."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from archive_objects import stored
from pydicom import dcmread
from wire import ct, free_port

PAGE = Path(__file__).parents[2] / "docs" / "servers.md"


def block(name: str) -> dict[str, Any]:
    """The names of the block that defines a function."""
    found = [
        one for one in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if f"def {name}(" in one
    ]
    names: dict[str, Any] = {"aiodicom": aiodicom, "tempfile": tempfile}
    exec(found[0], names)
    return names


async def asked(serving: Any, port: int, work: Any) -> Any:
    """What some work with the server comes to, once it listens."""
    task = asyncio.create_task(serving(port))
    try:
        while True:
            assert not task.done(), task.exception()
            if await aiodicom.test_connection("127.0.0.1", port):
                async with aiodicom.connect("127.0.0.1", port) as pacs:
                    return await work(pacs)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def store(pacs: aiodicom.Pacs) -> aiodicom.StoreReport:
    return await pacs.store([ct("1.2.3.1.1", size=100_000)])


async def test_the_storage_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "received").mkdir()
    assert (await asked(block("keep")["store"], free_port(), store)).ok
    (path,) = (tmp_path / "received").iterdir()
    assert dcmread(path).SOPInstanceUID == "1.2.3.1.1"


async def test_the_worklist_server() -> None:
    class Database:
        async def scheduled(self) -> list[Any]:
            return [ct("1.2.3.1.1")]

    names = block("worklist")
    names["database"] = Database()
    service = aiodicom.WorklistService(names["items"])
    assert "1.2.840.10008.5.1.4.31" in service.supported().syntaxes
    assert [one.PatientID for one in await names["items"](None)] == ["P1"]
    assert await asked(names["worklist"], free_port(), lambda pacs: pacs.echo()) == 0


async def test_the_gateway(tmp_path: Path) -> None:
    async with aiodicom.serve_archive(tmp_path, port=0) as archive:
        names = block("gateway")

        class Here:
            """The archive in the place of the page's."""

            StorageService, serve = aiodicom.StorageService, staticmethod(aiodicom.serve)

            @staticmethod
            def create_pool(host: str, port: int) -> Any:
                return aiodicom.create_pool("127.0.0.1", archive.port)

        names["aiodicom"] = Here
        assert (await asked(names["gateway"], free_port(), store)).ok
        assert list(stored(tmp_path / "objects")) == ["1.2.3.1.1"]
