"""A module has a test file of its name, or stands here with where it is tested, and why there."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "pdu", "dataset", "dimse", "imaging", "association", "archive", "server", "client",
    "conformance", "testing",
)  # fmt: skip

# Values and errors without behaviour of their own: what makes and raises them is tested.
VALUES = {
    "pdu/events": "pdu/test_upper_layer",
    "pdu/limits": "pdu/test_reader",
    "pdu/types": "pdu/test_codec",
    "dimse/events": "dimse/test_session",
    "dimse/limits": "dimse/test_session",
    "dataset/errors": "dataset/test_part10",
    "dataset/instance": "client/test_storing",
    "imaging/errors": "imaging/test_image",
    "imaging/records": "imaging/test_volume_parts",
    "archive/errors": "archive/test_archive",
    "archive/record": "archive/test_index",
    "association/errors": "association/test_connecting",
    "association/timeouts": "association/test_connecting",
    "client/rungs": "client/test_ladder",
    "conformance/target": "conformance/test_runner",
}

# A part of one reader or writer, never used without it: tested through its only door.
PARTS = {
    "pdu/items": "pdu/test_codec",
    "pdu/wire": "pdu/test_codec",
    "dimse/identity": "dimse/test_contexts",
    "dataset/encoding": "dataset/test_scan",
    "dataset/found": "dataset/test_scan",
    "dataset/sinks": "dataset/test_part10",
    "dataset/walk": "dataset/test_scan",
    "client/negotiated": "association/test_connecting",
    "imaging/frames": "imaging/test_volume",
    "imaging/grid": "imaging/test_volume_parts",
    "imaging/headers": "imaging/test_volume",
    "imaging/piles": "imaging/test_volume",
    "imaging/pixels": "imaging/test_image",
    "imaging/pixel_format": "imaging/test_image",
    "imaging/space": "imaging/test_geometry",
    "imaging/render": "imaging/test_image",
    "imaging/series": "imaging/test_export",
    "imaging/stack": "imaging/test_volume",
    "archive/sink": "archive/test_archive",
    "association/lines": "association/test_observing",
    "client/connect": "client/test_pacs",
    "client/holder": "client/test_associations",
    "association/tap": "association/test_observing",
    "archive/files": "archive/test_archive_crash",
    "archive/find": "archive/test_archive_find",
    "archive/query": "archive/test_archive_find",
    "archive/text": "archive/test_archive_values",
    "archive/matching_time": "archive/test_matching",
    "client/identifier": "client/test_finding",
    "client/advice": "api/test_diagnose",
    "client/diagnosis": "api/test_diagnose",
    "client/quirks": "client/test_splitting",
    "client/diagnose": "api/test_diagnose",
    "client/speaking": "api/test_diagnose",
    "conformance/catalog": "conformance/test_case",
}

# What only shows on a connection: tested on real ones, by what the peer sees.
ON_THE_WIRE = {
    "client/asking": "client/test_finding",
    "association/incoming": "client/test_incoming",
    "association/association": "association/test_operations",
    "association/endings": "association/test_connecting",
    "association/invoking": "association/test_operations",
    "association/performing": "server/test_wire_services",
    "association/sending": "client/test_storing",
    "association/stores": "client/test_storing",
    "association/tls_alert": "association/test_tls",
    "client/getting": "client/test_retrieving",
    "client/intake": "client/test_retrieving",
    "client/moving": "client/test_retrieving",
    "server/admission": "server/test_listener",
    "server/binding": "server/test_listener",
    "server/connections": "server/test_listener",
    "server/accepted": "server/test_wire_services",
    "server/shares": "server/test_archive_service",
    "server/service": "server/test_wire_services",
    "server/suboperations": "server/test_wire_services",
    "conformance/conversation": "conformance/test_runner",
    "conformance/dissect": "conformance/test_runner",
    "conformance/link": "conformance/test_runner",
    "testing/faults": "testing/test_fake_pacs",
    "testing/values": "testing/test_scripted",
    "conformance/guard": "conformance/test_safety",
    "conformance/page": "conformance/test_report",
    "conformance/proxy": "conformance/test_sniff",
    "conformance/watch": "conformance/test_sniff",
    "conformance/redact": "conformance/test_report",
    "conformance/rulebook": "conformance/test_runner",
    "conformance/rules": "conformance/test_runner",
    "conformance/wire": "conformance/test_runner",
}
ELSEWHERE = VALUES | PARTS | ON_THE_WIRE
MODULES = sorted(
    f"{folder}/{path.stem}"
    for folder in FOLDERS
    for path in (ROOT / folder).glob("*.py")
    if not path.stem.startswith("__")
)


def namesakes(module: str) -> list[Path]:
    folder, name = module.split("/")
    return sorted((ROOT / "tests" / folder).glob(f"test_{name.lstrip('_')}*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_a_reason(module: str) -> None:
    assert bool(namesakes(module)) != (module in ELSEWHERE)


def test_the_list_names_modules_and_test_files_that_are() -> None:
    assert ELSEWHERE.keys() <= set(MODULES)
    assert len(ELSEWHERE) == len(VALUES) + len(PARTS) + len(ON_THE_WIRE)
    assert {one for one in ELSEWHERE.values() if not (ROOT / "tests" / f"{one}.py").is_file()} == set()
