"""The seven PDUs and their items as values (PS3.8 9.3, PS3.7 Annex D.3.3).

Every type is frozen and comparable: `decode(encode(pdu)) == pdu`. UIDs are text without padding,
AE titles text without leading or trailing spaces, opaque fields bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
DEFAULT_MAXIMUM_LENGTH = 16384


class PduType(IntEnum):
    """PDU types (PS3.8 9.3.2 to 9.3.8)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


@dataclass(frozen=True, slots=True)
class UnknownItem:
    """An item or sub-item of a type this version of the standard does not know."""

    item_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """A proposed presentation context (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """The answer to a proposed presentation context (PS3.8 9.3.3.2).

    `result`: 0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax not supported,
    4 transfer syntaxes not supported. `transfer_syntax` has a meaning only when it is 0.
    """

    context_id: int
    result: int
    transfer_syntax: str = ""


class ContextResult:
    """Results of a presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class AsyncOperationsWindow:
    """Maximum numbers of outstanding operations; 0 is unlimited (PS3.7 D.3.3.3).

    >>> pacs = aiodicom.connect(HOST, PORT, async_operations=aiodicom.AsyncOperationsWindow(4, 4))
    """

    invoked: int = 1
    performed: int = 1


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection for one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@dataclass(frozen=True, slots=True)
class SOPClassExtendedNegotiation:
    r"""Service class application information of one SOP class (PS3.7 D.3.3.5).

    >>> aiodicom.SOPClassExtendedNegotiation("1.2.840.10008.5.1.4.1.2.2.1", b"\1").information
    b'\x01'
    """

    sop_class_uid: str
    information: bytes


@dataclass(frozen=True, slots=True)
class SOPClassCommonExtendedNegotiation:
    """Service class and related general SOP classes of one SOP class (PS3.7 D.3.3.6).

    >>> aiodicom.SOPClassCommonExtendedNegotiation("1.2.3", "1.2.840.10008.4.2").service_class_uid
    '1.2.840.10008.4.2'
    """

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_classes: tuple[str, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class UserIdentityRQ:
    """Who the requestor is (PS3.7 D.3.3.7.1).

    `identity_type`: 1 user name, 2 user name and passcode, 3 Kerberos service ticket,
    4 SAML assertion, 5 JSON web token.

    >>> me = aiodicom.UserIdentityRQ(2, b"somebody", b"a passcode")
    >>> pacs = aiodicom.connect(HOST, PORT, user_identity=me)
    """

    identity_type: int
    primary_field: bytes = field(repr=False)
    secondary_field: bytes = field(default=b"", repr=False)
    positive_response_requested: bool = False


@dataclass(frozen=True, slots=True)
class UserIdentityAC:
    """The acceptor's answer to a user identity (PS3.7 D.3.3.7.2)."""

    server_response: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInformation:
    """The user information item (PS3.8 9.3.2.3, PS3.7 D.3.3).

    `maximum_length`: what the sender of this item can receive, 0 for no limit, None when absent.
    """

    maximum_length: int | None = DEFAULT_MAXIMUM_LENGTH
    implementation_class_uid: str | None = None
    implementation_version_name: str | None = None
    async_operations: AsyncOperationsWindow | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentityRQ | None = None
    user_identity_response: UserIdentityAC | None = None
    unknown: tuple[UnknownItem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AAssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). `reserved` are the 32 bytes 43-74, empty where they are zero."""

    called_ae: str
    calling_ae: str
    presentation_contexts: tuple[PresentationContextRQ, ...]
    user_information: UserInformation = UserInformation()
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1
    unknown_items: tuple[UnknownItem, ...] = ()
    reserved: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AAssociateAC:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). AE titles and `reserved` echo the request, untested by a receiver."""

    called_ae: str
    calling_ae: str
    presentation_contexts: tuple[PresentationContextAC, ...]
    user_information: UserInformation = UserInformation()
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1
    unknown_items: tuple[UnknownItem, ...] = ()
    reserved: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class AAssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4). `describe_rejection` puts it in words."""

    result: int
    source: int
    reason: int


class Rejection:
    """The rejections of PS3.8 Table 9-21 by name."""

    NO_REASON = AAssociateRJ(1, 1, 1)
    APPLICATION_CONTEXT_NOT_SUPPORTED = AAssociateRJ(1, 1, 2)
    CALLING_AE_NOT_RECOGNIZED = AAssociateRJ(1, 1, 3)
    CALLED_AE_NOT_RECOGNIZED = AAssociateRJ(1, 1, 7)
    PROTOCOL_VERSION_NOT_SUPPORTED = AAssociateRJ(1, 2, 2)
    TEMPORARY_CONGESTION = AAssociateRJ(2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = AAssociateRJ(2, 3, 2)


@dataclass(frozen=True, slots=True)
class PDV:
    """A presentation data value item (PS3.8 9.3.5.1, message control header of Annex E.2)."""

    context_id: int
    command: bool
    last: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PDataTF:
    """P-DATA-TF (PS3.8 9.3.5). Tools and tests use it; the reader lends fragments instead."""

    pdvs: tuple[PDV, ...]


@dataclass(frozen=True, slots=True)
class AReleaseRQ:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


@dataclass(frozen=True, slots=True)
class AReleaseRP:
    """A-RELEASE-RP (PS3.8 9.3.7)."""


@dataclass(frozen=True, slots=True)
class AAbort:
    """A-ABORT (PS3.8 9.3.8). `describe_abort` puts it in words."""

    source: int
    reason: int = 0


Pdu = AAssociateRQ | AAssociateAC | AAssociateRJ | PDataTF | AReleaseRQ | AReleaseRP | AAbort
