"""One search of the index: it can be given up at any moment, and holds no connection between its steps."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from .errors import GivenUp


class Readable(Protocol):
    """What a search asks of the index."""

    def reader(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection, for as long as the context lasts."""


class Search:
    """Runs on one thread at a time; `give_up` may be called from any."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._between = threading.Lock()  # the end of a step and its interruption

    @property
    def given_up(self) -> bool:
        """Whether anybody has said so."""
        return self._given_up.is_set()

    def check(self) -> None:
        """To be called every few milliseconds of work. Raises GivenUp."""
        if self._given_up.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """Stop the step that is running on another thread, even inside one statement. Waits for nothing."""
        self._given_up.set()
        with self._between:
            if self._connection is not None:
                self._connection.interrupt()

    @contextmanager
    def step(self, index: Readable) -> Iterator[sqlite3.Connection]:
        """A part of the search, with a connection for its time alone. Raises GivenUp."""
        self.check()
        with index.reader() as connection:
            with self._between:
                self._connection = connection
            try:
                self.check()
                yield connection
            except sqlite3.OperationalError:
                self.check()  # then it was interrupted
                raise
            finally:
                with self._between:
                    self._connection = None

    @property
    def connection(self) -> sqlite3.Connection:
        """That of the step which is running."""
        assert self._connection is not None
        return self._connection
