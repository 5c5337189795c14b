"""The pytest plugin of aiodicom: the fixture `dicom_pacs`.

A module outside of the package: importing that takes a tenth of a second, which nobody's pytest should pay
who does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def dicom_pacs() -> Iterator[Any]:
    """A fake PACS each call: objects it holds, faults, TLS; `aiodicom.testing` says how."""
    from aiodicom.testing import FakePacs

    with ExitStack() as stack:

        def made(objects: Any = (), faults: Any = (), **more: Any) -> FakePacs:
            return stack.enter_context(FakePacs(objects, faults, **more))

        yield made
