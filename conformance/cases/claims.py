"""What a profile claims is accepted in negotiation, with the limits it names."""

from __future__ import annotations

from .. import wire
from ..case import PASS
from ..claims import SYNTAXES, claimed
from ..target import Sut
from .build import SHALL, case

AT_ONCE = 32


async def _claims(sut: Sut) -> str:
    claims = sut.profile.claims
    wanted = list(claimed(claims).items())
    sut.need(bool(wanted), "the profile has no [claims]")
    for start in range(0, len(wanted), AT_ONCE):
        part = dict(enumerate(wanted[start : start + AT_ONCE]))
        contexts = tuple(wire.context_rq(2 * number + 1, uid, *SYNTAXES) for number, (_, uid) in part.items())
        link, name, answer = await sut.ask(sut.request(contexts=contexts))
        if name != "accepted" or answer is None:
            return name
        results = {found.number: found.result for found in answer.contexts}
        for number, (claim, _) in part.items():
            if results.get(2 * number + 1) != 0:
                return f"refused-{claim.replace(' ', '-').lower()}"
        length = answer.sub(0x51)
        told = int.from_bytes(length.body, "big") if length is not None else 0
        if claims.get("max_pdu", told) != told:
            return f"max-pdu-{told}"
        await sut.release(link)
    return "accepted"


case(
    "kit/claims/accepted",
    SHALL,
    "PS3.2 7.1; PS3.8 9.3.3.2",
    "What is claimed is accepted in negotiation, and the maximum length is the one that is claimed.",
    _claims,
    {"accepted": PASS},
    "refuses-verification",
    group="claims",
)
