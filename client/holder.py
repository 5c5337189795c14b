"""One association of a client, who uses it, and what is asked again where the peer had closed it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from ..association.association import Association
from ..association.errors import AssociationAborted, AssociationEnded
from ..association.performing import Provider, Refused, Request
from ..dataset.sinks import StoreSink
from ..dimse.contexts import Proposal
from ..dimse.status import SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION
from ..pdu.errors import AiodicomError, ConnectionClosed

log: logging.Logger = logging.getLogger("aiodicom.client")


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


class _Reusing(Protocol):
    """Whose associations it is asked on."""

    @property
    def opened(self) -> bool:
        """Whether anything can be asked."""

    def reused(self, association: Association) -> bool:
        """Whether somebody had used it before who uses it now."""


class Attempt:
    """A request on an association that the peer may have closed since it was used last, as some do after
    each answer: that it ends so before any word of an answer is no failure, but reason for another attempt.
    """

    def __init__(self, associations: _Reusing, *, last: bool) -> None:
        self.failed: bool = False
        self._associations = associations
        self._last = last
        self._in_vain = False
        self._heard: Callable[[], object] = lambda: None
        self._before: object = None

    def on(self, association: Association, heard: Callable[[], object] = lambda: None) -> None:
        """It is asked on this one. heard: what changes when the peer has said something elsewhere."""
        self._in_vain = self._associations.reused(association)
        self._heard, self._before = heard, heard()

    def answered(self) -> None:
        """The peer has said something: what fails now is a failure."""
        self._in_vain = False

    def repeats(self, error: BaseException | None) -> bool:
        """Whether what ends by an error is asked once more."""
        gone = isinstance(error, ConnectionClosed | AssociationEnded | AssociationAborted)
        in_vain = self._in_vain and self._heard() == self._before
        return gone and in_vain and not self._last and self._associations.opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.failed = self.repeats(error)
        if self.failed:
            log.info("asked once more, on another association: %s", error)
        return self.failed


async def release_quietly(association: Association) -> None:
    """Release where a failure is less than what the caller wants or is being told."""
    try:
        await association.release()
    except AiodicomError as error:
        log.info("an association did not end in order: %s", error)
