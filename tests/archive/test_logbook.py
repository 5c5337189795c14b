"""What a server's log says of its peers: every cause, once, and no more than a peer may fill."""

from __future__ import annotations

import logging

import pytest
from aiodicom.archive import logbook
from aiodicom.archive.logbook import Logbook
from wire import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock, caplog: pytest.LogCaptureFixture) -> Logbook:
    caplog.set_level(logging.INFO, "test.logbook")
    return Logbook(logging.getLogger("test.logbook"), clock)


def test_the_same_thing_is_said_once_a_window(
    book: Logbook, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(1000):
        book.note("rejected", "a", "why")
    clock.now = logbook.WINDOW
    book.note("rejected", "a", "why")
    assert caplog.messages == ["a: why", "a: why (999 more like it were not logged)"]


def test_another_cause_or_another_peer_is_said(book: Logbook, caplog: pytest.LogCaptureFixture) -> None:
    for peer in ("a", "b"):
        for why in ("expired", "missing", "expired"):
            book.note("handshake", peer, why)
    assert caplog.messages == ["a: expired", "a: missing", "b: expired", "b: missing"]


def test_a_peer_that_makes_up_causes_does_not_fill_the_log(
    book: Logbook, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        book.note("aborted", "a", f"a PDU of {number} bytes")
    assert len(caplog.messages) == logbook.DIFFERENT
    clock.now = logbook.WINDOW
    book.note("aborted", "a", "something else")
    assert (
        caplog.messages[-1] == f"a: something else ({1000 - logbook.DIFFERENT} more like it were not logged)"
    )


def test_what_is_remembered_is_bounded(book: Logbook, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2 * logbook.REMEMBERED):
        book.note("silent", f"10.0.{number >> 8}.{number & 255}", "why")
    assert len(book._seen) == logbook.REMEMBERED
