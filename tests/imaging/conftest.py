"""Fixtures of the imaging tests: the real data, when they are there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real scanner files; its tests are skipped where it is absent."""
    folder = Path(os.environ.get("AIODICOM_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "expected.json").is_file():
        pytest.skip("the real data are not here (AIODICOM_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def expected(data: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((data / "expected.json").read_text())
    return loaded
