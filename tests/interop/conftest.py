"""Fixtures of the interoperability tests: real peers and throw-away certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from interop.peers import HOST, PKI, Peers, make_pki
from interop.samples import Samples, make_samples
from interop.site import Site, run_apart


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    """A CA, a server's and a client's certificate, and a foreign CA's, as PEM files."""
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Starts real servers (`peers.orthanc(tls=pki.server)`); they end with the test."""
    running = Peers(tmp_path / "peers")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The objects the archives hold."""
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, samples: Samples, pki: PKI) -> Iterator[Site]:
    """Peers that live for the whole session; tests must leave the archives as they found them."""
    running = Site(tmp_path_factory.mktemp("site"), samples, pki)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    """The folder of an archive of ours that holds the samples."""
    folder = tmp_path_factory.mktemp("ours")

    async def fill() -> None:
        async with (
            aiodicom.serve_archive(folder, host=HOST, port=0, durability="rename") as server,
            aiodicom.connect(HOST, server.port) as pacs,
        ):
            assert (await pacs.store(samples.folder)).ok

    run_apart(fill)
    return folder


@pytest.fixture
async def serving() -> AsyncIterator[Any]:
    """Serves an archive until the end of the test: `server = await serving(folder, ...)`."""
    async with AsyncExitStack() as stack:

        async def start(folder: Path, **options: Any) -> Any:
            options = {"host": HOST, "port": 0, "ae_title": "OURS", "durability": "rename"} | options
            return await stack.enter_async_context(aiodicom.serve_archive(folder, **options))

        yield start
