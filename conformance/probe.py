"""Asks a server what it accepts, and writes a profile of it, to be made into claims by who knows it.

Associations are made and released; nothing is asked on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from . import wire
from .claims import LEVELS, NAMES, SINGLE, STORAGE, SYNTAXES, Observed, portions
from .link import Trace
from .report import printable
from .target import Profile, Sut, UnexpectedError

PATIENCE = 30.0
"""Seconds that an answer may take."""


async def probe(profile: Profile) -> Observed:
    """What a server accepts of the classes and syntaxes with a name here.

    Raises OSError when it is not reached, UnexpectedError for an answer that is no acceptance.
    """
    seen = Observed("scp")
    await _ask(profile, seen, [(wire.VERIFICATION, (wire.IMPLICIT,))], wire.window(0, 0))
    wanted = [(uid, (wire.IMPLICIT, wire.EXPLICIT)) for uid in NAMES]
    await _ask(profile, seen, wanted)
    stored = [uid for uid in STORAGE.values() if uid in seen.classes][:1]
    await _ask(profile, seen, [(uid, (syntax,)) for uid in stored for syntax in SYNTAXES])
    return seen


async def _ask(
    profile: Profile, seen: Observed, wanted: Sequence[tuple[str, tuple[str, ...]]], window: bytes = b""
) -> None:
    for part in portions(wanted):
        contexts = tuple(
            wire.context_rq(2 * number + 1, uid, *syntaxes) for number, (uid, syntaxes) in enumerate(part)
        )
        sut = Sut(profile, PATIENCE, Trace())
        request = sut.request(contexts=contexts)
        try:
            link, name, _ = await sut.ask(request.but(user=(*request.user, *[window] * bool(window))))
            if name == "accepted":
                await sut.release(link)
            elif not window:  # a server that bears none grants none
                raise UnexpectedError(name)
        finally:
            await sut.done()
        seen.watch(sut.trace.entries)


def to_toml(profile: Profile, seen: Observed) -> str:
    """A profile with what was accepted as claims."""
    return "\n".join(_lines(profile, seen)) + "\n"


def _lines(profile: Profile, seen: Observed) -> Iterator[str]:
    yield "# What was accepted, as claims: take out what is none, and fill in what a probe cannot see."
    yield "[sut]"
    for key in ("name", "version", "host", "port", "called_ae", "calling_ae"):
        value = getattr(profile, key)
        yield f"{key} = {value if isinstance(value, int) else quoted(value)}"
    yield f"test_system = {'true' if profile.test_system else 'false'}"
    yield "\n[claims]"
    for claim, uid in SINGLE.items():
        yield f"{claim} = {'true' if uid in seen.classes else 'false'}"
    for claim, names in {"storage": STORAGE, **LEVELS}.items():
        found = ", ".join(quoted(name) for name, uid in names.items() if uid in seen.classes)
        yield f"{claim} = [{found}]"
    if len(seen.window) == 1:
        invoked, performed = next(iter(seen.window))
        yield f"async = [{invoked}, {performed}]"
    if len(seen.max_pdu) == 1:
        yield f"max_pdu = {next(iter(seen.max_pdu))}"
    taken = sorted({syntax for found in seen.classes.values() for syntax in found})
    yield "\n# transfer syntaxes accepted: " + ", ".join(SYNTAXES[one] for one in taken)
    yield "# [timers]\n# artim = 30\n# [allow]\n# write = true\n# harsh = true"


def quoted(text: str) -> str:
    """A text as a basic string of TOML."""
    return json.dumps(printable(text).replace("\x7f", ""), ensure_ascii=False)
