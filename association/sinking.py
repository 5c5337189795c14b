"""A user's own sinks: chosen by an object's header while it arrives, counted and digested as it streams."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from ..dataset.deflated import DEFLATED_SYNTAXES, inflate
from ..dataset.errors import ImagingError
from ..dataset.scan import scan_dataset
from ..dataset.sinks import StoreOutcome, StoreSink
from ..dimse import messages as m
from ..dimse.contexts import Context
from ..dimse.status import CANNOT_UNDERSTAND, DATASET_MISMATCH, OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS
from ..pdu.uids import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from .performing import Refused, out_of_resources
from .tasks import on_thread

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

HEAD = 64 * 1024
"""Bytes of an object that are gathered before its header is looked at, unless it ends before."""
MAX_HEAD = 4 * 1024 * 1024
"""Bytes in which a header must have ended, inflated: one that is larger is told as far as it goes."""
_IDENTITY = {0x00080016: "affected_sop_class_uid", 0x00080018: "affected_sop_instance_uid"}


@dataclass(frozen=True, slots=True, repr=False)
class Head:
    """What is known of an object before its pixels are here: its UIDs, and its data set up to them."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: Dataset

    def __repr__(self) -> str:
        return f"<Head of {self.sop_instance_uid}, {len(self.dataset)} elements>"


SinkFactory = Callable[[Head], StoreSink]
"""Gives the sink of an object by its header; raises Refused for one that is not wanted."""


class HeadSink:
    """Gathers the beginning of an object, has a factory decide by it, and hands everything on.

    The header is decoded on a thread, while the peer is held. `digest`: SHA-256 of the data set is computed
    as it comes. `done` is told what became of it, its size in bytes, and its digest where it is kept.
    """

    def __init__(
        self,
        request: m.CStoreRQ,
        context: Context,
        factory: SinkFactory,
        done: Callable[[StoreOutcome, int, str | None], None] = lambda outcome, size, digest: None,
        *,
        limit: int,
        digest: bool = False,
    ) -> None:
        self._request = request
        self._context = context
        self._factory = factory
        self._done = done
        self._limit = limit
        self._hash = hashlib.sha256() if digest else None
        self._head = bytearray()
        self._looked_at = HEAD
        self._looking = False
        self._left = False
        self._sink: StoreSink | None = None
        self.size: int = 0

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        """Take the next part."""
        self.size += len(data)
        if self.size > self._limit:
            outcome = StoreOutcome(OUT_OF_RESOURCES, f"object over {self._limit} bytes")
            self._tell(outcome)
            raise Refused(outcome.status, outcome.comment)
        if self._hash is not None:
            self._hash.update(data)
        if self._sink is not None and not self._looking:
            try:
                return self._sink.write(data)
            except Exception as error:
                self._tell(_outcome(error))
                raise
        self._head += data
        if self._looking or len(self._head) < self._looked_at:
            return None
        self._looking = True
        return self._look()

    async def _look(self, *, last: bool = False) -> None:
        """Decide by the header, if it is here, and hand on what was gathered."""
        try:
            if self._sink is None:
                whole = last or len(self._head) >= MAX_HEAD
                gathered = bytes(self._head)
                head = await on_thread(lambda: self._parse(gathered, whole))
                if head is None:
                    self._looked_at = 2 * len(self._head)
                    return
                if self._left:  # it was refused meanwhile
                    return
                self._sink = self._factory(head)
            while self._head:
                part, self._head = self._head, bytearray()
                full = self._sink.write(memoryview(part).toreadonly())
                if full is not None:
                    await full
        except Exception as error:
            self._tell(_outcome(error))
            raise
        finally:
            self._looking = False

    def _parse(self, data: bytes, whole: bool) -> Head | None:
        """The header, or None where more of it is to come. Raises Refused for one that cannot be read."""
        from pydicom.dataset import Dataset
        from pydicom.filereader import read_dataset

        syntax = self._context.transfer_syntax
        plain: bytes | bytearray = data
        coding = syntax
        if syntax in DEFLATED_SYNTAXES:
            coding = EXPLICIT_VR_LITTLE_ENDIAN
            found = inflate(memoryview(data), MAX_HEAD, MAX_HEAD)
            over = found.total > MAX_HEAD
            if found.problem is not None and not (found.truncated or over):
                raise Refused(CANNOT_UNDERSTAND, f"cannot understand: {found.problem}"[:64])
            plain, whole = found.window, whole or over
        self._check_identity(plain, coding)
        implicit, little = coding == IMPLICIT_VR_LITTLE_ENDIAN, coding != EXPLICIT_VR_BIG_ENDIAN
        reached: list[bool] = []

        def pixels(tag: int, vr: str | None, length: int) -> bool:
            reached.append(tag >= 0x7FE00000)
            return reached[-1]

        try:
            dataset = read_dataset(BytesIO(plain), implicit, little, stop_when=pixels)
        except Exception:  # noqa: BLE001 - pydicom raises whatever it finds where the bytes end
            if not whole:
                return None
            dataset = Dataset()
        if not whole and not (reached and reached[-1]):
            return None
        request = self._request
        return Head(request.affected_sop_class_uid, request.affected_sop_instance_uid, syntax, dataset)

    def _check_identity(self, data: bytes | bytearray, syntax: str) -> None:
        """Raise Refused for an object that says that it is another than its command says."""
        try:
            found = scan_dataset(data, syntax, set(_IDENTITY))
        except ImagingError as error:
            raise Refused(CANNOT_UNDERSTAND, f"cannot understand: {error}"[:64]) from None
        for tag, name in _IDENTITY.items():
            said = found.values.get(tag, b"").decode("latin-1").strip(" \0")
            if said and said != getattr(self._request, name):
                raise Refused(DATASET_MISMATCH, "the data set names another object than its command")

    async def commit(self) -> StoreOutcome:
        """The object is whole: decide, if it is smaller than a header may be, and commit."""
        try:
            await self._look(last=True)
            assert self._sink is not None
            outcome = await self._sink.commit()
        except (Refused, OSError) as error:
            outcome = _outcome(error)
        except Exception as error:
            self._tell(_outcome(error))
            raise
        self._tell(outcome)
        return outcome

    def _tell(self, outcome: StoreOutcome) -> None:
        done, self._done = self._done, lambda outcome, size, digest: None
        kept = self._hash is not None and outcome.status == SUCCESS
        done(outcome, self.size, self._hash.hexdigest() if self._hash is not None and kept else None)

    def discard(self) -> None:
        """Leave no trace of it."""
        self._left = True
        self._head = bytearray()
        if self._sink is not None:
            self._sink.discard()
            self._sink = None


def _outcome(error: Exception) -> StoreOutcome:
    """What a sink's failure is answered with."""
    if isinstance(error, Refused):
        return StoreOutcome(error.status, error.comment)
    if isinstance(error, OSError):
        return out_of_resources(error)
    return StoreOutcome(PROCESSING_FAILURE, "processing failure")
