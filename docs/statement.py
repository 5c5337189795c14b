"""Draw docs/statement.md from the tables of the code: `make docs`. A test fails where the page is stale."""

from __future__ import annotations

from pathlib import Path

from aiodicom.statement import statement as page

PAGE = Path(__file__).with_name("statement.md")

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
