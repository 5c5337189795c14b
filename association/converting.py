"""Stored objects sent in another uncompressed transfer syntax, where the peer took none of their own.

PS3.5 10.1: who holds an object without compression can be asked for it in the default transfer syntax, so a
peer may rightly have chosen one in which it does not lie here. Some take explicit VR alone.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from io import FileIO
from typing import TypeVar

from ..dataset.convert import CONVERTIBLE, MAX_COPIED, convert
from ..dataset.deflated import inflate
from ..dataset.errors import MalformedDataSet
from ..dataset.instance import Instance
from ..dataset.window import FileWindow, read_at
from ..dimse.contexts import MAX_CONTEXTS, Proposal
from ..pdu.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from .outgoing import WHOLE_READ, content_of
from .sending import PART, Parts
from .tasks import Job

C = TypeVar("C")
_OFFERED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_NATIVE = frozenset({*CONVERTIBLE, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN})


def substitute(item: Instance, contexts: Mapping[tuple[str, str], C]) -> tuple[str, C] | None:
    """The transfer syntax an object can be converted to, and what carries it; None where there is none."""
    return native_context(item, contexts) if item.transfer_syntax_uid in _NATIVE else None


def native_context(item: Instance, contexts: Mapping[tuple[str, str], C]) -> tuple[str, C] | None:
    """An uncompressed transfer syntax that was taken for the class of an object, the first choice first."""
    for syntax in CONVERTIBLE:
        context = contexts.get((item.sop_class_uid, syntax))
        if context is not None:
            return syntax, context
    return None


def with_defaults(proposals: list[Proposal], *, decoding: bool = False) -> list[Proposal]:
    """With both little endian syntaxes for each class that lies here without compression (PS3.5 10.1).

    One that no object of the class is in is offered in a context of its own, where there is room; the default
    goes before. decoding: for the others too, for they can be decompressed.
    """
    stored = [(one.abstract_syntax, one.transfer_syntaxes[0]) for one in proposals]
    native = dict.fromkeys(sop_class for sop_class, syntax in stored if decoding or syntax in _NATIVE)
    found = [(uid, tuple(one for one in _OFFERED if (uid, one) not in stored)) for uid in native]
    more = [Proposal(uid, syntaxes) for uid, syntaxes in found if syntaxes]
    more.sort(key=lambda one: IMPLICIT_VR_LITTLE_ENDIAN not in one.transfer_syntaxes)
    return proposals + more[: MAX_CONTEXTS - len(proposals)]


class Conversion:
    """One object on its way into another syntax: its file is open until `close`. All of it may block.

    Raises MalformedDataSet for an object that cannot be converted, before a byte of it is given, and OSError.
    """

    def __init__(self, item: Instance, syntax: str) -> None:
        self.begun: bool = False
        self._held: memoryview | FileWindow = memoryview(b"")
        self._file: FileIO | None = None
        self._parts: Generator[tuple[bytes, bool]] | None = None
        try:
            old = self._open(item)
            converted = convert(self._held, old, syntax)
        except BaseException:
            self.close()
            raise
        self.size: int = converted.size
        self._parts = converted.parts(self._held, PART)

    def _open(self, item: Instance) -> str:
        """Read the data set, or open a large one; the syntax it is in then."""
        content = content_of(item)
        if content is not None:
            self._held = content
        else:
            self._file = FileIO(item.path)
            self._held = FileWindow(self._file.fileno(), item.data_offset, item.data_size)
        if item.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            inflated = inflate(self._held, MAX_COPIED, MAX_COPIED)
            if inflated.problem is not None:
                raise MalformedDataSet(f"it cannot be converted: {inflated.problem}")
            self._keep(memoryview(inflated.window))
            return EXPLICIT_VR_LITTLE_ENDIAN
        if self._file is not None and item.data_size <= WHOLE_READ:
            self._keep(memoryview(read_at(self._file.fileno(), item.data_size, item.data_offset)))
        return item.transfer_syntax_uid

    def _keep(self, data: memoryview) -> None:
        """It is in memory: the file is not needed any more."""
        self.close()
        self._held = data

    def next(self) -> tuple[bytes, bool]:
        """The next part, and whether it is the last."""
        assert self._parts is not None
        return next(self._parts)

    def close(self) -> None:
        """Let go of the file."""
        if self._parts is not None:
            self._parts.close()
        if isinstance(self._held, memoryview):
            self._held.release()
        if self._file is not None:
            self._file.close()
            self._file = None


async def converted_parts(conversion: Conversion) -> Parts:
    """The parts of an object, made on a thread one ahead."""
    conversion.begun = True
    coming: Job[tuple[bytes, bool]] = Job(conversion.next)
    try:
        while True:
            part, last = await coming.result()
            if last:
                yield part, True
                return
            coming = Job(conversion.next)
            yield part, False
    finally:  # a thread may be in it
        coming.drop(conversion.close)
