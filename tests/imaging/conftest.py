"""What the tests of imaging share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiodicom.imaging.volume import Volume
from imaging_series import save
from pydicom.dataset import Dataset


@pytest.fixture(params=["files", "datasets"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Volume]:
    """Make a volume of data sets, through files or straight."""

    def through_files(datasets: list[Dataset], **options: Any) -> Volume:
        return Volume.from_files(save(tmp_path, datasets), **options)

    return through_files if request.param == "files" else Volume.from_datasets
