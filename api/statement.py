"""A DICOM conformance statement in the order of PS3.2 Annex N, made of the tables that the code goes by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

from .archive.attributes import ATTRIBUTES
from .association.connect import WINDOW
from .association.timeouts import Timeouts
from .association.tls import PROFILES
from .client.pacs import BASIC_PROPOSALS
from .dataset.charset import character_sets
from .dimse.contexts import VERIFICATION, Supported
from .dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from .dimse.levels import Level
from .dimse.limits import SessionLimits
from .dimse.sop_classes import storage_sop_classes
from .dimse.status import SUCCESS, Status, defined
from .dimse.uid_names import uid_name
from .pdu.types import APPLICATION_CONTEXT_NAME
from .server.archive_service import archive_contexts
from .server.limits import ServerLimits

Rows = Iterable[Iterable[object]]

HEAD = """# DICOM conformance statement

Made by `aiodicom statement` from the tables that the code goes by, in the order of PS3.2 Annex N; sections
that do not apply (media, workflow, hardcopy) are left out. It describes the library's client
and the archive of `aiodicom serve`; a program on the library may do less, or offer services of its own. It is
no certificate.
"""


def statement() -> str:
    """The whole document, in Markdown."""
    parts = (_overview, _model, _services, _keys, _classes, _configuration, _network, _security)
    return "\n".join([HEAD, *(line for part in parts for line in part())])


def _table(head: tuple[str, ...], rows: Rows) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
    yield ""


def _query_models(contexts: Supported) -> list[str]:
    storage = set(storage_sop_classes())
    return [uid for uid in contexts.syntaxes if uid != VERIFICATION and uid not in storage]


def _overview() -> Iterator[str]:
    archive = archive_contexts(promiscuous=True)
    asked = {one.abstract_syntax for one in BASIC_PROPOSALS}
    stored = [uid for uid in storage_sop_classes() if uid in archive.syntaxes]
    yield "## Overview\n"
    services = [VERIFICATION, *_query_models(archive)]
    rows: list[tuple[object, ...]] = [
        (uid_name(uid), _yes(uid in asked), _yes(uid in archive.syntaxes)) for uid in services
    ]
    rows.append((f"Storage ({len(storage_sop_classes())} SOP classes, below)", "yes", f"yes ({len(stored)})"))
    rows.append(("DICOMweb retrieve by WADO-RS (PS3.18 10.4), where an address is known", "yes", "no"))
    yield from _table(("network service", "user (SCU)", "provider (SCP)"), rows)
    yield "## Introduction\n"
    yield (
        "For who connects systems to a program on aiodicom. What this says can be tested:"
        " `aiodicom conformance scp` judges a server clause by clause, and"
        " [what is done with what breaks the standard](deviations.md) is written down.\n"
    )


def _yes(so: bool) -> str:
    return "yes" if so else "no"


def _model() -> Iterator[str]:
    yield "## Implementation model\n"
    yield (
        "*Client*: one application entity that opens associations as it needs them, proposes"
        " the SOP classes of what it is about to send or was promised, and asks for the SCP role of storage"
        " for a C-GET. A C-MOVE to itself starts a listener that takes the instances it asked for.\n"
    )
    yield (
        "*Archive*: one application entity that accepts associations, keeps what is stored"
        " byte for byte, and answers success when it is safe on the disk. It opens associations to the"
        " destinations it was told, for a C-MOVE. A C-CANCEL of a C-FIND, C-GET or C-MOVE is obeyed.\n"
    )


def _services() -> Iterator[str]:
    yield "## Service and interoperability description\n"
    yield "### Statuses\n"
    yield "What the client understands; the archive answers with some of them.\n"
    rows = [
        (service, code, Status(first, service).category.value, meaning)
        for service in ("C-STORE", "C-FIND", "C-GET", "C-MOVE")
        for first, code, meaning in _statuses(service)
    ]
    yield from _table(("service", "status", "class", "meaning"), rows)


def _keys() -> Iterator[str]:
    yield "### Query keys of the archive\n"
    yield (
        "Matched by single value, universal, wild card, list of UIDs, range of dates and times, and sequence"
        " where the VR has them (PS3.4 C.2.2.2). What is computed is answered from the index.\n"
    )
    keys = [
        (level.value, one.keyword, f"({one.tag >> 16:04X},{one.tag & 0xFFFF:04X})", one.vr, one.computed)
        for level in Level
        for one in ATTRIBUTES.values()
        if one.level is level
    ]
    rows = ((*key, _yes(computed)) for *key, computed in keys)
    yield from _table(("level", "key", "tag", "VR", "computed"), rows)


def _classes() -> Iterator[str]:
    yield "### Storage SOP classes\n"
    yield (
        "The client sends and takes all of them in the transfer syntax an object lies in. The archive takes"
        " them in any transfer syntax, and private classes unless it is told not to; those that belong to no"
        " patient it does not.\n"
    )
    known = archive_contexts(promiscuous=False).syntaxes
    classes = [(uid_name(uid), uid, _yes(uid in known)) for uid in storage_sop_classes()]
    yield from _table(("SOP class", "UID", "archive"), classes)


def _statuses(service: str) -> Iterator[tuple[int, str, str]]:
    yield SUCCESS, f"{SUCCESS:04X}H", Status(SUCCESS, service).meaning
    for first, last, meaning in defined(service):
        yield first, f"{first:04X}H" if first == last else f"{first:04X}H to {last:04X}H", meaning


def _configuration() -> Iterator[str]:
    yield "## Configuration\n"
    yield "Times of the client, in seconds (`connect(timeouts=)`, `--connect-timeout` ...):\n"
    defaults = Timeouts()
    rows = [(one.name, _said(getattr(defaults, one.name))) for one in fields(Timeouts)]
    yield from _table(("limit", "default"), rows)
    yield "Limits of a server (`serve(limits=)`, a flag of `aiodicom serve` each):\n"
    limits, words = ServerLimits(), ServerLimits.describe()
    yield from _table(
        ("limit", "default", "meaning"),
        ((name, _said(getattr(limits, name)), text) for name, text in words.items()),
    )


def _said(value: object) -> str:
    return "off" if value is None else str(value)


def _network() -> Iterator[str]:
    session = SessionLimits()
    yield "## Network communication details\n"
    window = f"{WINDOW.invoked} invoked, {WINDOW.performed} performed"
    rows = [
        ("transport", "TCP over IPv4 and IPv6, TLS 1.2 and 1.3"),
        ("application context", f"{uid_name(APPLICATION_CONTEXT_NAME)} ({APPLICATION_CONTEXT_NAME})"),
        ("implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("implementation version name", IMPLEMENTATION_VERSION_NAME),
        ("maximum length announced by the client, bytes", session.pdu.maximum_length),
        ("maximum length announced by a server, bytes", ServerLimits().max_pdu_length),
        ("asynchronous operations window offered and granted", window),
        ("SCP/SCU role selection", "asked for by a C-GET, granted by the archive"),
        (
            "extended negotiation",
            "relational queries and retrievals, date-time matching: granted",
        ),
        ("user identity", "sent: user name, with or without passcode; judged by a hook of a server"),
    ]
    yield from _table(("", ""), rows)
    yield "Character sets that are read and written (Specific Character Set):\n"
    yield ", ".join(character_sets()) + "\n"


def _security() -> Iterator[str]:
    yield "## Security\n"
    yield "TLS secure transport connection profiles (PS3.15 Annex B), by the names of `--tls-profile`:\n"
    rows = ((name, ", ".join(suites)) for name, suites in PROFILES.items())
    yield from _table(("profile", "cipher suites of TLS 1.2 (OpenSSL's names)"), rows)
    yield "[What is promised, and what a deployment must still do](security.md).\n"
