"""WADO-RS at a peer that answers whatever a test says: accounted for as what comes by C-GET is."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.client.dicomweb import HEAD
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.client.web import of_variable
from aiodicom.dataset.sinks import StoreOutcome
from aiodicom.pdu.errors import RemoteProtocolError
from archive_objects import files_below, part10
from peers.misbehaving import Misbehaving, Ways
from peers.web import MULTIPART, Answer, WebSite, multipart, web_site
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from wire import IMPLICIT, STEADY, ct, implicit, study

TIMES = replace(STEADY, artim=0.1, cancel=0.2)
CT = "1.2.840.10008.5.1.4.1.1.2"


def serving(held: list[Dataset], **how: Any) -> Callable[[str], Answer]:
    """A site that has these objects, below studies, series and instances."""

    def answer(path: str) -> Answer:
        keys = path.split("?")[0].removeprefix("/rs").split("/")[2::2]
        found = [
            one
            for one in held
            if [one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID][: len(keys)] == keys
        ]
        if not found:
            return Answer("404 Not Found", b"no", "text/plain")
        return Answer(body=multipart(part10(one, IMPLICIT) for one in found), **how)

    return answer


async def retrieved(
    answer: Callable[[str], Answer], folder: Path | None, *, known: bool = True, **how: Any
) -> tuple[RetrieveResult, WebSite]:
    """A study by WADO-RS alone; `known`: its six objects are told by C-FIND."""
    ways = how.pop("ways", Ways() if known else Ways(relational="refuse", hierarchical="refuse"))
    times = how.pop("times", TIMES)
    async with Misbehaving(study(), ways) as peer, web_site(answer) as site:
        connecting: dict[str, Any] = {"timeouts": times, "dicomweb": site.url}
        async with aiodicom.connect("127.0.0.1", peer.port, **connecting) as pacs:
            asked: dict[str, Any] = {"root": "STUDY", "via": ("web",), "directory": folder} | how
            result = await pacs.get("STUDY", "1.2.3", **asked)
    return result, site


async def test_a_study_comes_in_one_answer(tmp_path: Path) -> None:
    result, site = await retrieved(serving(study()), tmp_path, digest=True)
    assert (result.ok, result.received, result.service) == (True, 6, "WADO-RS")
    assert site.asked == ["/rs/studies/1.2.3"]
    assert site.headers[0]["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert "authorization" not in site.headers[0]
    assert all(item.sha256 for item in result.items)
    assert len(files_below(tmp_path)) == 6


async def test_what_a_206_leaves_out_is_asked_for_below(tmp_path: Path) -> None:
    """A part of a study, said to be one: its series and instances bring the rest."""
    whole = serving(study())

    def answer(path: str) -> Answer:
        if path == "/rs/studies/1.2.3":
            return Answer("206 Partial Content", multipart(part10(one, IMPLICIT) for one in study(4)))
        return whole(path)

    result, site = await retrieved(answer, tmp_path)
    assert (result.ok, result.received) == (True, 6), result.to_dict()
    assert "HTTP 206 Partial Content" in result.rungs[0].reason
    assert "2 of 6 missing" in result.rungs[0].reason
    assert site.asked[0] == "/rs/studies/1.2.3"
    assert len(site.asked) == 3
    plain, _ = await retrieved(answer, tmp_path / "plain", via="web")
    assert (plain.ok, plain.outcome, len(plain.missing or ())) == (False, "partial", 2)
    unknown, _ = await retrieved(answer, tmp_path / "unknown", known=False)
    assert (unknown.ok, unknown.outcome, unknown.missing) == (False, "partial", None)


async def test_a_connection_that_the_site_closes_costs_no_rung(tmp_path: Path) -> None:
    """Instances one by one, each on a connection that ends at the next request."""
    whole = serving(study(), closes=True)

    def answer(path: str) -> Answer:
        return whole(path) if "/instances/" in path else Answer("404 Not Found", b"", closes=True)

    result, site = await retrieved(answer, tmp_path)
    assert (result.ok, result.received) == (True, 6), result.to_dict()
    assert [rung.level.value for rung in result.rungs] == ["STUDY", "SERIES", "IMAGE"]
    assert len(site.asked) == 9


async def test_a_200_with_parts_missing_is_not_believed(tmp_path: Path) -> None:
    result, _ = await retrieved(serving(study(4)), tmp_path)
    assert (result.ok, result.outcome) == (False, "partial")
    assert result.missing == ["1.2.3.0.4", "1.2.3.1.5"]
    assert result.rungs[0].reason == "answered success, 2 of 6 missing"
    assert "HTTP 404" in result.rungs[-1].reason


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_answer_that_breaks_off_leaves_what_is_whole(tmp_path: Path, chunked: bool) -> None:
    body = multipart(part10(one, IMPLICIT) for one in study())
    cut = body.rindex(b"1.2.3.1.5") + 5
    broken = Answer(body=body, cut=cut) if chunked else Answer(body=body[:cut])
    result, _ = await retrieved(lambda path: broken, tmp_path, via="web")
    assert (result.ok, result.outcome, result.received) == (False, "partial", 5)
    assert result.missing == ["1.2.3.1.5"]
    assert result.status is None
    assert "broke off" in str(result.error)
    assert len(files_below(tmp_path)) == 5


async def test_only_the_end_is_missing(tmp_path: Path) -> None:
    body = multipart((part10(one, IMPLICIT) for one in study()), end=False)
    result, _ = await retrieved(lambda path: Answer(body=body), tmp_path, known=False, via="web")
    assert not result.ok
    assert isinstance(result.error, aiodicom.WebFailed)


@pytest.mark.parametrize("into", ["files", "memory", "sink"])
async def test_what_comes_twice_counts_once_and_what_nobody_asked_for_is_apart(
    tmp_path: Path, into: str
) -> None:
    other = ct("1.2.9.1", StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.9", PatientID="P2")
    files = [part10(one, IMPLICIT) for one in [*study(), study()[0], other]]
    how: dict[str, Any] = {"directory": tmp_path} if into == "files" else {"directory": None}
    if into == "sink":
        how["sink"] = lambda head: Gathering([])
    result, _ = await retrieved(lambda path: Answer(body=multipart(files)), None, **how)
    assert (result.received, result.missing) == (6, [])
    if into == "files":
        assert [item.sop_instance_uid for item in result.unasked] == ["1.2.9.1"]
        assert result.ok
    else:
        assert result.turned_away == ["1.2.9.1"]


class Gathering:
    """A sink that keeps how much came."""

    def __init__(self, sizes: list[int], status: int = 0) -> None:
        self.sizes, self.status = sizes, status

    def write(self, data: memoryview, /) -> None:
        self.sizes.append(len(data))

    async def commit(self) -> StoreOutcome:
        return StoreOutcome(self.status)

    def discard(self) -> None:
        self.sizes.append(-1)


async def test_an_object_that_a_sink_refuses_is_a_failure(tmp_path: Path) -> None:
    how: dict[str, Any] = {"directory": None, "sink": lambda head: Gathering([], 0xA700), "via": "web"}
    result, _ = await retrieved(serving(study()), None, **how)
    assert (result.ok, result.received, len(result.items)) == (False, 0, 6)


async def test_another_object_than_the_file_says_is_refused(tmp_path: Path) -> None:
    one = study()[0]
    lying = part10(one, IMPLICIT).replace(b"1.2.3.0.0\0", b"1.2.3.0.2\0", 1)
    result, _ = await retrieved(lambda path: Answer(body=multipart([lying])), tmp_path, via="web")
    assert (result.ok, result.received) == (False, 0)
    assert "differs" in str(result.items[0].comment)


@pytest.mark.parametrize("bad", [b"", b"<html>", b"\0" * 200, b"\0" * 128 + b"DICM", b"x" * 300_000])
async def test_a_part_that_is_no_object_costs_itself_alone(tmp_path: Path, bad: bytes) -> None:
    files = [part10(study()[0], IMPLICIT), bad, *(part10(one, IMPLICIT) for one in study()[1:])]
    result, _ = await retrieved(lambda path: Answer(body=multipart(files)), tmp_path, via="web")
    assert (result.ok, result.received) == (False, 6)
    assert result.comment == "1 of its parts are no DICOM objects"


async def test_one_object_that_is_no_multipart(tmp_path: Path) -> None:
    def answer(path: str) -> Answer:
        return Answer(body=part10(study()[0], IMPLICIT), content_type="application/dicom")

    result, _ = await retrieved(answer, tmp_path, known=False)
    assert (result.ok, result.received) == (True, 1)


async def test_file_meta_information_of_any_length(tmp_path: Path) -> None:
    """Private information makes it long: nothing is decided before it is here."""
    dataset = study()[0]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    dataset.file_meta.PrivateInformation = bytes(3 * HEAD)
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    long = written.getvalue()
    assert long.index(b"P1") > 3 * HEAD
    result, _ = await retrieved(lambda path: Answer(body=multipart([long])), tmp_path, known=False)
    assert (result.ok, result.received) == (True, 1), result.to_dict()


@pytest.mark.parametrize(
    ("answer", "words", "denied"),
    [
        (Answer("401 Unauthorized"), "HTTP 401 Unauthorized; it wants an authorization", True),
        (Answer("403 Forbidden"), "has no right", True),
        (Answer("406 Not Acceptable"), "as they are stored", True),
        (Answer("500 Internal Server Error"), "HTTP 500", False),
        (Answer("503 Busy"), "HTTP 503", False),
        (
            Answer("301 Moved", headers=("Location: https://elsewhere.test/",)),
            "'https://elsewhere.test/'",
            False,
        ),
        (Answer(content_type="text/html", body=b"<html>"), "the answer is 'text/html'", False),
        (Answer(headers=("Content-Encoding: gzip",), body=b"x"), "'gzip', which was not asked for", False),
    ],
)
async def test_what_is_no_answer(tmp_path: Path, answer: Answer, words: str, denied: bool) -> None:
    with pytest.raises(aiodicom.WebFailed, match=words) as caught:
        await retrieved(lambda path: answer, tmp_path, via="web")
    assert caught.value.denied is denied
    assert "127.0.0.1" in caught.value.peer


async def test_what_is_denied_once_is_not_asked_for_below(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return Answer("403 Forbidden")

    with pytest.raises(aiodicom.WebFailed):
        await retrieved(answer, tmp_path)
    assert asked == ["/rs/studies/1.2.3"]


@pytest.mark.parametrize("content_type", ["multipart/related", f"{MULTIPART[:-10]}\x7f"])
async def test_an_answer_without_a_boundary(tmp_path: Path, content_type: str) -> None:
    with pytest.raises((RemoteProtocolError, aiodicom.WebFailed)):
        await retrieved(lambda path: Answer(content_type=content_type, body=b"x"), tmp_path, via="web")


@pytest.mark.parametrize(("availability", "limit"), [("ONLINE", 0.2), ("NEARLINE", 0.4), ("OFFLINE", 0.4)])
async def test_silence_ends_it_and_what_is_not_online_is_waited_for(
    tmp_path: Path, availability: str, limit: float
) -> None:
    times = replace(TIMES, inactivity=0.2, nearline=0.4)
    with pytest.raises(aiodicom.InactivityTimeout, match=f"nothing moved for {limit} s") as raised:
        await retrieved(
            lambda path: Answer(silent=True),
            tmp_path,
            times=times,
            via="web",
            ways=Ways(availability=availability),
        )
    assert (raised.value.limit, raised.value.seconds) == ("inactivity", limit)


async def test_nothing_of_it_is_more_than_a_little_ahead_of_who_reads() -> None:
    """64 MiB of one object: while nobody reads, the peer is held."""
    block = bytes(1024 * 1024)
    head = part10(study()[0], IMPLICIT)
    pixels = b"\xe0\x7f\x10\x00" + (64 * len(block)).to_bytes(4, "little")

    def body() -> Iterator[bytes]:
        whole = multipart([head + pixels], end=False)
        yield whole
        for _ in range(64):
            yield block
        yield multipart([])

    def answer(path: str) -> Answer:
        return Answer(body=body())

    async with web_site(answer) as site:
        how: dict[str, Any] = {"dicomweb": site.url, "lazy": True, "timeouts": TIMES}
        async with aiodicom.connect("127.0.0.1", 9, **how) as pacs:
            async for coming in pacs.stream("STUDY", "1.2.3", via="web"):
                assert coming.head.dataset.PatientID == "P1"
                before = -1
                while site.sent != before:
                    before = site.sent
                    for _ in range(200):
                        await asyncio.sleep(0)
                assert site.sent < 16 * len(block)
                size = sum([len(part) async for part in coming])
                assert size > 64 * len(block)


async def test_what_the_peer_does_not_give_by_c_get_is_brought(tmp_path: Path) -> None:
    """The last rung asks for what is missing alone, instance by instance, and the digests agree."""
    kept = frozenset({"1.2.3.0.2", "1.2.3.1.5"})
    async with Misbehaving(study(), Ways(keep_back=kept)) as peer, web_site(serving(study())) as site:
        how: dict[str, Any] = {"timeouts": TIMES, "dicomweb": site.url}
        here = aiodicom.Listening(host="127.0.0.1", port=0, quiet=0.1)
        async with aiodicom.connect("127.0.0.1", peer.port, **how) as pacs:
            asked: dict[str, Any] = {"via": "auto", "listening": here, "digest": True}
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path, **asked)
    assert (result.ok, result.received) == (True, 6), result.to_dict()
    assert (result.rungs[-1].service, result.rungs[-1].asked, result.rungs[-1].received) == ("WADO-RS", 2, 2)
    assert sorted(site.asked) == [
        "/rs/studies/1.2.3/series/1.2.3.0/instances/1.2.3.0.2",
        "/rs/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.5",
    ]
    bodies = {str(one.SOPInstanceUID): hashlib.sha256(implicit(one)).hexdigest() for one in study()}
    assert {item.sop_instance_uid: item.sha256 for item in result.items} == bodies


async def test_one_that_is_cancelled_leaves_what_is_whole_and_is_asked_again(tmp_path: Path) -> None:
    files = [part10(one, IMPLICIT) for one in study()]
    whole = multipart(files)
    begun = whole.rindex(b"1.2.3.1.5")
    stuck = True

    def body() -> Iterator[bytes]:
        yield whole[:begun]

    def answer(path: str) -> Answer:
        return Answer(body=body(), hangs=True) if stuck else serving(study())(path)

    async with Misbehaving(study(), Ways()) as peer, web_site(answer) as site:
        how: dict[str, Any] = {"timeouts": TIMES, "dicomweb": site.url}
        async with aiodicom.connect("127.0.0.1", peer.port, **how) as pacs:
            retrieve = pacs.get("STUDY", "1.2.3", directory=tmp_path, via="web", root="STUDY")
            task = asyncio.ensure_future(retrieve)
            while retrieve.result.received < 5:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert retrieve.result.missing == ["1.2.3.1.5"]
            assert len(files_below(tmp_path)) == 5
            assert not list(tmp_path.rglob("*.part"))
            stuck = False
            assert (await retrieve.again()).ok
    assert len(files_below(tmp_path)) == 6


async def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: object, view: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aiodicom.dataset.part10.Part10Writer.write", full)
    result, site = await retrieved(serving(study()), tmp_path)
    assert (result.ok, result.received) == (False, 0)
    assert len(site.asked) == 1
    assert "No space left" in str(result.items[0].comment)


async def test_httpx_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    needs = r"needs httpx: pip install 'aiodicom\[web\]'"
    with pytest.raises(aiodicom.WebFailed, match=needs):
        await retrieved(serving(study()), tmp_path)


async def test_what_was_never_asked_is_one_rung(tmp_path: Path) -> None:
    """No lower level fares better without httpx, or without an authorization to give."""
    web = aiodicom.DicomWeb(url="http://127.0.0.1:9/", authorization=of_variable("IS_NOT_SET"))
    async with Misbehaving(study(), Ways()) as peer:
        async with aiodicom.connect("127.0.0.1", peer.port, timeouts=TIMES, dicomweb=web) as pacs:
            retrieve = pacs.get("STUDY", "1.2.3", directory=tmp_path, via=("web",), root="STUDY")
            with pytest.raises(aiodicom.QueryError, match="IS_NOT_SET"):
                await retrieve
    assert [rung.service for rung in retrieve.result.rungs] == ["WADO-RS"]


async def test_without_an_address_it_is_no_rung(tmp_path: Path) -> None:
    async with Misbehaving(study(), Ways()) as peer:
        async with aiodicom.connect("127.0.0.1", peer.port, timeouts=TIMES) as pacs:
            with pytest.raises(aiodicom.QueryError, match="no DICOMweb address"):
                pacs.get("STUDY", "1.2.3", via="web")
            assert (await pacs.plan("STUDY", "1.2.3", via="auto")).via == ("get", "move")


async def test_a_pool_has_the_address_too(tmp_path: Path) -> None:
    async with Misbehaving(study(), Ways()) as peer, web_site(serving(study())) as site:
        how: dict[str, Any] = {"timeouts": TIMES, "dicomweb": site.url}
        async with aiodicom.create_pool("127.0.0.1", peer.port, **how) as pool:
            assert (await pool.get("STUDY", "1.2.3", directory=tmp_path, via="web")).ok
            async with pool.acquire() as member:
                assert member.dicomweb == pool.dicomweb
