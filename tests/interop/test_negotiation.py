"""What is negotiated beside contexts, with pynetdicom in both roles: identity, windows, extensions, roles."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.dimse.contexts import VERIFICATION, Proposal
from aiodicom.dimse.levels import Root, find_model, get_model
from aiodicom.pdu.types import Rejection
from interop import inprocess
from interop.peers import HOST, dicom_files, require_peer
from interop.samples import CT, Samples, bodies
from interop.site import TIMEOUTS
from pydicom import dcmread
from pydicom.dataset import Dataset

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]

FIND, GET = find_model(Root.STUDY), get_model(Root.STUDY)
PASSWORDS = {b"ann": b"secret"}


@pytest.fixture(autouse=True)
def _pynetdicom() -> None:
    require_peer("pynetdicom")


def contexts(*uids: str) -> list[Any]:
    from pynetdicom.presentation import build_context

    return [build_context(uid) for uid in (VERIFICATION, *uids)]


def connect(port: int, **options: Any) -> aiodicom.Pacs:
    return aiodicom.connect(HOST, port, called_ae="PYNETDICOM", timeouts=TIMEOUTS, **options)


# --- User identity

IDENTITIES = {
    "name": aiodicom.UserIdentityRQ(1, b"ann"),
    "passcode": aiodicom.UserIdentityRQ(2, b"ann", b"secret"),
    "kerberos": aiodicom.UserIdentityRQ(3, bytes(range(256))),
    "saml": aiodicom.UserIdentityRQ(4, b"<Assertion>" + b"x" * 20001),
    "token": aiodicom.UserIdentityRQ(5, b"a.b.c"),
}


@pytest.mark.parametrize("wanting", [False, True], ids=["silent", "response"])
@pytest.mark.parametrize("kind", IDENTITIES)
async def test_our_identity_at_pynetdicom(kind: str, wanting: bool) -> None:
    from pynetdicom import evt

    offered = IDENTITIES[kind]
    identity = aiodicom.UserIdentityRQ(
        offered.identity_type, offered.primary_field, offered.secondary_field, wanting
    )
    seen = []

    def judge(event: Any) -> tuple[bool, bytes | None]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return True, b"server ticket"

    with inprocess.scp(contexts(), [(evt.EVT_USER_ID, judge)]) as port:
        async with (
            connect(port, user_identity=identity) as pacs,
            pacs.association([Proposal(VERIFICATION)]) as association,
        ):
            assert (await pacs.echo()) == 0
            answer = association.session.answer
    assert seen == [(identity.identity_type, identity.primary_field, identity.secondary_field)]
    assert answer is not None
    response = answer.user_information.user_identity_response
    if wanting and identity.identity_type > 2:
        assert response == aiodicom.UserIdentityAC(b"server ticket")
    else:
        # pynetdicom answers types 1 and 2 with no item where PS3.7 D.3.3.7.2 has one of length zero
        assert response is None


async def test_our_identity_refused_by_pynetdicom() -> None:
    from pynetdicom import evt

    identity = aiodicom.UserIdentityRQ(2, b"ann", b"wrong")
    refusing = [(evt.EVT_USER_ID, lambda event: (False, None))]
    with inprocess.scp(contexts(), refusing) as port, pytest.raises(aiodicom.AssociationRejected) as caught:
        async with connect(port, user_identity=identity):
            pass
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 2, 1)


async def judge(identity: aiodicom.UserIdentityRQ, caller: Any) -> Any:
    """Our hook: a table of passwords, and any token gets another."""
    if identity.identity_type == 5:
        return aiodicom.UserIdentityAC(b"renewed " + identity.primary_field)
    if identity.identity_type == 2:
        if PASSWORDS.get(identity.primary_field) != identity.secondary_field:
            return Rejection.NO_REASON
        return aiodicom.UserIdentityAC()
    return None


@pytest.mark.parametrize(
    ("kind", "primary", "secondary", "response"),
    [
        (1, b"ann", b"", None),
        (2, b"ann", b"secret", b""),
        (5, b"a.b.c", b"", b"renewed a.b.c"),
    ],
    ids=["name", "passcode", "token"],
)
@pytest.mark.parametrize("wanting", [False, True], ids=["silent", "response"])
async def test_pynetdicoms_identity_at_our_archive(
    kind: int,
    primary: bytes,
    secondary: bytes,
    response: bytes | None,
    wanting: bool,
    serving: Any,
    tmp_path: Path,
) -> None:
    from pynetdicom.pdu_primitives import UserIdentityNegotiation

    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field, item.secondary_field = primary, secondary
    item.positive_response_requested = wanting
    server = await serving(tmp_path, access=aiodicom.Access(identity=judge, require_identity=True))

    def work(assoc: Any) -> Any:
        return assoc.acceptor.user_identity, assoc.send_c_echo().Status

    answer, status = await inprocess.scu(server.port, contexts(), work, items=[item])
    assert status == 0
    if wanting and response:
        assert answer.server_response == response
    elif wanting and response is not None:
        assert answer is not None
    else:
        assert answer is None


@pytest.mark.parametrize("offered", [True, False], ids=["wrong", "none"])
async def test_our_archive_rejects_a_wrong_identity(offered: bool, serving: Any, tmp_path: Path) -> None:
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import UserIdentityNegotiation

    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field, item.secondary_field = 2, b"ann", b"wrong"
    server = await serving(tmp_path, access=aiodicom.Access(identity=judge, require_identity=True))

    def attempt() -> Any:
        ae = AE(ae_title="PYNETDICOM")
        ae.requested_contexts = contexts()
        for _ in range(10):
            assoc = ae.associate(HOST, server.port, ae_title="OURS", ext_neg=[item] if offered else [])
            assert not assoc.is_established
            # pynetdicom calls itself aborted when the rejection is there before it has looked for it
            if assoc.acceptor.primitive is not None:
                break
        return assoc.is_rejected, assoc.acceptor.primitive.result, assoc.acceptor.primitive.diagnostic

    assert await asyncio.to_thread(attempt) == (True, 1, 1)


# --- Asynchronous operations


async def test_a_window_offered_to_pynetdicom_is_one() -> None:
    """pynetdicom grants one of each where it answers at all; so do our operations go one at a time."""
    from pynetdicom import evt

    seen = []

    def window(event: Any) -> tuple[int, int]:
        seen.append((event.nr_invoked, event.nr_performed))
        return event.nr_invoked, event.nr_performed

    for handlers in ([(evt.EVT_ASYNC_OPS, window)], []):
        with inprocess.scp(contexts(), handlers) as port:
            async with (
                connect(port, async_operations=aiodicom.AsyncOperationsWindow(0, 0)) as pacs,
                pacs.association([Proposal(VERIFICATION)]) as association,
            ):
                assert association.session.window == aiodicom.AsyncOperationsWindow(1, 1)
                answers = await asyncio.gather(*(pacs.echo() for _ in range(5)))
    assert answers == [0] * 5
    assert seen == [(0, 0)]


@pytest.mark.parametrize(
    ("willing", "granted"),
    [(None, None), ((4, 2), (2, 4)), ((0, 0), (8, 8))],
    ids=["off", "some", "unlimited"],
)
async def test_a_window_asked_of_our_archive(
    willing: tuple[int, int] | None, granted: tuple[int, int] | None, serving: Any, tmp_path: Path
) -> None:
    from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = 8
    item.maximum_number_operations_performed = 8
    window = None if willing is None else aiodicom.AsyncOperationsWindow(*willing)
    server = await serving(tmp_path, async_operations=window)

    def work(assoc: Any) -> Any:
        told = [
            (one.maximum_number_operations_invoked, one.maximum_number_operations_performed)
            for one in assoc.acceptor.primitive.user_information
            if isinstance(one, AsynchronousOperationsWindowNegotiation)
        ]
        return told, assoc.send_c_echo().Status

    told, status = await inprocess.scu(server.port, contexts(), work, items=[item])
    assert status == 0
    assert told == ([] if granted is None else [granted])


# --- Extended negotiation


async def test_our_extensions_at_pynetdicom() -> None:
    from pynetdicom import evt

    seen: dict[str, Any] = {}

    def extended(event: Any) -> dict[str, bytes]:
        seen["extended"] = dict(event.app_info)[FIND]  # beside ours, which ask for relational queries
        return {FIND: b"\x01\x00"}

    def common(event: Any) -> Any:
        seen["common"] = {
            str(uid): (
                str(item.service_class_uid),
                [str(one) for one in item.related_general_sop_class_identification],
            )
            for uid, item in event.items.items()
        }
        return event.items

    handlers = [(evt.EVT_SOP_EXTENDED, extended), (evt.EVT_SOP_COMMON, common)]
    with inprocess.scp(contexts(FIND), handlers) as port:
        async with (
            connect(
                port,
                extended=(aiodicom.SOPClassExtendedNegotiation(FIND, b"\x01\x01\x01"),),
                common_extended=(
                    aiodicom.SOPClassCommonExtendedNegotiation("1.2.3", "1.2.840.10008.4.2", (CT, "1.2.4")),
                ),
            ) as pacs,
            pacs.association([Proposal(FIND)]) as association,
        ):
            answer = association.session.answer
            assert (await pacs.echo()) == 0
    assert seen == {
        "extended": b"\x01\x01\x01",
        "common": {"1.2.3": ("1.2.840.10008.4.2", [CT, "1.2.4"])},
    }
    assert answer is not None
    assert answer.user_information.extended == (aiodicom.SOPClassExtendedNegotiation(FIND, b"\x01\x00"),)


async def test_pynetdicoms_extensions_at_our_archive(serving: Any, tmp_path: Path) -> None:
    """Relational queries and combined ranges are granted (PS3.4 C.5.1.1), fuzzy names are not."""
    from pynetdicom.pdu_primitives import SOPClassCommonExtendedNegotiation, SOPClassExtendedNegotiation

    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = FIND
    extended.service_class_application_information = b"\x01\x01\x01"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = ["1.2.3", "1.2.4"]
    server = await serving(tmp_path)

    def work(assoc: Any) -> Any:
        return assoc.acceptor.sop_class_extended, assoc.send_c_echo().Status

    told, status = await inprocess.scu(server.port, contexts(FIND), work, items=[extended, common])
    assert (told, status) == ({FIND: b"\x01\x01\x00"}, 0)


# --- Role selection


def give(samples: Samples) -> Any:
    """A C-GET handler that sends the CT images whatever is asked."""
    wanted = samples.below("SERIES", samples.all[0].key("SERIES"))

    def handle(event: Any) -> Any:
        yield len(wanted)
        for one in wanted:
            yield 0xFF00, dcmread(one.path)

    return handle


def answer_find(samples: Samples) -> Any:
    """A C-FIND handler that lists the CT images."""
    wanted = samples.below("SERIES", samples.all[0].key("SERIES"))

    def handle(event: Any) -> Any:
        for one in wanted:
            answer = Dataset()
            answer.QueryRetrieveLevel = "IMAGE"
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
                setattr(answer, keyword, one.header[keyword].value)
            yield 0xFF00, answer

    return handle


def assume_roles(event: Any) -> None:
    """Have pynetdicom send on the contexts though it left the roles out, as lenient archives do."""
    for context in event.assoc._accepted_cx.values():
        context._as_scu = context._as_scp = True


@pytest.mark.parametrize("lenient", [True, False], ids=["lenient", "strict"])
async def test_a_peer_that_leaves_the_roles_out_and_sends(
    lenient: bool, samples: Samples, tmp_path: Path
) -> None:
    from pynetdicom import evt

    handlers = [
        (evt.EVT_C_FIND, answer_find(samples)),
        (evt.EVT_C_GET, give(samples)),
        (evt.EVT_ACCEPTED, assume_roles),
    ]
    series = samples.all[0].key("SERIES")
    with inprocess.scp(contexts(FIND, GET, CT), handlers) as port:
        async with connect(port, lenient_roles=lenient) as pacs:
            result = await pacs.get("SERIES", series, directory=tmp_path, root="STUDY")
            storage = [one for one in pacs.info.contexts if one.abstract_syntax == CT]
    assert storage
    assert all(one.roles_assumed is one.scp is lenient for one in storage)
    if lenient:
        assert result.ok, result
        assert bodies(result.files) == samples.bodies("SERIES", series)
    else:  # PS3.7 D.3.3.4: no answer is the default role, and C-STORE to us is refused with 0122H
        assert not result.ok
        assert (result.completed, result.failed) == (0, 3)
        assert (
            sorted(result.missing) == sorted(result.failed_uids) == sorted(samples.bodies("SERIES", series))
        )
        assert dicom_files(tmp_path) == []


async def test_a_peer_that_leaves_the_roles_out_and_sends_nothing(samples: Samples, tmp_path: Path) -> None:
    """pynetdicom as it is: without roles it fails each sub-operation, and the result says so."""
    from pynetdicom import evt

    handlers = [(evt.EVT_C_FIND, answer_find(samples)), (evt.EVT_C_GET, give(samples))]
    series = samples.all[0].key("SERIES")
    with inprocess.scp(contexts(FIND, GET, CT), handlers) as port:
        async with connect(port) as pacs:
            result = await pacs.get("SERIES", series, directory=tmp_path, root="STUDY")
    assert not result.ok
    assert (result.status, result.completed, result.failed) == (0xA702, 0, 3)
    assert sorted(result.missing) == sorted(samples.bodies("SERIES", series))


async def test_a_get_from_our_archive_without_roles(serving: Any, filled: Path, samples: Samples) -> None:
    """Nothing may be sent to a user that did not ask for the SCP role: A702H, and every UID in the list."""

    def work(assoc: Any) -> Any:
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = samples.all[0].key("STUDY")
        asked.SeriesInstanceUID = samples.all[0].key("SERIES")
        return list(assoc.send_c_get(asked, GET))

    server = await serving(filled)
    ((status, failed),) = await inprocess.scu(server.port, contexts(GET, CT), work)
    assert status.Status == 0xA702
    assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0, 3)
    wanted = samples.bodies("SERIES", samples.all[0].key("SERIES"))
    assert sorted(failed.FailedSOPInstanceUIDList) == sorted(wanted)
