"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiodicom.archive.archive import Archive
from aiodicom.server.archive_service import ArchiveService


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ArchiveService]:
    """An archive of its own."""
    with Archive(tmp_path) as archive:
        yield ArchiveService(archive)
