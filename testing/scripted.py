"""A DICOM peer that does what a script says: the right thing, the wrong thing, or nothing.

    async with await ScriptedPeer.connect("127.0.0.1", port) as peer:      # we call
        answer = await peer.associate(["1.2.840.10008.1.1"])
        await peer.send_message(1, command)
        message = await peer.receive_message()
        await peer.send(AReleaseRQ())
        await peer.expect(AReleaseRP)
        await peer.expect_close()

    async with ScriptedListener() as listener:                             # we are called
        client = asyncio.create_task(connect("127.0.0.1", listener.port))
        async with await listener.next_connection() as peer:
            await peer.accept()
            await peer.reset()

Nothing is checked on the way out: `send` writes any bytes. On the way in every wait has a deadline, and
what does not come as the script says raises `ScriptError`, an AssertionError that tells what came
instead. Nothing sleeps; a wait ends when the bytes or the end of the connection are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl as ssl_module
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Self, TypeVar, overload

from ..pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    Pdu,
    PduType,
    PresentationContextAC,
    PresentationContextRQ,
    RemoteProtocolError,
    UserInformation,
    decode,
    encode,
)
from .values import (
    ContextLike,
    ScriptError,
    announces_data,
    associate_accept,
    associate_request,
    message_pdvs,
)

DEADLINE = 10.0
"""Seconds a wait may last unless the peer was given another deadline."""

_CLASSES: dict[PduType, type[Pdu]] = {
    PduType.A_ASSOCIATE_RQ: AAssociateRQ,
    PduType.A_ASSOCIATE_AC: AAssociateAC,
    PduType.A_ASSOCIATE_RJ: AAssociateRJ,
    PduType.P_DATA_TF: PDataTF,
    PduType.A_RELEASE_RQ: AReleaseRQ,
    PduType.A_RELEASE_RP: AReleaseRP,
    PduType.A_ABORT: AAbort,
}

Ending = Literal["eof", "reset"]

T = TypeVar("T")
P = TypeVar("P", AAssociateRQ, AAssociateAC, AAssociateRJ, PDataTF, AReleaseRQ, AReleaseRP, AAbort)


class Message(NamedTuple):
    """A DIMSE message as bytes; `data` is None when the command set announces no data set."""

    context_id: int
    command: bytes
    data: bytes | None


class ScriptedPeer:
    """One connection, in whichever role; made by `connect` or by a `ScriptedListener`.

    `peer_maximum_length` is what the other side announced in its association PDU (0 until then), and
    bounds the PDVs `send_message` makes.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, deadline: float = DEADLINE
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._deadline = deadline
        self._inbox = bytearray()
        self._pdvs: deque[PDV] = deque()
        self._ending: Ending | None = None
        self.peer_maximum_length: int = 0
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces go out as they are

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        ssl: ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        local_address: str | None = None,
        deadline: float = DEADLINE,
    ) -> Self:
        """Open a connection; with `ssl`, the TLS handshake is done when this returns."""
        async with asyncio.timeout(deadline):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=ssl,
                server_hostname=server_hostname,
                local_addr=None if local_address is None else (local_address, 0),
            )
        return cls(reader, writer, deadline=deadline)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- out

    async def send(self, *items: Pdu | bytes) -> None:
        """Write PDUs and raw bytes, in order, as one piece, and wait until they are with the kernel."""
        self._writer.write(b"".join(item if isinstance(item, bytes) else encode(item) for item in items))
        await self._within(self._writer.drain(), "the other side to take what was sent")

    async def send_split(self, data: bytes, sizes: Sequence[int]) -> None:
        """Write `data` in pieces of these sizes, used in turn; the loop runs between two pieces.

        The other side may still find several pieces at once: TCP keeps no borders.
        """
        at = turn = 0
        while at < len(data):
            size = max(sizes[turn % len(sizes)], 1)
            await self.send(data[at : at + size])
            await asyncio.sleep(0)
            at += size
            turn += 1

    async def half_close(self) -> None:
        """End our direction (FIN) and go on reading. TLS has no such thing: ScriptError."""
        if not self._writer.can_write_eof():
            raise ScriptError("a TLS connection cannot be half closed")
        self._writer.write_eof()

    async def reset(self) -> None:
        """Drop the connection with an RST, whatever is under way."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self._gone()

    async def close(self) -> None:
        """Close the connection. What was sent is delivered first; what was not read is dropped."""
        self._writer.close()
        await self._gone()

    async def _gone(self) -> None:
        with contextlib.suppress(OSError, ssl_module.SSLError, TimeoutError):
            async with asyncio.timeout(self._deadline):
                await self._writer.wait_closed()

    # --- in

    async def receive_bytes(self, count: int) -> bytes:
        """Exactly this many of the next bytes."""
        await self._within(self._fill(count), f"{count} bytes")
        if len(self._inbox) < count:
            raise ScriptError(f"{count} bytes awaited, {self._what_came()}")
        taken = bytes(self._inbox[:count])
        del self._inbox[:count]
        return taken

    async def receive_raw(self) -> bytes:
        """The next PDU as it came, header included."""
        header = await self.receive_bytes(6)
        return header + await self.receive_bytes(int.from_bytes(header[2:6], "big"))

    async def receive(self) -> Pdu:
        """The next PDU, of any type."""
        raw = await self.receive_raw()
        try:
            return decode(raw[0], raw[6:])
        except RemoteProtocolError as error:
            raise ScriptError(f"what came is no PDU: {error}: {raw[:64]!r}") from error

    @overload
    async def expect(self, kind: type[P]) -> P: ...
    @overload
    async def expect(self, kind: PduType) -> Pdu: ...
    async def expect(self, kind: type[P] | PduType) -> P | Pdu:
        """The next PDU, which must be of this class or type."""
        wanted = _CLASSES[kind] if isinstance(kind, PduType) else kind
        try:
            pdu = await self.receive()
        except ScriptError as error:
            raise ScriptError(f"{wanted.__name__} awaited: {error}") from error
        if not isinstance(pdu, wanted):
            raise ScriptError(f"{wanted.__name__} awaited, {pdu!r} came")
        return pdu

    async def expect_close(self) -> Ending:
        """The end of the other side's direction, with no byte before it: how it ended."""
        await self._within(self._fill(1), "the end of the connection")
        if self._inbox:
            raise ScriptError(f"the end of the connection awaited, {self._what_came()}")
        assert self._ending is not None
        return self._ending

    async def drain_until_close(self) -> tuple[bytes, Ending]:
        """Everything that still comes, and how the connection ended."""
        await self._within(self._fill(None), "the end of the connection")
        rest = bytes(self._inbox)
        self._inbox.clear()
        assert self._ending is not None
        return rest, self._ending

    async def expect_nothing_until(self, awaitable: Awaitable[T]) -> T:
        """The result of `awaitable`, during which neither a byte nor an end may reach us."""
        other = asyncio.ensure_future(awaitable)
        arrival = asyncio.ensure_future(self._fill(1))
        try:
            async with asyncio.timeout(self._deadline):
                await asyncio.wait({other, arrival}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            other.cancel()
            raise ScriptError("silence awaited until something that did not happen") from None
        finally:
            heard = arrival.done()
            arrival.cancel()
            await asyncio.gather(arrival, return_exceptions=True)
        if heard:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
            raise ScriptError(f"silence awaited, {self._what_came()}")
        return await other

    # --- association

    async def associate(
        self,
        contexts: Sequence[ContextLike] = ("1.2.840.10008.1.1",),
        *,
        called_ae: str = "CALLED",
        calling_ae: str = "SCRIPTED",
        user_information: UserInformation | None = None,
    ) -> AAssociateAC:
        """Request an association and return the A-ASSOCIATE-AC.

        A context is an abstract syntax (then with Implicit VR Little Endian), a pair of it and its
        transfer syntaxes, or a PresentationContextRQ; ids not given are 1, 3, 5 and so on.
        """
        await self.send(
            associate_request(
                contexts, called_ae=called_ae, calling_ae=calling_ae, user_information=user_information
            )
        )
        answer = await self.expect(AAssociateAC)
        self.peer_maximum_length = answer.user_information.maximum_length or 0
        return answer

    async def accept(
        self,
        answer: Callable[[PresentationContextRQ], PresentationContextAC] | None = None,
        *,
        user_information: UserInformation | None = None,
    ) -> AAssociateRQ:
        """Receive an A-ASSOCIATE-RQ, accept it, and return it.

        `answer` decides on each context; without it all are accepted with their first transfer syntax,
        and the roles proposed are granted.
        """
        request = await self.expect(AAssociateRQ)
        self.peer_maximum_length = request.user_information.maximum_length or 0
        await self.send(associate_accept(request, answer, user_information=user_information))
        return request

    async def release(self) -> None:
        """Release the association: A-RELEASE-RQ out, A-RELEASE-RP in, then close."""
        await self.send(AReleaseRQ())
        await self.expect(AReleaseRP)
        await self.close()

    async def answer_release(self) -> None:
        """Answer a release: A-RELEASE-RQ in, A-RELEASE-RP out, then wait for the end."""
        await self.expect(AReleaseRQ)
        await self.send(AReleaseRP())
        await self.expect_close()

    # --- messages

    async def send_message(
        self,
        context_id: int,
        command: bytes,
        data: bytes | None = None,
        *,
        pdvs_per_pdu: int = 1,
        fragment: int | None = None,
    ) -> None:
        """Send a command set and a data set, both ready encoded.

        `fragment` is the most data bytes of a PDV (by default what the other side's maximum length
        takes); `pdvs_per_pdu` how many PDVs share a PDU, 0 for all of the message in one.
        """
        if fragment is None:
            fragment = max((self.peer_maximum_length or 16384) // max(pdvs_per_pdu, 1) - 6, 2) & ~1
        pdvs = message_pdvs(context_id, command, data, fragment=fragment)
        step = pdvs_per_pdu or len(pdvs)
        for at in range(0, len(pdvs), step):
            await self.send(PDataTF(tuple(pdvs[at : at + step])))

    async def receive_message(self) -> Message:
        """The next message, however it is cut into PDVs and PDUs.

        The fragments of one message must be on one context, the command set's first.
        """
        first = await self._next_pdv()
        context_id = first.context_id
        if not first.command:
            raise ScriptError(f"a command set awaited, {first!r} came")
        command = await self._gather(first, command=True)
        if not announces_data(command):
            return Message(context_id, command, None)
        return Message(
            context_id,
            command,
            await self._gather(await self._next_pdv(), command=False, context_id=context_id),
        )

    async def _gather(self, pdv: PDV, *, command: bool, context_id: int | None = None) -> bytes:
        context_id = pdv.context_id if context_id is None else context_id
        parts: list[bytes] = []
        while True:
            if (pdv.command, pdv.context_id) != (command, context_id):
                kind = "command set" if command else "data set"
                raise ScriptError(f"a fragment of a {kind} on context {context_id} awaited, {pdv!r} came")
            parts.append(pdv.data)
            if pdv.last:
                return b"".join(parts)
            pdv = await self._next_pdv()

    async def _next_pdv(self) -> PDV:
        while not self._pdvs:
            self._pdvs.extend((await self.expect(PDataTF)).pdvs)
        return self._pdvs.popleft()

    # --- waiting

    async def _fill(self, count: int | None) -> None:
        """Read until `count` bytes are in the inbox or the connection has ended; may be cancelled."""
        while self._ending is None and (count is None or len(self._inbox) < count):
            try:
                data = await self._reader.read(65536)
            except (OSError, ssl_module.SSLError):
                self._ending = "reset"
                return
            if not data:
                self._ending = "eof"
            self._inbox += data

    async def _within(self, awaitable: Awaitable[None], what: str) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                await awaitable
        except TimeoutError:
            raise ScriptError(f"{what} awaited for {self._deadline} s, {self._what_came()}") from None
        except OSError as error:  # writing to a connection the other side has reset
            raise ScriptError(f"{what} awaited, the connection failed: {error}") from error

    def _what_came(self) -> str:
        came = (
            f"{len(self._inbox)} bytes came: {bytes(self._inbox[:64])!r}" if self._inbox else "nothing came"
        )
        return f"{came}, then the connection ended ({self._ending})" if self._ending else came


class ScriptedListener:
    """Listens, and hands out each connection as a ScriptedPeer.

    A context manager; leaving it closes the listening socket and every connection it handed out.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl: ssl_module.SSLContext | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self.host = host
        self.port: int = port
        self._ssl = ssl
        self._deadline = deadline
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Queue[ScriptedPeer] = asyncio.Queue()
        self._peers: list[ScriptedPeer] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self.host, self.port, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            await peer.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ScriptedPeer(reader, writer, deadline=self._deadline)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)

    async def next_connection(self) -> ScriptedPeer:
        """The next connection, TLS handshake done."""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._waiting.get()
        except TimeoutError:
            raise ScriptError(f"a connection awaited for {self._deadline} s, none came") from None

    async def connections(self) -> AsyncIterator[ScriptedPeer]:
        """Every connection, one after another, for as long as the other side makes them."""
        while True:
            yield await self.next_connection()
