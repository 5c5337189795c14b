"""How a client gets to call: a command, a coroutine of the same process, or somebody who is asked to."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

QUIET = asyncio.subprocess.DEVNULL


class Call(Protocol):
    """A client that was started."""

    async def ended(self, seconds: float) -> str:
        """Wait for its end: "" in order, "crash", or "hang" when it has not ended by then; it is ended."""
        ...


class Caller(Protocol):
    """Something that makes the client under test call."""

    async def start(self, words: Mapping[str, str]) -> Call:
        """Make it call once; `words` are {host}, {port}, {called}, {file}, {out} and {case}."""
        ...


class CommandCaller:
    """Runs a command line once a case; it is not given to a shell."""

    def __init__(self, command: str, words: Mapping[str, str] | None = None) -> None:
        self._words = shlex.split(command)
        self._more = dict(words or {})
        if not self._words:
            raise ValueError("an empty command")

    async def start(self, words: Mapping[str, str]) -> Call:
        """Start the process. Raises OSError when there is no such program, ValueError for an odd {word}."""
        try:
            made = [word.format_map({**self._more, **words}) for word in self._words]
        except (KeyError, IndexError) as error:
            raise ValueError(f"the command has an unknown word {error}") from None
        return _Process(await asyncio.create_subprocess_exec(*made, stdin=QUIET, stdout=QUIET, stderr=QUIET))


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ended(self, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended this moment
                self._process.kill()
            await self._process.wait()
            return "hang"
        # a signal of POSIX is negative; an exception of Windows has its two highest bits set
        return "crash" if code < 0 or code >= 0xC0000000 else ""


class FunctionCaller:
    """Calls a coroutine function with host and port; exceptions but the expected kinds are a crash."""

    def __init__(
        self,
        call: Callable[[str, int], Awaitable[object]],
        expected: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        self._call = call
        self._expected = expected

    async def start(self, words: Mapping[str, str]) -> Call:
        """Start the coroutine as a task."""

        async def run() -> str:
            try:
                await self._call(words["host"], int(words["port"]))
            except self._expected:
                return ""
            except Exception:  # noqa: BLE001 - whatever else comes out is the finding
                return "crash"
            return ""

        return _Task(asyncio.create_task(run()))


class _Task:
    def __init__(self, task: asyncio.Task[str]) -> None:
        self._task = task

    async def ended(self, seconds: float) -> str:
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        if done:
            return self._task.result()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return "hang"


class PromptCaller:
    """Tells a person what to do and takes what comes; with `each` false it says once where it listens."""

    def __init__(self, say: Callable[[str], None], *, each: bool = True) -> None:
        self._say = say
        self._each = each
        self._said = False

    async def start(self, words: Mapping[str, str]) -> Call:
        """Ask for an association."""
        if self._each:
            self._say(f"{words['case']}: let the client call {words['host']}:{words['port']} now")
        elif not self._said:
            self._say(
                f"listening on {words['host']} port {words['port']}: let the client call again and again"
            )
        self._said = True
        return _Nobody()


class _Nobody:
    async def ended(self, seconds: float) -> str:
        return ""
