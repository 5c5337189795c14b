"""The codec against pynetdicom's, each reading what the other wrote.

pynetdicom is stricter or looser in places; where a strategy is narrowed for it, the reason stands there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
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
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    decode,
    encode,
)
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs
from pynetdicom import pdu_items
from strategies import (
    aborts,
    associate_accepts,
    associate_rejects,
    associate_requests,
    pdata,
)
from vectors import NAMES, load

_THEIRS = {
    1: theirs.A_ASSOCIATE_RQ,
    2: theirs.A_ASSOCIATE_AC,
    3: theirs.A_ASSOCIATE_RJ,
    4: theirs.P_DATA_TF,
    5: theirs.A_RELEASE_RQ,
    6: theirs.A_RELEASE_RP,
    7: theirs.A_ABORT_RQ,
}


def their_reading(raw: bytes) -> Pdu:
    """What pynetdicom reads in these bytes, as our value."""
    pdu = _THEIRS[raw[0]]()
    pdu.decode(raw)
    return as_ours(pdu)


def as_ours(pdu: theirs.PDU) -> Pdu:
    match pdu:
        case theirs.A_ASSOCIATE_RQ():
            return AAssociateRQ(
                called_ae=pdu.called_ae_title.strip(),
                calling_ae=pdu.calling_ae_title.strip(),
                presentation_contexts=tuple(
                    PresentationContextRQ(
                        c.context_id, str(c.abstract_syntax), tuple(map(str, c.transfer_syntax))
                    )
                    for c in pdu.presentation_context
                ),
                user_information=information(pdu.user_information),
                application_context_name=str(pdu.application_context_name),
                protocol_version=pdu.protocol_version,
            )
        case theirs.A_ASSOCIATE_AC():
            return AAssociateAC(
                called_ae=pdu.reserved_aet.strip(),
                calling_ae=pdu.reserved_aec.strip(),
                presentation_contexts=tuple(
                    PresentationContextAC(c.context_id, c.result, str(c.transfer_syntax or ""))
                    for c in pdu.presentation_context
                ),
                user_information=information(pdu.user_information),
                application_context_name=str(pdu.application_context_name),
                protocol_version=pdu.protocol_version,
            )
        case theirs.A_ASSOCIATE_RJ():
            return AAssociateRJ(pdu.result, pdu.source, pdu.reason_diagnostic)
        case theirs.P_DATA_TF():
            return PDataTF(
                tuple(
                    PDV(
                        item.context_id,
                        bool(item.presentation_data_value[0] & 1),  # type: ignore[index]
                        bool(item.presentation_data_value[0] & 2),  # type: ignore[index]
                        item.presentation_data_value[1:],  # type: ignore[index]
                    )
                    for item in pdu.presentation_data_value_items
                )
            )
        case theirs.A_RELEASE_RQ():
            return AReleaseRQ()
        case theirs.A_RELEASE_RP():
            return AReleaseRP()
        case theirs.A_ABORT_RQ():
            return AAbort(pdu.source, pdu.reason_diagnostic)
    raise TypeError(pdu)


def texts(uids: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(uid) for uid in uids)


def information(item: pdu_items.UserInformationItem) -> UserInformation:
    values: dict[str, object] = {"maximum_length": None}
    lists: dict[str, list[object]] = {"roles": [], "extended": [], "common_extended": []}
    for sub in item.user_data:
        match sub:
            case pdu_items.MaximumLengthSubItem():
                values["maximum_length"] = sub.maximum_length_received
            case pdu_items.ImplementationClassUIDSubItem():
                values["implementation_class_uid"] = str(sub.implementation_class_uid)
            case pdu_items.ImplementationVersionNameSubItem():
                values["implementation_version_name"] = sub.implementation_version_name
            case pdu_items.AsynchronousOperationsWindowSubItem():
                values["async_operations"] = AsyncOperationsWindow(
                    sub.maximum_number_operations_invoked, sub.maximum_number_operations_performed
                )
            case pdu_items.SCP_SCU_RoleSelectionSubItem():
                lists["roles"].append(
                    RoleSelection(str(sub.sop_class_uid), bool(sub.scu_role), bool(sub.scp_role))
                )
            case pdu_items.SOPClassExtendedNegotiationSubItem():
                application = sub.service_class_application_information
                lists["extended"].append(SOPClassExtendedNegotiation(str(sub.sop_class_uid), application))
            case pdu_items.SOPClassCommonExtendedNegotiationSubItem():
                common = SOPClassCommonExtendedNegotiation(
                    str(sub.sop_class_uid),
                    str(sub.service_class_uid),
                    texts(sub.related_general_sop_class_identification),
                )
                lists["common_extended"].append(common)
            case pdu_items.UserIdentitySubItemRQ():
                values["user_identity"] = UserIdentityRQ(
                    sub.user_identity_type,
                    sub.primary_field,
                    sub.secondary_field or b"",
                    bool(sub.positive_response_requested),
                )
            case pdu_items.UserIdentitySubItemAC():
                values["user_identity_response"] = UserIdentityAC(sub.server_response)
            case _:
                raise TypeError(sub)
    return UserInformation(**values, **{name: tuple(found) for name, found in lists.items()})


def shared(pdu: AAssociateRQ | AAssociateAC) -> AAssociateRQ | AAssociateAC:
    """The value without what pynetdicom cannot read or does not keep.

    It refuses unknown items and sub-items, does not read the version of a common extended negotiation,
    and takes two bytes more for an empty field of a user identity.
    """
    info = pdu.user_information
    if info.user_identity is not None and not info.user_identity.primary_field:
        info = replace(info, user_identity=replace(info.user_identity, primary_field=b"somebody"))
    info = replace(
        info,
        unknown=(),
        common_extended=tuple(replace(common, version=0) for common in info.common_extended),
    )
    return replace(pdu, unknown_items=(), user_information=info)


def anything() -> st.SearchStrategy[Pdu]:
    return st.one_of(
        associate_requests().map(shared),
        associate_accepts().map(shared),
        associate_rejects(),
        pdata(),
        st.just(AReleaseRQ()),
        st.just(AReleaseRP()),
        aborts(),
    )


@given(anything())
def test_pynetdicom_reads_what_we_write(pdu: Pdu) -> None:
    assert their_reading(encode(pdu)) == pdu


@given(anything())
def test_we_read_what_pynetdicom_writes(pdu: Pdu) -> None:
    written = _THEIRS[encode(pdu)[0]]()
    written.decode(encode(pdu))
    raw = written.encode()
    assert decode(raw[0], raw[6:]) == pdu


@pytest.mark.parametrize("name", NAMES)
def test_the_vectors_say_the_same_to_both(name: str) -> None:
    raw = load(name)
    assert their_reading(raw) == decode(raw[0], raw[6:])
