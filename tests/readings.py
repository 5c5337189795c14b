"""What a framing reader makes of a stream, in a form that does not depend on how the stream was cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiodicom.pdu import Deviation, Fragment, Pdu, PDUReader, RemoteProtocolError
from aiodicom.pdu.errors import DeviationLog


@dataclass(frozen=True)
class Piece:
    """What fragments of one kind, joined, have brought: up to a last one, or to something else."""

    context_id: int
    command: bool
    last: bool
    data: bytes


@dataclass
class Outcome:
    """What a reader gave: PDUs and joined fragments, the error that ended it, what it noted and counted."""

    items: list[Pdu | Piece]
    error: tuple[str, int] | None
    deviations: list[Deviation]
    started: int
    mid_pdu: bool


def judge_all(pdu_type: int, length: int, header: bytes) -> bool:
    return True


def read(pieces: Sequence[bytes], judge: Callable[[int, int, bytes], bool] = judge_all) -> Outcome:
    """Feed the pieces one after another, each in a buffer that is overwritten before the next."""
    log = DeviationLog()
    reader = PDUReader(judge, log)
    items: list[Pdu | Piece] = []
    error = None
    try:
        for piece in pieces:
            scratch = bytearray(piece)
            reader.feed(memoryview(scratch))
            while (item := reader.next()) is not None:
                if isinstance(item, Fragment):
                    assert item.data or item.last, "an empty fragment that ends nothing"
                    join(items, Piece(item.context_id, item.command, item.last, bytes(item.data)))
                else:
                    items.append(item)
            scratch[:] = b"\xee" * len(scratch)
    except RemoteProtocolError as caught:
        error = (str(caught), caught.reason)
    mid_pdu = reader.mid_pdu and error is None  # after an error it has no meaning
    return Outcome(items, error, list(log), reader.started, mid_pdu)


def join(items: list[Pdu | Piece], new: Piece) -> None:
    before = items[-1] if items else None
    if (
        isinstance(before, Piece)
        and not before.last
        and (before.context_id, before.command) == (new.context_id, new.command)
    ):
        items[-1] = Piece(new.context_id, new.command, new.last, before.data + new.data)
    else:
        items.append(new)
