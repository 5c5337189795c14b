"""Names of UIDs without pydicom, and with it where they are not at hand."""

from __future__ import annotations

import pytest
from aiodicom.dimse.uid_names import UID_NAMES, uid_name
from pydicom.uid import UID


@pytest.mark.parametrize("uid", sorted(UID_NAMES))
def test_the_table_says_what_pydicom_says(uid: str) -> None:
    assert uid_name(uid) == UID(uid).name


def test_what_is_not_in_it() -> None:
    assert uid_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert uid_name("1.2.3.4") == "1.2.3.4"
