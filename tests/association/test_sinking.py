"""A user's own sinks: chosen by the header while the pixels still arrive, held when full, digested."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import pytest
from aiodicom.association import sinking
from aiodicom.association.performing import Refused
from aiodicom.association.sinking import Head, HeadSink
from aiodicom.client.connect import connect
from aiodicom.dataset.coding import encode_dataset
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.dimse.contexts import Context
from aiodicom.dimse.levels import QueryError
from aiodicom.server.archive_service import serve_archive
from archive_objects import stored
from pydicom.dataset import Dataset
from wire import CT, EXPLICIT, random_ct, store_request

DEFLATED = "1.2.840.10008.1.2.1.99"

SIZE = 3_000_000


class Bucket:
    """A store that takes its time, in pieces of bounded memory."""

    def __init__(self, *, slow: bool = True) -> None:
        self.kept: dict[str, bytes] = {}
        self.heads: list[Head] = []
        self.waiting = 0
        self.most = 0
        self.discarded: list[str] = []
        self.slow = slow

    def __call__(self, head: Head) -> Upload:
        self.heads.append(head)
        if head.dataset.get("PatientID") == "UNWANTED":
            raise Refused(0x0124, "not wanted")
        return Upload(self, head.sop_instance_uid)


class Upload:
    def __init__(self, bucket: Bucket, uid: str) -> None:
        self._bucket = bucket
        self._uid = uid
        self._parts: list[bytes] = []
        self._unsent = 0

    def write(self, data: memoryview, /) -> Awaitable[None] | None:
        self._parts.append(bytes(data))
        self._unsent += len(data)
        self._bucket.most = max(self._bucket.most, self._unsent)
        return self._send() if self._bucket.slow and self._unsent > 100_000 else None

    async def _send(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self._unsent = 0

    async def commit(self) -> StoreOutcome:
        self._bucket.kept[self._uid] = b"".join(self._parts)
        return StoreOutcome(0, location=f"s3://bucket/{self._uid}")

    def discard(self) -> None:
        self._bucket.discarded.append(self._uid)


@pytest.mark.parametrize("size", [100, 70_000, SIZE])
async def test_a_sink_gets_every_byte_and_decides_by_the_header(tmp_path: Path, size: int) -> None:
    bucket = Bucket()
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(n, size) for n in range(3)])).ok
        result = await pacs.get("STUDY", "1.2.3", sink=bucket, digest=True)
        kept = stored(tmp_path / "objects")
    assert result.ok
    assert bucket.kept == kept
    assert {head.dataset.PatientID for head in bucket.heads} == {"P1"}
    assert all("PixelData" not in head.dataset for head in bucket.heads)
    for item in result.items:
        data = kept[item.sop_instance_uid]
        assert item.bytes == len(data)
        assert item.sha256 == hashlib.sha256(data).hexdigest()
        assert item.location == f"s3://bucket/{item.sop_instance_uid}"
        assert item.to_dict()["location"] == item.location
    assert result.datasets == []


async def test_a_full_sink_holds_the_peer(tmp_path: Path) -> None:
    """Of 30 MB no more than what one read brings beyond its 100 kB are ever here at once."""
    held, free = Bucket(), Bucket(slow=False)
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(0, 10 * SIZE)])).ok
        assert (await pacs.get("STUDY", "1.2.3", sink=held)).ok
        assert (await pacs.get("STUDY", "1.2.3", sink=free)).ok
    assert held.kept == free.kept
    assert held.most < 3_000_000
    assert free.most > 10 * SIZE


async def test_an_object_that_is_not_wanted_is_refused_alone(tmp_path: Path) -> None:
    bucket = Bucket()
    objects = [random_ct(n, 200_000) for n in range(3)]
    objects[1].PatientID = "UNWANTED"
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store(objects)).ok
        result = await pacs.get("STUDY", "1.2.3", sink=bucket)
    assert sorted(bucket.kept) == ["1.2.3.1.0", "1.2.3.1.2"]
    assert result.missing == ["1.2.3.1.1"]
    [refused] = [item for item in result.items if not item.ok]
    assert refused.comment == "not wanted"


@pytest.mark.parametrize("where", ["factory", "write", "room", "commit"])
async def test_a_sink_that_fails_costs_its_object(tmp_path: Path, where: str) -> None:
    class Failing(Upload):
        def write(self, data: memoryview, /) -> Awaitable[None] | None:
            if where == "write":
                raise OSError(5, "no more")
            return self._fails() if where == "room" else super().write(data)

        async def _fails(self) -> None:
            raise OSError(5, "no more")

        async def commit(self) -> StoreOutcome:
            if where == "commit":
                raise OSError(5, "no more")
            return await super().commit()

    bucket = Bucket()

    def factory(head: Head) -> Upload:
        if not head.sop_instance_uid.endswith("1"):
            return Upload(bucket, head.sop_instance_uid)
        if where == "factory":
            raise OSError(5, "no more")
        return Failing(bucket, head.sop_instance_uid)

    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(n, 200_000) for n in range(3)])).ok
        result = await pacs.get("STUDY", "1.2.3", sink=factory)
    assert sorted(bucket.kept) == ["1.2.3.1.0", "1.2.3.1.2"]
    assert result.missing == ["1.2.3.1.1"]
    assert result.outcome == "partial"
    assert [item.comment for item in result.items if not item.ok] == ["out of resources: no more"]


async def test_a_long_header_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinking, "HEAD", 1000)
    dataset = random_ct(1, 500_000)
    dataset.add_new(0x00204000, "LT", "x" * 9000)
    bucket = Bucket()
    async with serve_archive(tmp_path, port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([dataset])).ok
        assert (await pacs.get("STUDY", "1.2.3", sink=bucket)).ok
        assert bucket.kept == stored(tmp_path / "objects")
    [head] = bucket.heads
    assert len(head.dataset.ImageComments) == 9000


async def test_files_and_data_sets_are_digested_as_they_come(tmp_path: Path) -> None:
    async with serve_archive(tmp_path / "a", port=0) as server, connect("127.0.0.1", server.port) as pacs:
        assert (await pacs.store([random_ct(n, 1000) for n in range(2)])).ok
        result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out", digest=True)
        assert {one.sop_instance_uid: one.sha256 for one in result.items} == {
            uid: hashlib.sha256(data).hexdigest() for uid, data in stored(tmp_path / "out").items()
        }
        into_memory = await pacs.get("STUDY", "1.2.3", digest=True)
        assert {(one.sop_instance_uid, one.sha256) for one in into_memory.items} == {
            (one.sop_instance_uid, one.sha256) for one in result.items
        }
        with pytest.raises(QueryError, match="not both"):
            pacs.get("STUDY", "1.2.3", directory=tmp_path, sink=Bucket())  # type: ignore[call-overload]


def deflated(dataset: Dataset, *, damaged: bool = False) -> bytes:
    whole = encode_dataset(dataset, DEFLATED)
    return b"\xff" * 100 + whole if damaged else whole


async def told_of(data: bytes, step: int) -> tuple[Bucket, list[int]]:
    """What a sink is told of a deflated object that comes in such pieces."""
    bucket, statuses = Bucket(slow=False), list[int]()

    def done(outcome: StoreOutcome, size: int, digest: str | None) -> None:
        statuses.append(int(outcome.status))

    context = Context(1, CT, DEFLATED, scu=False, scp=True)
    sink = HeadSink(store_request(uid="1.2.3.1.1"), context, bucket, done, limit=1 << 30)
    try:
        for start in range(0, len(data), step):
            full = sink.write(memoryview(data)[start : start + step])
            if full is not None:
                await full
        await sink.commit()
    except Refused:
        sink.discard()
    return bucket, statuses


@pytest.mark.parametrize("size", [100, 70_000, SIZE])
@pytest.mark.parametrize("step", [1000, 1 << 20])
async def test_the_header_of_a_deflated_object_is_inflated(size: int, step: int) -> None:
    data = deflated(random_ct(1, size))
    bucket, statuses = await told_of(data, step)
    [head] = bucket.heads
    assert (head.dataset.PatientID, head.transfer_syntax_uid) == ("P1", DEFLATED)
    assert "PixelData" not in head.dataset
    assert bucket.kept == {"1.2.3.1.1": data}
    assert statuses == [0]


async def test_a_deflated_object_grows_no_further_than_a_header_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that inflates a thousandfold a header's length is looked at, and all of it handed on."""
    monkeypatch.setattr(sinking, "MAX_HEAD", 1 << 20)
    dataset = random_ct(1, 10)
    dataset.add_new(0x0040A160, "UT", "x" * 30_000_000)
    data = deflated(dataset)
    bucket, statuses = await told_of(data, 1000)
    assert len(bucket.heads) == 1
    assert bucket.kept == {"1.2.3.1.1": data}
    assert statuses == [0]


@pytest.mark.parametrize("how", ["damaged", "another's"])
async def test_a_deflated_object_that_cannot_be_is_refused(how: str) -> None:
    data = deflated(random_ct(2 if how == "another's" else 1, 100), damaged=how == "damaged")
    bucket, statuses = await told_of(data, 1000)
    assert bucket.heads == []
    assert statuses == [0xA900 if how == "another's" else 0xC000]


async def test_what_is_refused_while_its_header_is_looked_at_reaches_no_sink() -> None:
    """The limit lies in the rest of the read whose beginning is being looked at on a thread."""
    bucket, outcomes = Bucket(slow=False), list[StoreOutcome]()
    data = encode_dataset(random_ct(1, SIZE), EXPLICIT)
    context = Context(1, CT, EXPLICIT, scu=False, scp=True)
    request = store_request(uid="1.2.3.1.1")
    sink = HeadSink(
        request, context, bucket, lambda outcome, size, digest: outcomes.append(outcome), limit=70_000
    )
    looking = sink.write(memoryview(data)[: 64 * 1024])
    assert looking is not None
    with pytest.raises(Refused, match="over 70000"):
        sink.write(memoryview(data)[64 * 1024 :])
    sink.discard()
    await looking
    assert bucket.heads == []
    assert [one.status for one in outcomes] == [0xA700]


@pytest.mark.parametrize("where", ["factory", "write", "commit"])
@pytest.mark.parametrize(
    "error", [ValueError("Doe^Jane"), ConnectionError("no bucket"), OSError(28, "No space left")]
)
async def test_whatever_a_sink_fails_with_is_told(where: str, error: Exception) -> None:
    class Failing:
        def write(self, data: memoryview, /) -> None:
            if where == "write":
                raise error

        async def commit(self) -> StoreOutcome:
            raise error

        def discard(self) -> None: ...

    def make(head: Head) -> Failing:
        if where == "factory":
            raise error
        return Failing()

    outcomes: list[StoreOutcome] = []
    data = encode_dataset(random_ct(1, 200_000), EXPLICIT)
    context = Context(1, CT, EXPLICIT, scu=False, scp=True)
    request = store_request(uid="1.2.3.1.1")
    sink = HeadSink(
        request, context, make, lambda outcome, size, digest: outcomes.append(outcome), limit=1 << 30
    )
    with suppress(type(error)):
        for start in range(0, len(data), 50_000):
            full = sink.write(memoryview(data)[start : start + 50_000])
            if full is not None:
                await full
        await sink.commit()
    sink.discard()
    words = {ValueError: "processing failure", ConnectionError: "out of resources: ConnectionError"}
    assert [one.comment for one in outcomes] == [words.get(type(error), "out of resources: No space left")]
