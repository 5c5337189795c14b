"""The real scanner files: `AIODICOM_TEST_DATA`, or `shared/data` beside the checkout. Absent, tests skip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from interop.peers import Peer, orthanc, require_peer

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("AIODICOM_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`image_file`: every file of the image cases and of the compressed series."""
    if "image_file" in metafunc.fixturenames:
        found = sorted([*DATA.glob("img_*/*.dcm"), *DATA.glob("mr_compressed*/im0000.dcm")])
        names = [str(path.relative_to(DATA)) for path in found]
        metafunc.parametrize("image_file", names or ["absent"], ids=[name[:-4] for name in names] or None)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with one folder a case."""
    if not (DATA / "expected.json").is_file():
        pytest.skip("the real data are not here (AIODICOM_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def expected(data: Path) -> dict[str, Any]:
    """What independent tools make of the volume cases."""
    loaded: dict[str, Any] = json.loads((data / "expected.json").read_text())
    return loaded


@pytest.fixture(scope="session")
def orthanc_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One Orthanc for all of them."""
    require_peer("Orthanc")
    with orthanc(tmp_path_factory.mktemp("real") / "orthanc") as peer:
        yield peer
