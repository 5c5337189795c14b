"""What a retrieve finds out before, by how many queries, and what it proposes by what they told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiodicom.association.errors import OperationFailed
from aiodicom.client.connect import connect
from aiodicom.client.pacs import Pacs
from aiodicom.client.plan import ROOM, SYNTAXES, Plan, Target
from aiodicom.client.planning import MAX_QUERIES, _texts
from aiodicom.client.quirks import Quirks
from aiodicom.client.retrieved import RetrieveResult
from aiodicom.dataset.coding import decode_answer, encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import MAX_CONTEXTS
from aiodicom.dimse.levels import Level, Root, find_model, get_model, move_model
from aiodicom.dimse.sop_classes import TRANSFER_SYNTAXES
from aiodicom.pdu import AAbort, AAssociateRJ, AAssociateRQ
from aiodicom.pdu.types import PduType
from aiodicom.server.archive_service import serve_archive
from aiodicom.testing import ScriptedListener, ScriptedPeer
from peers.misbehaving import Misbehaving, Ways
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from wire import STEADY, Said, accepted, ct, hear, identifier, play, reply

CT = "1.2.840.10008.5.1.4.1.1.2"
MODELS = (find_model, get_model, move_model)
EXPLICIT = "1.2.840.10008.1.2.1"
PRIVATE = "1.2.840.113619.4.27"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


def plan(*targets: Target) -> Plan:
    return Plan(Level.SERIES, Root.STUDY, list(targets))


def told(classes: set[str], syntaxes: set[str]) -> Target:
    return Target("1.2", {}, ("1.2.3",), frozenset(classes), frozenset(syntaxes))


def test_a_class_that_was_told_gets_one_context_a_transfer_syntax() -> None:
    model, *storage = plan(told({CT}, {PRIVATE_SYNTAX})).parts()[0].proposals
    assert model.abstract_syntax == get_model(Root.STUDY)
    assert not model.scp_role
    assert [p.transfer_syntaxes for p in storage] == [(PRIVATE_SYNTAX,), *((s,) for s in TRANSFER_SYNTAXES)]
    assert all(p.abstract_syntax == CT and p.scp_role for p in storage)


def many_classes(count: int) -> list[str]:
    return [f"1.2.840.10008.5.1.4.1.1.999.{number}" for number in range(count)]


def test_targets_of_too_many_classes_are_spread_over_associations() -> None:
    """128 contexts are what an association has: what does not fit goes over another, nothing is cut off."""
    targets = [
        Target(f"1.2.{n}", {}, (f"1.3.{n}",), frozenset({uid})) for n, uid in enumerate(many_classes(300))
    ]
    parts = plan(*targets).parts()
    assert [len(part.targets) for part in parts] == [63, 63, 63, 63, 48]
    for part in parts:
        assert len(part.proposals) <= MAX_CONTEXTS
        offered = {one.abstract_syntax for one in part.proposals[1:]}
        assert offered == {uid for target in part.targets for uid in target.sop_classes}


def test_a_target_of_too_many_classes_is_asked_for_by_its_instances() -> None:
    classes = many_classes(200)
    uids = tuple(f"1.3.{number}" for number in range(400))
    whole = Target(
        "1.2",
        {"PatientID": "P"},
        uids,
        frozenset(classes),
        classes=tuple(classes[n // 2] for n in range(400)),
    )
    parts = Plan(Level.STUDY, Root.PATIENT, [whole]).parts()
    assert [len(part.targets) for part in parts] == [63, 63, 63, 11]
    assert [uid for part in parts for one in part.targets for uid in one.uid.split("\\")] == list(uids)
    for one in parts[0].targets:
        assert one.level is Level.IMAGE
        assert one.parents == {"PatientID": "P", "StudyInstanceUID": "1.2"}


@pytest.mark.parametrize("count", [130, 200])
async def test_a_study_of_many_classes_comes_whole(tmp_path: Path, count: int) -> None:
    objects = [ct(f"1.2.3.4.{n}", SOPClassUID=f"1.2.826.0.1.{n}") for n in range(count)]
    async with serve_archive(tmp_path / "archive", port=0) as server:
        async with connect("127.0.0.1", server.port) as pacs:
            assert (await pacs.store(objects)).ok
            result = await pacs.get("STUDY", "1.2.3", directory=tmp_path / "out")
    assert result.ok
    assert len(result.files) == count


@pytest.mark.parametrize("count", [1, 2, 7, 8, 60, 62, 63])
def test_every_class_and_syntax_is_proposed_within_the_limit(count: int) -> None:
    classes = {f"1.2.840.10008.5.1.4.1.1.999.{n}" for n in range(count)}
    proposals = plan(told(classes, {PRIVATE_SYNTAX})).parts()[0].proposals
    assert len(proposals) <= MAX_CONTEXTS
    assert all(len(one.transfer_syntaxes) <= SYNTAXES for one in proposals)
    offered: dict[str, set[str]] = {}
    for p in proposals[1:]:
        offered.setdefault(p.abstract_syntax, set()).update(p.transfer_syntaxes)
    assert offered == {uid: {PRIVATE_SYNTAX, *TRANSFER_SYNTAXES} for uid in classes}


def test_an_unknown_target_does_not_cost_a_known_one_its_syntaxes() -> None:
    proposals = plan(told({PRIVATE}, {PRIVATE_SYNTAX}), Target("1.3", {})).parts()[0].proposals
    assert len(proposals) == 1 + ROOM
    assert any(p.abstract_syntax == PRIVATE and p.transfer_syntaxes == (PRIVATE_SYNTAX,) for p in proposals)
    assert any(p.abstract_syntax == CT for p in proposals)


def test_nothing_known_proposes_the_standards_classes() -> None:
    proposals = plan(Target("1.3", {})).parts()[0].proposals
    assert len(proposals) == 1 + ROOM
    assert proposals[1].abstract_syntax == CT
    offered = [one.transfer_syntaxes for one in proposals if one.abstract_syntax == CT]
    assert offered == [
        (TRANSFER_SYNTAXES[0],),
        (TRANSFER_SYNTAXES[1],),
        TRANSFER_SYNTAXES[2 : 2 + SYNTAXES],
    ]
    assert len({one.abstract_syntax for one in proposals}) >= 90
    assert all(len(one.transfer_syntaxes) <= SYNTAXES for one in proposals)


def test_what_is_expected_is_known_only_when_every_target_was_found() -> None:
    assert plan(told({CT}, set()), Target("1.3", {})).expected is None
    assert plan(told({CT}, set()), told({CT}, set())).expected == ["1.2.3"]


# --- the queries

Answers = list[Dataset] | int
Query = Callable[[str, Dataset], Answers]


async def queried(peer: ScriptedPeer, answer: Query) -> list[tuple[str, Dataset]]:
    """Answer every query until the release, by its level and keys: matches, or a failure status."""
    asked: list[tuple[str, Dataset]] = []
    while not await releasing(peer):
        heard = await hear(peer, m.CFindRQ)
        asked.append((heard.dataset.QueryRetrieveLevel, heard.dataset))
        found = answer(*asked[-1])
        for match in found if isinstance(found, list) else []:
            await reply(peer, heard, 0xFF00, match)
        await reply(peer, heard, found if isinstance(found, int) else 0)
    await peer.answer_release()
    return asked


async def releasing(peer: ScriptedPeer) -> bool:
    """Whether what comes next is an A-RELEASE-RQ."""
    await peer._within(peer._fill(1), "the next PDU")
    return peer._inbox[0] == PduType.A_RELEASE_RQ


async def fetched(listener: ScriptedListener) -> Said:
    """Answer a C-GET with success and nothing, on the association for it."""
    peer, _ = await accepted(listener)
    heard = await hear(peer, m.CGetRQ)
    await reply(peer, heard, 0, completed=0, failed=0, warning=0)
    await peer.answer_release()
    return heard


async def retrieved(tmp_path: Path, level: str, script: Any, **how: Any) -> RetrieveResult:
    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.get(level, "1.2.3", directory=tmp_path, **how)

    found: RetrieveResult = await play(script, user, timeouts=replace(STEADY, artim=0.1))
    return found


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
async def test_without_relational_queries_a_study_is_asked_for_level_by_level(
    tmp_path: Path, level: str
) -> None:
    """A series without its study is in no hierarchical query: for it alone a key above is left empty."""
    asked: list[tuple[str, Dataset]] = []

    async def script(listener: ScriptedListener) -> None:
        peer, request = await accepted(listener, relational=False)
        assert all(one.information == b"\1" for one in request.user_information.extended)
        named = {one.sop_class_uid for one in request.user_information.extended}
        assert named == {model(root) for root in (Root.PATIENT, Root.STUDY) for model in MODELS}
        asked.extend(await queried(peer, lambda level, keys: []))
        assert (await fetched(listener)).dataset.QueryRetrieveLevel == level

    result = await retrieved(tmp_path, level, script, root="STUDY")
    empty = [keys for _, keys in asked if keys.get("StudyInstanceUID", "") == ""]
    assert bool(empty) == (level != "STUDY")
    assert [one for one, _ in asked][:1] == ["SERIES" if level == "STUDY" else "IMAGE"]
    if level != "STUDY":
        assert result.parents_unknown[0] == "StudyInstanceUID"


async def test_a_list_that_was_not_granted_is_confirmed_by_the_peers_counts(tmp_path: Path) -> None:
    """A series under a known study may be asked for; three of its five are no whole list."""

    def answer(level: str, keys: Dataset) -> Answers:
        own = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}
        if level == "SERIES":
            return [identifier("SERIES", **own, NumberOfSeriesRelatedInstances=5)]
        return [identifier("IMAGE", **own, SOPInstanceUID=f"1.2.3.{n}", SOPClassUID=CT) for n in range(3)]

    asked: list[tuple[str, Dataset]] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, relational=False)
        asked.extend(await queried(peer, answer))
        await fetched(listener)

    result = await retrieved(tmp_path, "SERIES", script, root="STUDY", parents={"StudyInstanceUID": "1.2"})
    assert [level for level, _ in asked] == ["IMAGE", "SERIES"]
    assert result.capped
    assert result.expected_count == 5


@pytest.mark.parametrize("shown", [{}, {"StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1"}])
@pytest.mark.parametrize("relational", [True, False])
async def test_answers_that_do_not_show_their_key_make_no_plan(
    tmp_path: Path, shown: dict[str, str], relational: bool
) -> None:
    """A peer that ignores keys names another patient's objects: they are not what was asked for."""

    def answer(level: str, keys: Dataset) -> Answers:
        if level == "SERIES":
            return [identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")]
        return [identifier("IMAGE", SOPInstanceUID=f"1.9.{n}", SOPClassUID=CT, **shown) for n in range(3)]

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener, relational=relational)
        await queried(peer, answer)
        await fetched(listener)

    result = await retrieved(tmp_path, "STUDY", script, root="STUDY")
    assert result.expected is None


@pytest.mark.parametrize("how", ["abort", "reject"])
async def test_a_peer_that_does_not_bear_the_question_is_asked_without_it(tmp_path: Path, how: str) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer = await listener.next_connection()
        assert (await peer.expect(AAssociateRQ)).user_information.extended
        await peer.send(AAbort(2, 0) if how == "abort" else AAssociateRJ(1, 1, 1))
        await peer.close()
        peer, request = await accepted(listener)
        assert not request.user_information.extended
        await queried(peer, lambda level, keys: [])
        await fetched(listener)

    result = await retrieved(tmp_path, "SERIES", script, root="STUDY")
    assert result.outcome == "nothing"


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
@pytest.mark.parametrize("answer", [0xA900, []], ids=["refused", "nothing"])
async def test_a_series_without_its_study_is_asked_for_and_not_searched(
    tmp_path: Path, level: str, answer: Answers
) -> None:
    asked: list[tuple[str, Dataset]] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        asked.extend(await queried(peer, lambda level, keys: answer))
        assert (await fetched(listener)).dataset.QueryRetrieveLevel == level

    result = await retrieved(tmp_path, level, script, root="STUDY")
    assert [level for level, _ in asked] == ["IMAGE"]
    assert result.expected is None
    assert result.parents_unknown[0] == "StudyInstanceUID"
    assert result.outcome == "nothing"


async def test_a_study_is_found_out_level_by_level(tmp_path: Path) -> None:
    """A peer that wants every unique key above: the patient of a study is told by the study root."""

    def answer(level: str, keys: Dataset) -> Answers:
        if level == "STUDY":
            assert keys.StudyInstanceUID == "1.2.3"
            return [identifier("STUDY", StudyInstanceUID="1.2.3", PatientID="P")]
        if not keys.get("PatientID") or (level == "IMAGE" and not keys.SeriesInstanceUID):
            return 0xA900
        if level == "SERIES":
            series = [f"1.2.3.{n}" for n in (1, 2)]
            return [identifier("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID=one) for one in series]
        one = keys.SeriesInstanceUID
        return [identifier("IMAGE", SeriesInstanceUID=one, SOPInstanceUID=f"{one}.1", SOPClassUID=CT)]

    asked: list[tuple[str, Dataset]] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        asked.extend(await queried(peer, answer))
        assert (await fetched(listener)).dataset.PatientID == "P"

    result = await retrieved(tmp_path, "STUDY", script, root="PATIENT")
    assert [level for level, _ in asked] == ["IMAGE", "STUDY", "SERIES", "IMAGE", "IMAGE"]
    assert result.expected == ["1.2.3.1.1", "1.2.3.2.1"]
    assert result.outcome == "failed"  # nothing of it came


@pytest.mark.parametrize("most", [None, 50, 7, 1, 0])
async def test_finding_out_is_bounded(tmp_path: Path, most: int | None) -> None:
    def answer(level: str, keys: Dataset) -> Answers:
        if level == "SERIES":
            own = {"StudyInstanceUID": "1.2.3"}
            return [identifier("SERIES", **own, SeriesInstanceUID=f"1.2.3.{n}") for n in range(1, 200)]
        if not keys.SeriesInstanceUID:
            return 0xA900
        return [identifier("IMAGE", SOPInstanceUID=f"{keys.SeriesInstanceUID}.1", SOPClassUID=CT)]

    asked: list[tuple[str, Dataset]] = []

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        asked.extend(await queried(peer, answer))
        await fetched(listener)

    how = {} if most is None else {"max_queries": most}
    result = await retrieved(tmp_path, "STUDY", script, root="STUDY", **how)
    assert len(asked) == (MAX_QUERIES if most is None else most)
    assert result.expected is None
    assert result.stands_on == "counters"


@pytest.mark.parametrize("way", ["get", "move", "plan"])
async def test_a_number_of_queries_below_zero_is_refused(tmp_path: Path, way: str) -> None:
    async with Misbehaving([]) as peer, connect("127.0.0.1", peer.port) as pacs:
        how: dict[str, Any] = {} if way == "plan" else {"directory": tmp_path}
        with pytest.raises(ValueError, match="max_queries is 0 or more"):
            await getattr(pacs, way)("STUDY", "1.2.3", max_queries=-1, **how)


@pytest.mark.parametrize("how", ["abort", "hangup", "silence"])
async def test_a_query_that_costs_the_association_does_not_cost_the_retrieve(
    tmp_path: Path, how: str
) -> None:
    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        await hear(peer, m.CFindRQ)
        if how == "abort":
            await peer.send(AAbort(0, 0))
        elif how == "hangup":
            await peer.reset()
        else:
            await peer.expect(AAbort)
        await peer.close()
        await fetched_twice(listener)

    async def user(client: Pacs) -> RetrieveResult:
        async with client:
            return await client.get("SERIES", ["1.2.3", "1.2.4"], directory=tmp_path)

    times = replace(STEADY, inactivity=0.3) if how == "silence" else STEADY
    result = await play(script, user, timeouts=times)
    assert result.status == 0
    assert result.not_found == ["1.2.3", "1.2.4"]
    assert result.error is None


async def fetched_twice(listener: ScriptedListener) -> None:
    """The keys after the one whose query was answered so are not asked for any more."""
    peer, _ = await accepted(listener)
    for _ in range(2):
        heard = await hear(peer, m.CGetRQ)
        await reply(peer, heard, 0, completed=0, failed=0, warning=0)
    await peer.answer_release()


@pytest.mark.parametrize("level", ["IMAGE", "SERIES"])
async def test_answers_without_end_make_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    """At whichever level they come: the query is cancelled, the retrieve tried all the same."""
    monkeypatch.setattr("aiodicom.client.planning.MAX_PLANNED", 20)

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(listener)
        while not await releasing(peer):
            heard = await hear(peer)
            if isinstance(heard.message, m.CCancelRQ):
                continue
            asked = heard.dataset.QueryRetrieveLevel
            if asked != level:
                await reply(peer, heard, 0xA900)
                continue
            for number in range(60):
                uids = {"SeriesInstanceUID": f"1.2.3.{number}", "SOPInstanceUID": f"1.2.4.{number}"}
                keys = {key: uid for key, uid in uids.items() if key in heard.dataset}
                await reply(peer, heard, 0xFF00, identifier(asked, StudyInstanceUID="1.2.3", **keys))
            await reply(peer, heard, 0xFE00)
        await peer.answer_release()
        await fetched(listener)

    result = await retrieved(tmp_path, "STUDY", script, root="STUDY")
    assert result.expected is None
    assert result.status == 0


def patients() -> list[Dataset]:
    """Two studies of the patient P1, one of P2."""
    of = {"1.2.3": "P1", "1.2.4": "P1", "1.2.5": "P2"}
    return [
        ct(f"{study}.1.{n}", PatientID=patient, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
        for study, patient in of.items()
        for n in range(2)
    ]


@pytest.mark.parametrize("grants", [True, False])
@pytest.mark.parametrize("into", ["files", "datasets", "auto"])
async def test_a_patient_of_a_peer_without_patient_root_is_retrieved_by_studies(
    tmp_path: Path, grants: bool, into: str
) -> None:
    async with Misbehaving(patients(), Ways(study_only=True, grants=grants)) as peer:
        async with connect("127.0.0.1", peer.port) as pacs:
            how: dict[str, Any] = {} if into == "datasets" else {"directory": tmp_path}
            how |= {"via": "auto"} if into == "auto" else {}
            result = await pacs.get("PATIENT", "P1", **how)
            assert result.ok
            assert result.expected == ["1.2.3.1.0", "1.2.3.1.1", "1.2.4.1.0", "1.2.4.1.1"]
            assert (result.stands_on, result.received, result.unasked) == ("list", 4, [])
            assert [(level, keys.StudyInstanceUID) for _, level, keys in peer.asked] == [
                ("STUDY", "1.2.3"),
                ("STUDY", "1.2.4"),
            ]
            assert all("PatientID" not in keys for _, _, keys in peer.asked)


async def test_patients_of_whom_a_peer_without_patient_root_has_nothing_are_named(tmp_path: Path) -> None:
    async with Misbehaving(patients(), Ways(study_only=True)) as peer:
        async with connect("127.0.0.1", peer.port) as pacs:
            retrieve = pacs.get("PATIENT", ["P2", "P9"], directory=tmp_path)
            result = await retrieve
            assert (result.outcome, result.received, result.not_found) == ("partial", 2, ["P9"])
            assert (await retrieve.again()).not_found == ["P9"]
            nothing = await pacs.get("PATIENT", "P9", directory=tmp_path)
            assert (nothing.outcome, nothing.not_found, nothing.error) == ("nothing", ["P9"], None)
            plan = await pacs.plan("PATIENT", ["P2", "P9"])
            assert (plan.level, plan.objects, plan.not_found) == (Level.STUDY, 2, ("P9",))
            assert Plan.from_json(plan.to_json()) == plan
            assert (await pacs.get(plan=plan, directory=tmp_path / "out")).not_found == ["P9"]


@pytest.mark.parametrize(
    "ways",
    [
        Ways(study_only=True, relational="refuse", hierarchical="refuse"),
        Ways(study_only=True, keep_back=frozenset({"1.2.4.1.0"})),
    ],
)
async def test_what_a_patient_by_studies_lacks_is_no_success(tmp_path: Path, ways: Ways) -> None:
    """The query for the studies is refused, or an object is held back."""
    async with Misbehaving(patients(), ways) as peer, connect("127.0.0.1", peer.port) as pacs:
        retrieve = pacs.get("PATIENT", "P1", directory=tmp_path)
        if ways.keep_back:
            result = await retrieve
            assert (result.outcome, result.missing) == ("partial", ["1.2.4.1.0"])
        else:
            with pytest.raises(OperationFailed, match="C-FIND"):
                await retrieve
            assert not retrieve.result.ok


async def test_studies_beyond_the_queries_of_a_plan_are_retrieved_without_a_list(tmp_path: Path) -> None:
    async with Misbehaving(patients(), Ways(study_only=True)) as peer:
        async with connect("127.0.0.1", peer.port) as pacs:
            result = await pacs.get("PATIENT", "P1", directory=tmp_path, max_queries=2)
            assert (result.expected, result.received) == (None, 4)
            assert result.ok
            assert len(peer.queries) == 2


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES"])
async def test_a_patient_id_with_a_wildcard_in_it_is_no_key_above(tmp_path: Path, level: str) -> None:
    """A unique key above the level has a single value: in the study root it need not be there."""
    objects = [ct(f"1.2.3.1.{n}", PatientID="P*1", SeriesInstanceUID="1.2.3.1") for n in range(3)]
    async with Misbehaving(objects, Ways(grants=False, single=True)) as peer:
        async with connect("127.0.0.1", peer.port) as pacs:
            above = {"PatientID": "P*1", "StudyInstanceUID": "1.2.3"}
            parents = dict(list(above.items())[: ("PATIENT", "STUDY", "SERIES").index(level)])
            uid = {"PATIENT": "P*1", "STUDY": "1.2.3", "SERIES": "1.2.3.1"}[level]
            result = await pacs.get(level, uid, parents=parents, root="PATIENT", directory=tmp_path)
            assert (result.outcome, result.stands_on, result.received) == ("complete", "list", 3)
            assert peer.asked[0][2].PatientID == "P*1"


@pytest.mark.parametrize("touched", [False, True])
def test_texts_are_the_same_whether_an_answer_was_looked_at_or_not(touched: bool) -> None:
    source = identifier(
        SOPInstanceUID="1.2.3", SOPClassesInStudy=["1.2", "1.2.3.4"], StudyInstanceUID="", InstanceNumber=7
    )
    source.ModalitiesInStudy = ["CT", "PT"]
    answer, undecoded = decode_answer(encode_dataset(source, EXPLICIT), EXPLICIT)
    assert not undecoded
    keys = ("SOPInstanceUID", "SOPClassesInStudy", "StudyInstanceUID", "InstanceNumber", "ModalitiesInStudy")
    if touched:
        for _ in answer.iterall():
            pass
    assert _texts(answer, [*keys, "RetrieveAETitle"]) == {
        "SOPInstanceUID": "1.2.3",
        "SOPClassesInStudy": "1.2\\1.2.3.4",
        "InstanceNumber": "7",
        "ModalitiesInStudy": "CT\\PT",
    }
    assert isinstance(answer.get_item("SOPInstanceUID"), DataElement if touched else RawDataElement)


@pytest.mark.parametrize("cap", [3, 7])
@pytest.mark.parametrize("grants", [True, False])
async def test_a_list_of_as_many_as_the_peer_is_known_to_stop_at_is_not_believed(
    tmp_path: Path, cap: int, grants: bool
) -> None:
    """By one query or level by level: of five series of two each a list that stops is none of all."""
    held = [
        ct(f"1.2.3.{series}.{n}", StudyInstanceUID="1.2.3", SeriesInstanceUID=f"1.2.3.{series}")
        for series in range(5)
        for n in range(2)
    ]
    async with Misbehaving(held, Ways(cap=cap, grants=grants)) as peer:
        async with connect("127.0.0.1", peer.port, quirks=Quirks(cap=cap)) as pacs:
            plan = await pacs.plan("STUDY", "1.2.3", root="STUDY")
            assert plan.capped == (cap == 3)
            assert (plan.stands_on, plan.objects) == ("list", 10) if cap == 7 else plan.stands_on != "list"
            result = await pacs.get(plan=plan, directory=tmp_path)
            assert (result.received, result.ok) == (10, True)


@pytest.mark.parametrize("dated", [True, False])
async def test_studies_of_a_patient_beyond_where_the_peer_stops_are_asked_for_in_parts(
    tmp_path: Path, dated: bool
) -> None:
    """That there may be more is told: no query shows that no study is without a date."""
    held = [
        ct(f"1.2.{n}.1", PatientID="P1", StudyInstanceUID=f"1.2.{n}", StudyDate=f"202001{n + 10}" * dated)
        for n in range(7)
    ]
    async with Misbehaving(held, Ways(study_only=True, cap=3)) as peer:
        async with connect("127.0.0.1", peer.port, quirks=Quirks(cap=3)) as pacs:
            result = await pacs.get("PATIENT", "P1", directory=tmp_path)
            assert (result.received, result.capped) == (7 if dated else 3, True)
            assert len(peer.queries) <= MAX_QUERIES
