"""One association of a client, and who uses it."""

from __future__ import annotations

from dataclasses import dataclass

from ..association.association import Association
from ..association.performing import Provider, Refused, Request
from ..dataset.sinks import StoreSink
from ..dimse.contexts import Proposal
from ..dimse.status import SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION


class Switch:
    """The provider of an association of a client: whoever retrieves on it at the moment, or nobody."""

    def __init__(self) -> None:
        self.current: Provider | None = None

    def store(self, request: Request) -> StoreSink:
        """Where an object of a sub-operation goes."""
        if self.current is None:
            raise Refused(SOP_CLASS_NOT_SUPPORTED, "nothing is being retrieved")
        return self.current.store(request)

    async def perform(self, request: Request, data: bytes | None) -> None:
        """No other request is offered, unless by who retrieves."""
        if self.current is None:
            raise Refused(UNRECOGNIZED_OPERATION, "not offered here")
        await self.current.perform(request, data)


@dataclass(slots=True, eq=False)
class Holder:
    """One association: how many operations use it, and whether it is one operation's own."""

    association: Association
    switch: Switch
    private: bool = False
    users: int = 0
    uses: int = 0
    idle_since: float = 0.0

    @property
    def free(self) -> bool:
        """Whether another operation may use it."""
        return self.association.usable and not self.private

    def taken(self, provider: Provider | None, alone: bool) -> Holder:
        """Itself, with one user more."""
        self.users += 1
        self.uses += 1
        self.private = alone
        self.switch.current = provider
        return self

    def covers(self, wanted: list[Proposal]) -> bool:
        """Whether these were proposed already: asking again for what was refused changes nothing."""
        request = self.association.session.request
        assert request is not None
        proposed = {
            (context.abstract_syntax, syntax)
            for context in request.presentation_contexts
            for syntax in context.transfer_syntaxes
        }
        return all((p.abstract_syntax, s) in proposed for p in wanted for s in p.transfer_syntaxes)
