"""What a profile claims holds in negotiation: a case for each kind of claim."""

from __future__ import annotations

from .. import wire
from ..case import PASS, Steps
from ..claims import LEVELS, SYNTAXES, claimed, portions
from ..dissect import Pdu
from ..target import Sut, UnexpectedError
from .build import SHALL, case

_RELATIONAL = b"\1"
"""Relational queries and retrievals (PS3.4 C.5.1.1): the first byte of the application information."""


async def _answer(sut: Sut, *user: bytes, uids: tuple[str, ...] = (wire.VERIFICATION,)) -> Pdu:
    """The acceptance of a request for some classes, in every transfer syntax with a name here."""
    contexts = tuple(wire.context_rq(2 * at + 1, uid, *SYNTAXES) for at, uid in enumerate(uids))
    request = sut.request(contexts=contexts)
    link, name, answer = await sut.ask(request.but(user=(*request.user, *user)))
    if name != "accepted" or answer is None:
        raise UnexpectedError(name)
    await sut.release(link)
    return answer


async def _classes(sut: Sut) -> str:
    wanted = claimed(sut.profile.claims)
    sut.need(bool(wanted), "no SOP class is claimed")
    for part in portions(wanted):
        answer = await _answer(sut, uids=tuple(wanted[name] for name in part))
        results = {found.number: found.result for found in answer.contexts}
        for at, name in enumerate(part):
            if results.get(2 * at + 1) != 0:
                return f"refused-{name.replace(' ', '-').lower()}"
    return "accepted"


async def _max_pdu(sut: Sut) -> str:
    wanted = sut.profile.claims.get("max_pdu")
    sut.need(wanted is not None, "no max_pdu is claimed")
    told = (await _answer(sut)).max_pdu
    return "accepted" if told == wanted else f"max-pdu-{'none' if told is None else told}"


async def _window(sut: Sut) -> str:
    wanted = sut.profile.claims.get("async")
    sut.need(wanted is not None, "no async is claimed")
    granted = (await _answer(sut, wire.window(0, 0))).window or (1, 1)
    return "accepted" if list(granted) == wanted else "window-{}-{}".format(*granted)


async def _relational(sut: Sut) -> str:
    claims = sut.profile.claims
    sut.need(claims.get("relational") is True, "relational is not claimed")
    wanted = {name: uid for name, uid in claimed(claims).items() if name.split()[0] in LEVELS}
    sut.need(bool(wanted), "neither find, get nor move is claimed")
    asked = (wire.extended(uid, _RELATIONAL) for uid in wanted.values())
    answer = await _answer(sut, *asked, uids=tuple(wanted.values()))
    granted = answer.extended
    missing = (name for name, uid in wanted.items() if granted.get(uid, b"")[:1] != _RELATIONAL)
    name = next(missing, "")
    return f"not-relational-{name.replace(' ', '-')}" if name else "accepted"


def _claim(slug: str, clause: str, requirement: str, steps: Steps, foil: str) -> None:
    case(f"kit/claims/{slug}", SHALL, clause, requirement, steps, {"accepted": PASS}, foil, group="claims")


_claim(
    "accepted",
    "PS3.2 7.1; PS3.8 9.3.3.2",
    "The SOP classes that are claimed are accepted in negotiation.",
    _classes,
    "refuses-verification",
)
_claim(
    "max-pdu",
    "PS3.2 7.1; PS3.8 D.1.2",
    "The maximum length in an acceptance is the one that is claimed.",
    _max_pdu,
    "ac-no-maximum",
)
_claim(
    "window",
    "PS3.2 7.1; PS3.7 D.3.3.3.2",
    "The operations window that is claimed is granted to who asks for one without limit; 1, 1 is none.",
    _window,
    "window-unasked",
)
_claim(
    "relational",
    "PS3.2 7.1; PS3.4 C.5.1.1",
    "Relational queries that are claimed are granted for each query and retrieve class that is claimed.",
    _relational,
    "not-relational",
)
