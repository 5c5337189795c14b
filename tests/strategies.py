"""Hypothesis strategies for every PDU, item and sub-item of the upper layer, and for bent bytes.

Every strategy named after a type gives values that type's section of the standard allows, in the form
the codec hands out (UIDs and AE titles without padding), so `decode(encode(x)) == x` holds for all.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from aiodicom.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    AsyncOperationsWindow,
    PDataTF,
    Pdu,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    encode,
)
from hypothesis import strategies as st

_DIGITS = "0123456789"
_AE_CHARACTERS = st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\")

# --- values

_components = st.one_of(
    st.integers(min_value=0, max_value=10**6).map(str),
    st.integers(min_value=0, max_value=10**38).map(str),  # a UUID as one component (PS3.5 B.2)
)


def _joined(components: list[str]) -> str:
    return ".".join(components)


def uids() -> st.SearchStrategy[str]:
    """Well-formed UIDs: well-known ones, short ones, and ones of up to 64 characters (PS3.5 9.1)."""
    return st.one_of(
        st.sampled_from(
            [
                "1.2.840.10008.1.1",
                "1.2.840.10008.1.2",
                "1.2.840.10008.1.2.1",
                "1.2.840.10008.5.1.4.1.1.2",
                "1." + "2" * 62,
            ]
        ),
        st.lists(_components, min_size=1, max_size=8).map(_joined).filter(lambda uid: len(uid) <= 64),
    )


def ae_titles() -> st.SearchStrategy[str]:
    """AE titles without padding: 1 to 16 characters of the default repertoire (PS3.5 6.2)."""
    return st.text(_AE_CHARACTERS, min_size=1, max_size=16).map(lambda t: t.strip(" ")).filter(bool)


def context_ids() -> st.SearchStrategy[int]:
    """Presentation context ids: odd, 1 to 255."""
    return st.integers(min_value=0, max_value=127).map(lambda n: 2 * n + 1)


# --- sub-items of the user information (PS3.7 D.3.3)

# 51H to 59H mean something inside the user information; every other type is unknown there
_UNKNOWN_SUBITEMS = [t for t in range(256) if not 0x51 <= t <= 0x59]
_UNKNOWN_ITEMS = [t for t in range(256) if t not in (0x10, 0x20, 0x21, 0x50)]


def unknown_subitems() -> st.SearchStrategy[UnknownItem]:
    """Sub-items of the user information of types the standard does not define."""
    return st.builds(UnknownItem, st.sampled_from(_UNKNOWN_SUBITEMS), st.binary(max_size=40))


def unknown_items() -> st.SearchStrategy[UnknownItem]:
    """Items of an A-ASSOCIATE PDU of types the standard does not define there."""
    return st.builds(UnknownItem, st.sampled_from(_UNKNOWN_ITEMS), st.binary(max_size=40))


def async_operations() -> st.SearchStrategy[AsyncOperationsWindow]:
    """Asynchronous operations windows, 0 for unlimited."""
    numbers = st.integers(min_value=0, max_value=0xFFFF)
    return st.builds(AsyncOperationsWindow, numbers, numbers)


def role_selections() -> st.SearchStrategy[RoleSelection]:
    """SCP/SCU role selections."""
    return st.builds(RoleSelection, uids(), st.booleans(), st.booleans())


def extended_negotiations() -> st.SearchStrategy[SOPClassExtendedNegotiation]:
    """SOP class extended negotiations with any application information."""
    return st.builds(SOPClassExtendedNegotiation, uids(), st.binary(max_size=20))


def common_extended_negotiations() -> st.SearchStrategy[SOPClassCommonExtendedNegotiation]:
    """SOP class common extended negotiations of any version."""
    related = st.lists(uids(), max_size=3).map(tuple)
    return st.builds(
        SOPClassCommonExtendedNegotiation, uids(), uids(), related, st.integers(min_value=0, max_value=255)
    )


def user_identities() -> st.SearchStrategy[UserIdentityRQ]:
    """User identities of the five defined types; only a user name with passcode has a second field."""
    first, response = st.binary(max_size=40), st.booleans()
    one = st.sampled_from([1, 3, 4, 5])
    return st.one_of(
        st.builds(UserIdentityRQ, one, first, st.just(b""), response),
        st.builds(UserIdentityRQ, st.just(2), first, st.binary(max_size=40), response),
    )


def user_identity_answers() -> st.SearchStrategy[UserIdentityAC]:
    """Server responses to a user identity."""
    return st.builds(UserIdentityAC, st.binary(max_size=40))


def user_information(answer: bool = False) -> st.SearchStrategy[UserInformation]:
    """User information items, with every sub-item there or not; of an `answer` or of a request."""
    names = st.text(_AE_CHARACTERS, min_size=1, max_size=16).map(lambda t: t.strip(" ")).filter(bool)
    return st.builds(
        UserInformation,
        maximum_length=st.none() | st.integers(min_value=0, max_value=0xFFFFFFFF),
        implementation_class_uid=st.none() | uids(),
        implementation_version_name=st.none() | names,
        async_operations=st.none() | async_operations(),
        roles=st.lists(role_selections(), max_size=3).map(tuple),
        extended=st.lists(extended_negotiations(), max_size=3).map(tuple),
        common_extended=st.just(())
        if answer
        else st.lists(common_extended_negotiations(), max_size=2).map(tuple),
        user_identity=st.none() if answer else st.none() | user_identities(),
        user_identity_response=st.none() | user_identity_answers() if answer else st.none(),
        unknown=st.lists(unknown_subitems(), max_size=2).map(tuple),
    )


# --- presentation contexts


def contexts_rq(max_size: int = 4) -> st.SearchStrategy[tuple[PresentationContextRQ, ...]]:
    """Proposed presentation contexts with unique ids."""
    one = st.builds(
        PresentationContextRQ, context_ids(), uids(), st.lists(uids(), min_size=1, max_size=3).map(tuple)
    )
    return st.lists(one, min_size=1, max_size=max_size, unique_by=lambda c: c.context_id).map(tuple)


def contexts_ac(max_size: int = 4) -> st.SearchStrategy[tuple[PresentationContextAC, ...]]:
    """Answers to presentation contexts with unique ids, of all five results."""
    one = st.builds(PresentationContextAC, context_ids(), st.integers(min_value=0, max_value=4), uids())
    return st.lists(one, max_size=max_size, unique_by=lambda c: c.context_id).map(tuple)


# --- PDUs

_versions = st.integers(min_value=0, max_value=0xFFFF)
_unknown = st.lists(unknown_items(), max_size=2).map(tuple)
_octets = st.integers(min_value=0, max_value=255)


def associate_requests(max_contexts: int = 4) -> st.SearchStrategy[AAssociateRQ]:
    """A-ASSOCIATE-RQ PDUs of any protocol version and application context."""
    return st.builds(
        AAssociateRQ,
        called_ae=ae_titles(),
        calling_ae=ae_titles(),
        presentation_contexts=contexts_rq(max_contexts),
        user_information=user_information(),
        application_context_name=uids(),
        protocol_version=_versions,
        unknown_items=_unknown,
    )


def associate_accepts(max_contexts: int = 4) -> st.SearchStrategy[AAssociateAC]:
    """A-ASSOCIATE-AC PDUs of any protocol version and application context."""
    return st.builds(
        AAssociateAC,
        called_ae=ae_titles(),
        calling_ae=ae_titles(),
        presentation_contexts=contexts_ac(max_contexts),
        user_information=user_information(answer=True),
        application_context_name=uids(),
        protocol_version=_versions,
        unknown_items=_unknown,
    )


def associate_rejects() -> st.SearchStrategy[AAssociateRJ]:
    """A-ASSOCIATE-RJ PDUs with the defined results, sources and reasons (PS3.8 Table 9-21)."""
    causes = st.sampled_from([(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)])
    return st.builds(lambda result, cause: AAssociateRJ(result, *cause), st.sampled_from([1, 2]), causes)


def pdvs(max_size: int = 64) -> st.SearchStrategy[PDV]:
    """Presentation data values of any length, empty and odd ones among them."""
    return st.builds(PDV, context_ids(), st.booleans(), st.booleans(), st.binary(max_size=max_size))


def pdata(max_pdvs: int = 4, max_size: int = 64) -> st.SearchStrategy[PDataTF]:
    """P-DATA-TF PDUs of no, one or many PDVs."""
    return st.builds(PDataTF, st.lists(pdvs(max_size), max_size=max_pdvs).map(tuple))


def aborts() -> st.SearchStrategy[AAbort]:
    """A-ABORT PDUs of any source and reason."""
    return st.builds(AAbort, _octets, _octets)


def pdus() -> st.SearchStrategy[Pdu]:
    """Any of the seven PDUs."""
    return st.one_of(
        associate_requests(),
        associate_accepts(),
        associate_rejects(),
        pdata(),
        st.just(AReleaseRQ()),
        st.just(AReleaseRP()),
        aborts(),
    )


# --- bytes


def bent(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with up to four bytes changed, a piece cut out, doubled or inserted, or its end cut off."""
    places = st.integers(min_value=0, max_value=max(len(whole) - 1, 0))

    def change(edits: list[tuple[int, int]]) -> bytes:
        out = bytearray(whole)
        for place, value in edits:
            if out:
                out[place] = value
        return bytes(out)

    def splice(at: int, length: int, put: bytes) -> bytes:
        return whole[:at] + put + whole[at + length :]

    return st.one_of(
        st.lists(st.tuples(places, _octets), min_size=1, max_size=4).map(change),
        st.builds(splice, places, st.integers(min_value=0, max_value=8), st.binary(max_size=8)),
        st.builds(lambda at: whole[:at], places),
        st.builds(lambda at: whole[:at] + whole, places),
    )


def bent_pdus() -> st.SearchStrategy[bytes]:
    """Encoded PDUs with something wrong somewhere (or, rarely, nothing)."""
    return pdus().map(encode).flatmap(bent)


def streams() -> st.SearchStrategy[bytes]:
    """What a peer may write: whole PDUs, bent ones, bare headers with any length, and noise, in a row."""
    headers = st.builds(
        lambda kind, length: struct.pack(">BBL", kind, 0, length),
        st.integers(min_value=0, max_value=9),
        st.sampled_from([0, 1, 3, 4, 5, 6, 68, 0x20000, 0xFFFFFFFF]),
    )
    piece = st.one_of(pdus().map(encode), bent_pdus(), headers, st.binary(max_size=20))
    return st.lists(piece, max_size=5).map(b"".join)


def cut(whole: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`whole` in pieces of these sizes, used in turn again and again; no piece is empty."""
    pieces, at, turn = [], 0, 0
    while at < len(whole):
        size = max(sizes[turn % len(sizes)], 1) if sizes else len(whole)
        pieces.append(whole[at : at + size])
        at += size
        turn += 1
    return pieces


def sizes() -> st.SearchStrategy[list[int]]:
    """Piece sizes for `cut`: single bytes, the edges of headers, and large ones."""
    edges = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 74, 1000])
    return st.lists(edges | st.integers(min_value=1, max_value=200), min_size=1, max_size=8)
