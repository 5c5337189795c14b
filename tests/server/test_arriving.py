"""What one address has on its way into the archive is bounded: beyond, its associations are held."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiodicom.dimse import messages as m
from aiodicom.server.archive_service import ArchiveService
from aiodicom.server.arriving import ARRIVING_PER_ADDRESS


def storing(address: str, number: int, held: set[str]) -> Any:
    """A C-STORE request whose association says in `held` that it is not read."""
    uid = f"1.2.3.{number}"

    def hold(name: object, on: bool) -> None:
        (held.add if on else held.remove)(uid)

    return SimpleNamespace(
        association=SimpleNamespace(origin=address, hold=hold),
        message=m.CStoreRQ(message_id=1, affected_sop_class_uid="1.2", affected_sop_instance_uid=uid),
        context=SimpleNamespace(transfer_syntax="1.2.840.10008.1.2"),
        calling_ae="A",
    )


@pytest.mark.parametrize("committed", [True, False])
async def test_what_arrives_from_one_address_is_bounded(service: ArchiveService, committed: bool) -> None:
    """One more holds its association until one is through, whatever becomes of it; the oldest is first."""
    held: set[str] = set()
    sinks = [service.store(storing("a", number, held)) for number in range(ARRIVING_PER_ADDRESS)]
    assert not held
    late = [service.store(storing("a", 1000 + number, held)) for number in range(3)]
    assert held == {"1.2.3.1000", "1.2.3.1001", "1.2.3.1002"}
    other = service.store(storing("b", 2000, held))  # another address has its own
    assert "1.2.3.2000" not in held
    if committed:
        await sinks[0].commit()
    sinks[0].discard()
    assert held == {"1.2.3.1001", "1.2.3.1002"}
    late[1].discard()  # as when its association ends
    assert held == {"1.2.3.1002"}
    sinks[1].discard()
    assert not held
    for sink in [*sinks, *late, other]:
        sink.discard()
    again = [service.store(storing("a", number, held)) for number in range(ARRIVING_PER_ADDRESS)]
    assert not held
    for sink in again:
        sink.discard()
