"""Who may associate: titles, addresses, certificates, user identities."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
import trustme
from aiodicom.association.connect import Peer
from aiodicom.association.errors import AssociationRejected, TLSFailed
from aiodicom.association.tls import client_context, server_context
from aiodicom.client.pacs import Pacs
from aiodicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    PresentationContextRQ,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    encode,
)
from aiodicom.server.access import Access, Caller
from aiodicom.testing import ScriptedPeer, associate_request
from wire import LONG, PATIENCE, Held, bystander, calling, echo, gone, on_each_loop, serving, using

NO_REASON = AAssociateRJ(1, 1, 1)
CALLING = AAssociateRJ(1, 1, 3)
CALLED = AAssociateRJ(1, 1, 7)


async def answer(server: Any, raw: bytes | None = None, **how: Any) -> Any:
    """The answer to an association request."""
    async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
        await peer.send(raw if raw is not None else associate_request(**how))
        return await peer.receive()


@on_each_loop
async def test_everyone_may_call_by_default() -> None:
    async with serving() as server:
        assert isinstance(await answer(server, called_ae="ANY", calling_ae="BODY"), AAssociateAC)


async def test_called_and_calling_titles() -> None:
    access = Access(called_ae={"ARCHIVE"}, calling_ae=["CT1", "MR 2"])
    async with serving(access=access) as server:
        assert isinstance(await answer(server, called_ae="ARCHIVE", calling_ae="CT1"), AAssociateAC)
        assert isinstance(await answer(server, called_ae="ARCHIVE", calling_ae="MR 2"), AAssociateAC)
        assert await answer(server, called_ae="archive", calling_ae="CT1") == CALLED
        assert await answer(server, called_ae="ARCHIVE", calling_ae="CT2") == CALLING
        assert await answer(server, called_ae="X", calling_ae="X") == CALLED
        # leading and trailing spaces are not significant (PS3.8 9.3.2)
        raw = encode(associate_request(called_ae="X" * 16, calling_ae="Y" * 16))
        padded = raw.replace(b"X" * 16, b"    ARCHIVE     ").replace(b"Y" * 16, b" CT1            ")
        assert isinstance(await answer(server, padded), AAssociateAC)


async def test_a_rejection_is_logged_with_the_titles_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(access=Access(called_ae={"ARCHIVE"})) as server:
        assert await answer(server, called_ae="ARCHIV", calling_ae="CT1") == CALLED
    words = "rejected permanently by the service user: called AE title not recognized"
    assert f"'CT1', who called 'ARCHIV', was {words}" in caplog.text


@pytest.mark.parametrize(
    ("called", "calling_", "expected"),
    [
        (b" " * 16, b"ME".ljust(16), CALLED),
        (b"\0" * 16, b"ME".ljust(16), CALLED),
        (b"YOU".ljust(16), b" " * 16, CALLING),
        (b"YO\\U".ljust(16), b"ME".ljust(16), CALLED),
        (b"YOU".ljust(16), b"M\nE".ljust(16), CALLING),
        (b"YOU".ljust(16), b"M\x1b[31mE".ljust(16), CALLING),
        (b"YOU".ljust(16), b"\xff" * 16, CALLING),
        (b"YOU".ljust(16, b"\0"), b"ME".ljust(16), None),
        (b"$(touch x)".ljust(16), b"../../etc".ljust(16), None),
    ],
    ids=repr,
)
async def test_titles_that_are_none(called: bytes, calling_: bytes, expected: AAssociateRJ | None) -> None:
    raw = encode(associate_request(called_ae="X" * 16, calling_ae="Y" * 16))
    raw = raw.replace(b"X" * 16, called).replace(b"Y" * 16, calling_)
    async with serving() as server, bystander(server):
        got = await answer(server, raw)
        assert got == expected if expected is not None else isinstance(got, AAssociateAC)


async def test_protocol_version_and_application_context() -> None:
    async with serving() as server:
        good = associate_request()
        assert await answer(server, encode(replace(good, protocol_version=2))) == AAssociateRJ(1, 2, 2)
        assert isinstance(await answer(server, encode(replace(good, protocol_version=3))), AAssociateAC)
        other = encode(replace(good, application_context_name="1.2.840.10008.3.1.1.2"))
        assert await answer(server, other) == AAssociateRJ(1, 1, 2)


async def test_a_rejection_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    access = Access(called_ae=["US"], calling_ae=["FRIEND"], addresses=["127.0.0.1"])
    good = associate_request(called_ae="US", calling_ae="FRIEND")
    async with serving(access=access) as server:
        for bad in (
            replace(good, protocol_version=2),
            replace(good, application_context_name="1.2.3"),
            replace(good, called_ae="THEM"),
            replace(good, calling_ae="FOE"),
            replace(good, user_information=replace(good.user_information, maximum_length=7)),
        ):
            assert isinstance(await answer(server, encode(bad)), AAssociateRJ)
    said = [one.getMessage() for one in caplog.records if "rejected an association" in one.getMessage()]
    for text, why in zip(
        said, ("protocol version", "application context", "'THEM'", "'FOE'", "7"), strict=True
    ):
        assert why in text


async def test_contexts_are_answered_one_by_one() -> None:
    from wire import FIND, IMPLICIT

    proposals = [
        PresentationContextRQ(1, "1.2.840.10008.1.1", (IMPLICIT,)),
        PresentationContextRQ(3, "1.2.3.4.5", (IMPLICIT,)),
        PresentationContextRQ(5, FIND, ("1.2.840.10008.1.2.4.70",)),
        PresentationContextRQ(255, FIND, ("1.2.840.10008.1.2.4.70", IMPLICIT)),
    ]
    async with serving() as server, calling(server, proposals) as peer:
        results = {c.context_id: c.result for c in peer.answer.presentation_contexts}  # type: ignore[attr-defined]
        assert results == {1: 0, 3: 3, 5: 4, 255: 0}
        assert await echo(peer) == 0


# --- addresses


async def test_addresses() -> None:
    for allowed, let_in in (
        (["127.0.0.1"], True),
        (["10.0.0.0/8", "127.0.0.0/8"], True),
        (["10.0.0.0/8", "::1"], False),
        (["::ffff:127.0.0.1"], False),
        ([], False),
    ):
        async with serving(access=Access(addresses=allowed)) as server:
            got = await answer(server)
            assert isinstance(got, AAssociateAC) if let_in else got == NO_REASON


def test_addresses_that_are_none() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Access(addresses=["nonsense"])


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("11.1.2.3", False),
        ("no address", False),
        ("", False),
    ],
)
def test_addresses_as_they_come(address: str, let_in: bool) -> None:
    access = Access(addresses=["10.0.0.0/8", "fe80::/10"])
    refusal = access.check(Caller(address, associate_request(), None))
    assert (refusal is None) == let_in


# --- certificates


async def test_tls_subjects() -> None:
    authority = trustme.CA()
    ca = authority.cert_pem.bytes()

    def issue(name: str) -> bytes:
        return authority.issue_cert(common_name=name).private_key_and_cert_chain_pem.bytes()

    context = server_context(
        None, authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes(), ca
    )
    scanner = issue("scanner")
    subjects: list[str | None] = []

    class Noting(Access):
        def check(self, caller: Caller) -> AAssociateRJ | None:
            subjects.append(caller.tls.peer_subject if caller.tls else None)
            return None

    async with serving(access=Noting(), tls=context) as server:
        peer = Peer(host="localhost", port=server.port, tls=client_context(None, scanner, ca))
        await using(Pacs(peer))
    [subject] = subjects
    assert subject is not None
    assert "scanner" in subject
    async with serving(access=Access(tls_subjects={subject}), tls=context) as server:
        allowed = Peer(host="localhost", port=server.port, tls=client_context(None, scanner, ca))
        other = replace(allowed, tls=client_context(None, issue("elsewhere"), ca))
        nobody = replace(allowed, tls=client_context(None, None, ca))
        await using(Pacs(allowed))
        with pytest.raises(AssociationRejected, match="no reason"):
            await using(Pacs(other))
        with pytest.raises(TLSFailed):
            await using(Pacs(nobody))
    async with serving(access=Access(tls_subjects={subject})) as server:
        assert await answer(server) == NO_REASON  # no TLS, no subject


# --- user identity


def who(response: bool = False, kind: int = 2) -> UserInformation:
    identity = UserIdentityRQ(
        kind, b"alice", b"secret" if kind == 2 else b"", positive_response_requested=response
    )
    return UserInformation(implementation_class_uid="1.2.3", user_identity=identity)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
@on_each_loop
async def test_an_identity_that_is_accepted(kind: int) -> None:
    asked: list[tuple[UserIdentityRQ, Caller]] = []

    async def judge(identity: UserIdentityRQ, caller: Caller) -> UserIdentityAC:
        asked.append((identity, caller))
        return UserIdentityAC(b"token")

    async with serving(access=Access(identity=judge)) as server:
        for response in (False, True):
            got = await answer(server, user_information=who(response, kind), calling_ae="ALICE")
            assert isinstance(got, AAssociateAC)
            given = got.user_information.user_identity_response
            assert given == (UserIdentityAC(b"token") if response else None)
    identity, caller = asked[0]
    assert (identity.identity_type, identity.primary_field) == (kind, b"alice")
    assert (caller.calling_ae, caller.address, caller.tls) == ("ALICE", "127.0.0.1", None)


async def test_an_identity_that_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    async def judge(identity: UserIdentityRQ, caller: Caller) -> AAssociateRJ | None:
        return None if identity.secondary_field == b"secret" else NO_REASON

    with caplog.at_level(logging.DEBUG, "aiodicom"):
        async with serving(access=Access(identity=judge)) as server:
            assert isinstance(await answer(server, user_information=who()), AAssociateAC)
            assert await answer(server, user_information=who(kind=1)) == NO_REASON
            assert isinstance(await answer(server), AAssociateAC)  # none offered, none required
    assert "alice" not in caplog.text
    assert "secret" not in caplog.text
    assert "user identity" in caplog.text


async def test_an_identity_that_is_required() -> None:
    async with serving(access=Access(require_identity=True)) as server:
        assert await answer(server) == NO_REASON
        assert isinstance(await answer(server, user_information=who()), AAssociateAC)


@on_each_loop
async def test_a_hook_that_is_slow_holds_nobody_else() -> None:
    held = Held()
    access = Access(identity=lambda identity, caller: held())  # type: ignore[arg-type]
    async with (
        serving(access=access) as server,
        await ScriptedPeer.connect("127.0.0.1", server.port) as peer,
    ):
        await peer.send(associate_request(user_information=who()))
        await held.reached.wait()
        async with bystander(server):
            pass
        held.go.set()
        await peer.expect(AAssociateAC)


@on_each_loop
async def test_a_hook_that_is_too_slow_is_given_up() -> None:
    held = Held()
    access = Access(identity=lambda identity, caller: held())  # type: ignore[arg-type]
    async with serving(access=access, limits=replace(LONG, artim_timeout=0.2)) as server:
        assert await answer(server, user_information=who()) == AAssociateRJ(2, 3, 1)
        assert held.cancelled.is_set()


async def test_a_hook_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def judge(identity: UserIdentityRQ, caller: Caller) -> None:
        raise RuntimeError("the directory is down")

    async with serving(access=Access(identity=judge)) as server, bystander(server):
        assert await answer(server, user_information=who()) == NO_REASON
    assert "the directory is down" in caplog.text  # for the one who runs the server


async def test_an_access_object_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Access):
        def check(self, caller: Caller) -> AAssociateRJ | None:
            if caller.calling_ae == "BAD":
                raise RuntimeError("a defect")
            return None

    async with serving(access=Broken()) as server, bystander(server):
        assert await answer(server, calling_ae="BAD") == NO_REASON
    assert "a defect" in caplog.text


@pytest.mark.parametrize("how", ["abort", "close", "reset", "data"])
@on_each_loop
async def test_a_peer_that_goes_while_the_hook_judges(how: str) -> None:
    held = Held()
    access = Access(identity=lambda identity, caller: held())  # type: ignore[arg-type]
    async with serving(access=access) as server, bystander(server):
        async with await ScriptedPeer.connect("127.0.0.1", server.port) as peer:
            await peer.send(associate_request(user_information=who(), calling_ae="GOES"))
            await held.reached.wait()
            if how == "abort":
                await peer.send(AAbort(0, 0))
                await peer.expect_close()
            elif how == "reset":
                await peer.reset()
            elif how == "data":
                await peer.send(b"\x05\0\0\0\0\4\0\0\0\0")
                assert await peer.expect(AAbort) == AAbort(2, 2)
        async with asyncio.timeout(PATIENCE):
            await held.cancelled.wait()
            while len(server.associations) > 1:
                await asyncio.sleep(0)
        assert not server.connections.counts["ae GOES"]
    await gone(server)
