"""A scripted HTTP peer: it answers what a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO

BOUNDARY = "part-of-it"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def multipart(files: Iterable[bytes], *, end: bool = True) -> bytes:
    """Files as the body of an answer."""
    out = BytesIO()
    for one in files:
        out.write(b"\r\n--%s\r\nContent-Type: application/dicom\r\n\r\n" % BOUNDARY.encode())
        out.write(one)
    if end:
        out.write(b"\r\n--%s--\r\n" % BOUNDARY.encode())
    return out.getvalue()


@dataclass(slots=True)
class Answer:
    """What is answered.

    cut: the connection is closed after so many bytes of the body. silent: nothing comes; hangs: no more.
    closes: the next request on the connection ends it, without an answer.
    """

    status: str = "200 OK"
    body: bytes | Iterable[bytes] = b""
    content_type: str = MULTIPART
    headers: tuple[str, ...] = ()
    cut: int | None = None
    silent: bool = False
    hangs: bool = False
    closes: bool = False


@dataclass(slots=True)
class WebSite:
    """A running one: `answer` says what a path is answered with; `asked` are the requests."""

    answer: Callable[[str], Answer]
    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its DICOMweb address."""
        return f"http://127.0.0.1:{self.port}/rs"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        task.add_done_callback(self.talks.discard)
        closes = False
        try:
            while (request := await reader.readuntil(b"\r\n\r\n")) and not closes:
                lines = request.decode().split("\r\n")
                path = lines[0].split(" ")[1]
                self.asked.append(path)
                pairs = (line.partition(": ") for line in lines[1:] if line)
                self.headers.append({name.lower(): value for name, _, value in pairs})
                answer = self.answer(path)
                closes = answer.closes
                if not await self._answer(answer, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if answer.silent:
            await self.idle.wait()
        chunks = [answer.body] if isinstance(answer.body, bytes) else answer.body
        head = [f"HTTP/1.1 {answer.status}", f"Content-Type: {answer.content_type}", *answer.headers]
        if answer.cut is None and isinstance(answer.body, bytes):
            head.append(f"Content-Length: {len(answer.body)}")
        else:
            head.append("Transfer-Encoding: chunked")
        writer.write("\r\n".join([*head, "", ""]).encode())
        chunked = "Transfer-Encoding: chunked" in head
        left = answer.cut
        for chunk in chunks:
            some = chunk if left is None else chunk[:left]
            if some:
                writer.write(b"%x\r\n%s\r\n" % (len(some), some) if chunked else some)
                self.sent += len(some)
            await writer.drain()
            if left is not None:
                left -= len(some)
                if not left:
                    writer.close()
                    return False
        if answer.hangs:
            await self.idle.wait()
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def web_site(answer: Callable[[str], Answer]) -> AsyncIterator[WebSite]:
    """Serve on loopback until the block is left."""
    site = WebSite(answer)
    server = await asyncio.start_server(site.talk, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        site.idle.set()
        server.close()
        for task in site.talks:
            task.cancel()
        await asyncio.gather(*site.talks, return_exceptions=True)
