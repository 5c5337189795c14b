"""What systemd hears of a start."""

from __future__ import annotations

import socket

import pytest
from aiodicom.cli.systemd import notify, still_starting


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield bound


def test_what_is_told(manager):
    notify("READY=1")
    still_starting(1000, 5000)
    assert manager.recv(1000) == b"READY=1"
    assert manager.recv(1000).splitlines() == [
        b"STATUS=indexing: 1000 of 5000 objects",
        b"EXTEND_TIMEOUT_USEC=60000000",
    ]


def test_an_abstract_socket(monkeypatch, tmp_path):
    name = f"aiodicom-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + name)
        bound.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("STOPPING=1")
        assert bound.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@nobody-is-here"])
def test_nobody_listens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_a_manager_that_does_not_read_holds_nobody(manager):
    for _ in range(5000):
        notify("STATUS=x")
