"""``python -m aiodicom`` and the console script."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line and return its exit code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print("the command line needs: pip install 'aiodicom[cli]'", file=sys.stderr)
        return 2
    from .cli.app import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
