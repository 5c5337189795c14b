"""Draw docs/reference.md, every public name for Sphinx: `make docs`. A test fails where the page is stale."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import aiodicom

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Every public name of `aiodicom`, from its docstring; `aiodicom.testing` and `aiodicom.otel` are below.
"""
GROUPS = {
    "Connecting": """
        connect create_pool test_connection diagnose Pacs Pool Peer Timeouts Quirks ConnectionInfo
        Diagnosis DicomWeb Node find_node read_nodes
    """,
    "Finding and retrieving": """
        Answer Between Finding Head Incoming Level Listening Matches Plan Progress ReceivedItem
        Retrieve RetrieveResult Root Rung literal
    """,
    "Storing": """
        Instance Store StoreOutcome StoreReport StoreSink StoredItem encode_file_meta
    """,
    "Volumes": """
        Image Volume VolumeBuilder VolumeGeometry collection
    """,
    "Serving": """
        SUPPORTED_STORAGE SUPPORTED_VERIFICATION Access Archive ArchiveServer ArchiveService Caller
        Destination EncodedMatches Match MetricsEndpoint Provider Reply Request Server ServerLimits
        ServerStats Service Supported prometheus_text serve serve_archive storage_sop_classes
    """,
    "TLS and identity": """
        TLSInfo UserIdentityAC UserIdentityRQ client_context server_context
    """,
    "Looking on": """
        BytesEvent EndedEvent Event MessageEvent Observer OpenedEvent PduEvent RequestEvent
    """,
    "Messages and statuses": """
        CEchoRQ CFindRQ CGetRQ CMoveRQ CStoreRQ Category NActionRQ NCreateRQ NDeleteRQ
        NEventReportRQ NGetRQ NSetRQ Status
    """,
}
"""Errors come by themselves, and what is in no group is told under "Associations and the rest"."""
INHERITING = ("Pacs", "Pool")
ELSEWHERE = {
    "aiodicom.testing": ("class:FakePacs", "function:on", "function:ct", "class:Fault"),
    "aiodicom.otel": ("class:Telemetry",),
}


def directive(name: str) -> str:
    """What has Sphinx tell of a name."""
    found = getattr(aiodicom, name)
    if inspect.isclass(found):
        error = issubclass(found, Exception)
        more = "\n   :no-members:" if error else "\n   :inherited-members:" if name in INHERITING else ""
        return f".. autoclass:: aiodicom.{name}{more}"
    if inspect.isfunction(found):
        return f".. autofunction:: aiodicom.{name}"
    return f".. autodata:: aiodicom.{name}\n   :no-value:"


def groups() -> Iterator[tuple[str, list[str]]]:
    """The names of each group."""
    left = [name for name in aiodicom.__all__ if name != "__version__"]
    errors = [
        name
        for name in left
        if inspect.isclass(one := getattr(aiodicom, name)) and issubclass(one, Exception)
    ]
    named = [(title, names.split()) for title, names in GROUPS.items()]
    grouped = {name for _, names in named for name in names} | set(errors)
    yield from named
    yield "Associations and the rest", [name for name in left if name not in grouped]
    yield "Errors", errors


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, names in groups():
        lines += [f"## {title}", "", "```{eval-rst}", *map(directive, names), "```", ""]
    for module, names in ELSEWHERE.items():
        told = [f".. auto{kind}:: {module}.{name}" for kind, name in (one.split(":") for one in names)]
        lines += [f"## {module}", "", "```{eval-rst}", *told, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
