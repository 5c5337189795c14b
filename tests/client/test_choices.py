"""A word that is none of the choices is refused at once, not taken for another."""

from __future__ import annotations

from typing import Any

import pytest
from aiodicom import connect
from aiodicom.client.choices import check_durability, check_keep


@pytest.mark.parametrize("word", ["fsnyc", "FSYNC", "", None, True])
def test_another_durability_is_refused(word: Any) -> None:
    pacs = connect("127.0.0.1", 9, lazy=True)
    for call in (
        lambda: check_durability(word),
        lambda: pacs.get("STUDY", "1.2", directory="x", durability=word),
        lambda: pacs.move("STUDY", "1.2", directory="x", durability=word),
    ):
        with pytest.raises(ValueError, match="durability is one of"):
            call()


@pytest.mark.parametrize("items", ["faild", "ALL", "", None, 1])
def test_another_choice_of_items_is_refused(items: Any) -> None:
    pacs = connect("127.0.0.1", 9, lazy=True)
    for call in (
        lambda: check_keep(items),
        lambda: pacs.get("STUDY", "1.2", directory="x", items=items),
        lambda: pacs.move("STUDY", "1.2", directory="x", items=items),
        lambda: pacs.store([], items=items),
    ):
        with pytest.raises(ValueError, match="items is"):
            call()
