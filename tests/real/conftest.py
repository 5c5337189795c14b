"""The real scanner files: `AIODICOM_TEST_DATA`, or `shared/data` beside the checkout. Absent, tests skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import DATA
from interop.peers import Peer, orthanc, require_peer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`image_file`: every file of the image cases and of the compressed series."""
    if "image_file" in metafunc.fixturenames:
        found = sorted([*DATA.glob("img_*/*.dcm"), *DATA.glob("mr_compressed*/im0000.dcm")])
        names = [str(path.relative_to(DATA)) for path in found]
        metafunc.parametrize("image_file", names or ["absent"], ids=[name[:-4] for name in names] or None)


@pytest.fixture(scope="session")
def orthanc_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One Orthanc for all of them."""
    require_peer("Orthanc")
    with orthanc(tmp_path_factory.mktemp("real") / "orthanc") as peer:
        yield peer
