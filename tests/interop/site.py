"""The peers of a whole test session: each started when first asked for, archives filled by our client."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiodicom
from interop.peers import HOST, PKI, Peer, dcmqrscp, orthanc, pynetdicom_scp, require_peer, storescp
from interop.samples import Samples

PROGRAMS = {"storescp": "storescp", "orthanc": "Orthanc", "dcmqrscp": "dcmqrscp", "pynetdicom": "pynetdicom"}
OUR_AE = "AIODICOM"
TIMEOUTS = aiodicom.Timeouts(connect=10, association=20, inactivity=30, total=60)

T = TypeVar("T")


def reserved_port() -> int:
    """A free port below those the kernel gives out, so that it is still free when it is listened on."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port


def run_apart(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in an event loop of a thread of its own."""
    outcome: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(make()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def connect(peer: Peer, **options: Any) -> aiodicom.Pacs:
    """Our client, called as the peers' configurations know it."""
    options = {"calling_ae": OUR_AE, "called_ae": peer.ae_title, "timeouts": TIMEOUTS} | options
    return aiodicom.connect(HOST, peer.port, **options)


class Site:
    """Archives that know these application entities by port: a storescp, our archive, our client."""

    def __init__(self, folder: Path, samples: Samples, pki: PKI) -> None:
        self.samples = samples
        self.pki = pki
        self.ports = {name: reserved_port() for name in ("STORESCP", "OURS", OUR_AE)}
        self.reports: dict[str, aiodicom.StoreReport] = {}
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._running: dict[str, Peer] = {}

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()

    def storescp(self) -> Peer:
        """DCMTK's receiver, which the archives know as STORESCP; emptied."""
        require_peer("storescp")
        if "STORESCP" not in self._running:
            self._running["STORESCP"] = self._stack.enter_context(
                storescp(self._folder / "storescp", port=self.ports["STORESCP"])
            )
        peer = self._running["STORESCP"]
        for path in peer.directory.iterdir():
            path.unlink()
        return peer

    def archive(self, program: str, *, secure: bool = False) -> Peer:
        """An archive that holds the samples, stored by our client; `secure` has it speak mutual TLS."""
        require_peer(PROGRAMS[program])
        name = f"{program}-tls" if secure else program
        if name not in self._running:
            tls = self.pki.server if secure else None
            folder = self._folder / name
            if program == "orthanc":
                started = orthanc(folder, modalities=self.ports, tls=tls, http=True)
            elif program == "dcmqrscp":
                started = dcmqrscp(folder, destinations=self.ports, tls=tls)
            else:
                started = pynetdicom_scp(folder, destinations=self.ports, tls=tls)
            peer = self._stack.enter_context(started)
            self.reports[name] = run_apart(lambda: self._fill(peer))
            self._running[name] = peer
        return self._running[name]

    async def _fill(self, peer: Peer) -> aiodicom.StoreReport:
        async with connect(peer, tls=self.client_context() if peer.tls else None) as pacs:
            return await pacs.store(self.samples.folder)

    def client_context(self) -> Any:
        """Our client's end of mutual TLS."""
        return aiodicom.client_context(self.pki.client.key, self.pki.client.cert, self.pki.ca)

    def server_context(self) -> Any:
        """Our server's end of mutual TLS."""
        return aiodicom.server_context(self.pki.server.key, self.pki.server.cert, self.pki.ca)
