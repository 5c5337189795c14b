"""A ^C while the program is still being loaded ends it in one line, as it does later: 0.3 s are a long time.

Imported before everything else. Where this is not the program ``aiodicom``, or ^C means something else
already, nothing is changed.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
_NAMES = ("aiodicom", "aiodicom.exe", "aiodicom-script.py")


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"aiodicom: interrupted\n")
    os._exit(INTERRUPTED)


def begin() -> None:
    """From now on ^C ends the process, if it is ours: ``aiodicom``, or ``python -m aiodicom``."""
    program = sys.argv[0] if sys.argv else ""  # "-m" as long as the module to run is being looked for
    ours = program == "-m" and not {"aiodicom", "-maiodicom"}.isdisjoint(sys.orig_argv)
    if not ours and os.path.basename(program) not in _NAMES:
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _end)
        except ValueError:  # not on the main thread: ^C does not come here
            return


def over() -> None:
    """^C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


begin()
