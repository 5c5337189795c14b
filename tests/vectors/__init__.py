"""PDUs written out byte by byte from the field tables of PS3.8 9.3 and PS3.7 Annex D.3.3.

Each `.hex` file is one PDU: hexadecimal bytes, or text in double quotes, and after `#` the field it is.
"""

from __future__ import annotations

import re
from pathlib import Path

_TOKEN = re.compile(r'"[^"]*"|[0-9A-Fa-f]{2}|#.*|\s+|.')
FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.hex")))


def load(name: str) -> bytes:
    """The bytes of the vector of this name."""
    return parse((FOLDER / f"{name}.hex").read_text(encoding="ascii"))


def parse(text: str) -> bytes:
    """Annotated hexadecimal text as bytes; anything that is neither hex, text nor comment is an error."""
    out = bytearray()
    for line in text.splitlines():
        for token in _TOKEN.findall(line):
            if token.startswith("#") or token.isspace():
                continue
            if token.startswith('"') and len(token) > 1:
                out += token[1:-1].encode("ascii")
            elif len(token) == 2:
                out.append(int(token, 16))
            else:
                raise ValueError(f"{token!r} in {line!r}")
    return bytes(out)
