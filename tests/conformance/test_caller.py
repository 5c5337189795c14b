"""How a client gets to call, and what is said of its end."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys

import pytest
from aiodicom.conformance.caller import CommandCaller, FunctionCaller, PromptCaller

WORDS = {"host": "127.0.0.1", "port": "104", "called": "KIT", "case": "a/b/c"}


def python(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {{port}}"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import sys; sys.exit(int(sys.argv[1] != '104'))", ""),
        ("raise SystemExit(3)", ""),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGABRT)})", "crash"),
    ],
)
async def test_the_end_of_a_command(code: str, end: str) -> None:
    call = await CommandCaller(python(code)).start(WORDS)
    assert await call.ended(60) == end


async def test_a_command_that_does_not_end_is_ended() -> None:
    call = await CommandCaller(python("import threading; threading.Event().wait()")).start(WORDS)
    assert await call.ended(0.01) == "hang"


async def test_a_command_is_not_given_to_a_shell_and_its_words_are_known() -> None:
    with pytest.raises(ValueError, match="unknown word"):
        await CommandCaller("echoscu {nothing}").start(WORDS)
    with pytest.raises(ValueError, match="empty"):
        CommandCaller(" ")
    with pytest.raises(OSError):
        await CommandCaller("no-such-program-anywhere;").start(WORDS)


async def test_a_coroutine() -> None:
    async def fails(host: str, port: int) -> None:
        raise ConnectionResetError(host, port)

    async def breaks(host: str, port: int) -> None:
        raise KeyError(host)

    async def waits(host: str, port: int) -> None:
        await asyncio.Event().wait()

    ends = [await (await FunctionCaller(call).start(WORDS)).ended(5) for call in (fails, breaks)]
    assert ends == ["", "crash"]
    assert await (await FunctionCaller(waits).start(WORDS)).ended(0.01) == "hang"


async def test_somebody_is_told_what_to_press() -> None:
    said: list[str] = []
    call = await PromptCaller(said.append).start(WORDS)
    assert await call.ended(1) == ""
    assert said == ["a/b/c: let the client call 127.0.0.1:104 now"]


async def test_who_only_waits_says_once_where() -> None:
    said: list[str] = []
    caller = PromptCaller(said.append, each=False)
    for _ in range(3):
        assert await (await caller.start(WORDS)).ended(1) == ""
    assert said == ["listening on 127.0.0.1 port 104: let the client call again and again"]
