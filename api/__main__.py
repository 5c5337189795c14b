"""``python -m aiodicom`` and the console script."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from . import starting


def main() -> int:
    """Run the command line and return its exit code."""
    starting.begin()
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        starting.over()
        print("the command line needs: pip install 'aiodicom[cli]'", file=sys.stderr)
        return 2
    from .cli.app import run

    starting.over()
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
