"""What lies below a key by QIDO-RS: pages of every kind, and what comes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiodicom
import pytest
from aiodicom.client import webplan
from aiodicom.client.plan import Plan, Target
from aiodicom.client.web import WebPeer
from aiodicom.client.webplan import with_lists
from aiodicom.dimse.levels import Level, Root
from archive_objects import part10
from peers.misbehaving import Misbehaving, Ways
from peers.web import Answer, multipart, web_site
from pydicom.dataset import Dataset
from wire import IMPLICIT, STEADY, ct

TAGS = {
    "PatientID": "00100020",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
}
CT = "1.2.840.10008.5.1.4.1.1.2"
HELD = [
    ct(f"1.{study}.{series}.{n}", StudyInstanceUID=f"1.{study}", SeriesInstanceUID=f"1.{study}.{series}")
    for study in range(2)
    for series in range(2)
    for n in range(5)
]


def querying(
    held: list[Dataset] = HELD, *, most: int = 1000, offset: bool = True, availability: str | None = None
) -> Callable[[str], Answer]:
    """A site that answers queries: `most` of them on a page, from an offset on where it knows of such."""

    def answer(address: str) -> Answer:
        parts = urlsplit(address)
        words = parts.path.removeprefix("/rs/").split("/")
        match = {key: values[0] for key, values in parse_qs(parts.query).items()}
        keys = dict(zip(("StudyInstanceUID", "SeriesInstanceUID"), words[1::2], strict=False))
        keys |= {key: value for key, value in match.items() if key in TAGS}
        unique = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
        found = [one for one in held if all(str(one.get(key)) == value for key, value in keys.items())]
        if len(words) % 2 == 0:
            return (
                Answer(body=multipart(part10(one, IMPLICIT) for one in found))
                if found
                else Answer("404 None")
            )
        told = list({str(one.get(unique[words[-1]])): one for one in found}.values())
        first = int(match["offset"]) if offset else 0
        page = told[first : first + min(most, int(match["limit"]))]
        made = [
            {tag: {"vr": "UI", "Value": [str(one.get(key))]} for key, tag in TAGS.items()} for one in page
        ]
        for one in made:
            if availability is not None:
                one["00080056"] = {"vr": "CS", "Value": [availability]}
        return Answer(body=json.dumps(made).encode()) if made else Answer("204 No Content")

    return answer


async def planned(answer: Callable[[str], Answer], level: str, uid: str, **parents: str) -> Plan:
    async with web_site(answer) as site:
        async with WebPeer(aiodicom.DicomWeb(url=site.url), STEADY) as peer:
            unknown = Plan(Level.parse(level), Root.STUDY, [Target(uid, parents)])
            return await with_lists(peer, unknown)


@pytest.mark.parametrize("most", [1, 3, 10, 1000])
@pytest.mark.parametrize(
    ("level", "uid", "count"),
    [("PATIENT", "P1", 20), ("STUDY", "1.1", 10), ("SERIES", "1.1.0", 5), ("IMAGE", "1.1.0.3", 1)],
)
async def test_every_page_is_asked_for(level: str, uid: str, count: int, most: int) -> None:
    plan = await planned(querying(most=most), level, uid)
    assert (plan.stands_on, plan.objects, plan.sop_classes) == ("list", count, {CT: count})
    (target,) = plan.targets
    assert all(target.series)
    if level == "IMAGE":
        assert target.parents == {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.0"}


async def test_a_peer_that_knows_no_offset_ends_it() -> None:
    plan = await planned(querying(offset=False), "STUDY", "1.1")
    assert (plan.stands_on, plan.objects) == ("list", 10)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
async def test_nothing_is_no_list(level: str) -> None:
    plan = await planned(querying(), level, "1.99")
    assert (plan.stands_on, plan.objects) == ("counters", None)


async def test_availability_is_told() -> None:
    plan = await planned(querying(availability="NEARLINE"), "SERIES", "1.1.0")
    assert set(plan.unavailable.values()) == {"NEARLINE"}
    assert not (await planned(querying(availability="ONLINE"), "SERIES", "1.1.0")).unavailable


@pytest.mark.parametrize("bad", ["", "../../etc/x*", 7, None, ["1.2"], {"Value": "1.2"}])
async def test_what_is_no_uid_is_none(bad: Any) -> None:
    body = json.dumps(
        [{"00080018": {"Value": [bad]}}, {"00080018": bad}, {}, {"00080018": {"Value": ["1.5"]}}]
    )
    plan = await planned(lambda path: Answer(body=body.encode()), "STUDY", "1.1")
    assert plan.expected == ["1.5"]


async def test_answers_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webplan, "MAX_PLANNED", 15)
    many = [ct(f"1.1.0.{n}", StudyInstanceUID="1.1") for n in range(40)]
    with pytest.raises(aiodicom.WebFailed, match="more than 15 answers"):
        await planned(querying(many, most=5), "STUDY", "1.1")


async def test_what_is_left_out_of_an_answer_is_missing(tmp_path: Path) -> None:
    """With DICOMweb alone: the list is what tells."""
    whole, less = querying(), querying(HELD[:-2])

    def answer(path: str) -> Answer:
        return whole(path) if "?" in path else less(path)

    async with web_site(answer) as site:
        how: dict[str, Any] = {"dicomweb": site.url, "lazy": True, "timeouts": STEADY}
        async with aiodicom.connect("127.0.0.1", 9, **how) as pacs:
            result = await pacs.get("STUDY", "1.1", directory=tmp_path, via="web")
            assert (result.ok, result.outcome, result.stands_on) == (False, "partial", "list")
            assert result.missing == ["1.1.1.3", "1.1.1.4"]
            plan = await pacs.plan("STUDY", "1.1", via="web")
            assert (plan.stands_on, plan.objects, plan.via) == ("list", 10, ("web",))
            with pytest.raises(aiodicom.ConnectFailed):
                await pacs.plan("STUDY", "1.1")


async def test_a_port_that_aborts_is_no_reason_to_fail(tmp_path: Path) -> None:
    """What listens there may be anything: DICOMweb is asked all the same."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, web_site(querying()) as site:
        how: dict[str, Any] = {"dicomweb": site.url, "lazy": True, "timeouts": STEADY}
        async with aiodicom.connect("127.0.0.1", server.sockets[0].getsockname()[1], **how) as pacs:
            here = aiodicom.Listening(host="127.0.0.1", port=0, quiet=0.1)
            result = await pacs.get("STUDY", "1.1", directory=tmp_path, via="auto", listening=here)
    assert (result.ok, result.service, result.received) == (True, "WADO-RS", 10), result.to_dict()


@pytest.mark.parametrize("refused", [True, False])
async def test_a_patient_of_a_peer_without_patient_root_keeps_a_plan_that_can_be_asked_for(
    refused: bool,
) -> None:
    """By C-FIND become studies, which the site lists; else it is a patient, in the root that has such."""
    held = [
        ct(f"1.0.{n}", PatientID="P1", StudyInstanceUID="1.0", SeriesInstanceUID="1.0.0") for n in range(2)
    ]
    ways = Ways(study_only=True, hierarchical="refuse" if refused else "answer", relational="refuse")
    async with Misbehaving(held, ways) as peer, web_site(querying(held)) as site:
        async with aiodicom.connect("127.0.0.1", peer.port, dicomweb=site.url) as pacs:
            plan = await pacs.plan("PATIENT", ["P1", "P9"], via=("get", "web"), max_queries=1)
    if refused:
        assert (plan.level, plan.root) == (Level.PATIENT, Root.PATIENT)
    else:
        assert (plan.level, plan.root, plan.not_found) == (Level.STUDY, Root.STUDY, ("P9",))
        assert (plan.stands_on, plan.objects) == ("list", 2)


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE", "PATIENT"])
@pytest.mark.parametrize("status", ["404 Not Found", "400 Bad Request"])
async def test_a_query_that_fails_keeps_back_no_other_key(tmp_path: Path, level: str, status: str) -> None:
    """Some servers answer 404 where nothing matches; a 400 too is about one key alone."""
    whole = querying()

    def answer(path: str) -> Answer:
        return Answer(status) if "1.99" in path else whole(path)

    uid, count = {
        "STUDY": ("1.1", 10),
        "SERIES": ("1.1.0", 5),
        "IMAGE": ("1.1.0.3", 1),
        "PATIENT": ("P1", 20),
    }[level]
    async with web_site(answer) as site:
        how: dict[str, Any] = {"dicomweb": site.url, "lazy": True, "timeouts": STEADY}
        async with aiodicom.connect("127.0.0.1", 9, **how) as pacs:
            plan = await pacs.plan(level, ["1.99", uid], via="web")
            assert [one.listed for one in plan.targets] == [False, True]
            result = await pacs.get(plan=plan, directory=tmp_path)
    assert (result.received, result.ok, result.outcome) == (count, False, "partial")
    assert result.not_found == (["1.99"] if status.startswith("404") else [])
    assert ("400" in str(result.error)) == status.startswith("400")
