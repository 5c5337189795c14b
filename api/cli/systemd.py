"""What a service manager is told (sd_notify(3)): nothing, where it does not ask."""

from __future__ import annotations

import os
import socket

STARTING_EXTENSION = 60
"""Seconds a start that goes on asks for at each sign of it."""


def notify(state: str) -> None:
    """Send `state` (``READY=1``) to the socket NOTIFY_SOCKET names, if it names one that is there."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)  # a manager that does not read must not hold the service
        try:
            out.sendto(state.encode(), name)
        except OSError:  # it is gone or full: a service runs on without it
            return


def still_starting(done: int, of: int) -> None:
    """A start that reads its objects goes on: `done` of `of` are read."""
    notify(f"STATUS=indexing: {done} of {of} objects\nEXTEND_TIMEOUT_USEC={STARTING_EXTENSION * 1_000_000}")
