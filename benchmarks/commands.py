"""The client commands that are raced: of ours, DCMTK's and pynetdicom's, each for a server and a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from interop import peers
from measure import ANSWER_KEYS

PYTHON = sys.executable
STEADY_SCRIPT = str(Path(__file__).with_name("steady.py"))
Client = Callable[[peers.Peer, Path], list[str]]
"""A command for a server and a folder: to send, or to receive into."""
PDU = ["-pdu", "131072"]


def steady(*work: str) -> Client:
    """Our library in a process of its own; `{}` in `work` becomes the folder."""

    def command(server: peers.Peer, folder: Path) -> list[str]:
        words = [word.format(folder) for word in work]
        return [PYTHON, STEADY_SCRIPT, "127.0.0.1", str(server.port), server.ae_title, *words]

    return command


def aiodicom_store(*more: str) -> Client:
    def command(server: peers.Peer, source: Path) -> list[str]:
        title = ["--called", server.ae_title, *more]
        return [PYTHON, "-m", "aiodicom", "store", "localhost", str(server.port), str(source), *title]

    return command


def aiodicom_get(study: str, *more: str) -> Client:
    def command(server: peers.Peer, out: Path) -> list[str]:
        options = ["--level", "STUDY", "--root", "STUDY", "--called", server.ae_title, "--out", str(out)]
        return [PYTHON, "-m", "aiodicom", "get", "localhost", str(server.port), study, *options, *more]

    return command


def aiodicom_echo(server: peers.Peer, folder: Path) -> list[str]:
    return [PYTHON, "-m", "aiodicom", "echo", "localhost", str(server.port), "--called", server.ae_title]


def dcmtk_store(tls: peers.TLSFiles | None = None) -> Client:
    def command(server: peers.Peer, source: Path) -> list[str]:
        title = server.ae_title
        return list(peers.storescu(server.port, [source], called=title, tls=tls, extra=PDU).argv)

    return command


def dcmtk_get(study: str) -> Client:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}

    def command(server: peers.Peer, out: Path) -> list[str]:
        return list(peers.getscu(server.port, keys, out, called=server.ae_title, extra=PDU).argv)

    return command


def dcmtk_find(study: str) -> Client:
    keys = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": study} | dict.fromkeys(ANSWER_KEYS, "")

    def command(server: peers.Peer, folder: Path) -> list[str]:
        found = list(peers.findscu(server.port, keys, called=server.ae_title).argv)
        return [one for one in found if one != "-v"]  # its log of each answer is no part of the race

    return command


def dcmtk_echo(count: int) -> Client:
    def command(server: peers.Peer, folder: Path) -> list[str]:
        repeat = ["--repeat", str(count)]
        return list(peers.echoscu(server.port, called=server.ae_title, extra=repeat).argv)

    return command


def pynetdicom_store(server: peers.Peer, source: Path) -> list[str]:
    paths = sorted(source.iterdir())
    return list(peers.pynetdicom_scu("store", server.port, called=server.ae_title, paths=paths).argv)


def pynetdicom_get(study: str) -> Client:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": study}

    def command(server: peers.Peer, out: Path) -> list[str]:
        made = peers.pynetdicom_scu("get", server.port, called=server.ae_title, keys=keys, directory=out)
        return list(made.argv)

    return command
