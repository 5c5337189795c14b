"""Whether a request for an association is granted, and with what answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from ..archive.logbook import Logbook
from ..association.errors import traced
from ..dimse.contexts import Supported, least_window
from ..dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..pdu.errors import describe_rejection
from ..pdu.types import (
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AsyncOperationsWindow,
    Rejection,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserInformation,
)
from .access import Access, Caller, blank_title
from .limits import ServerLimits
from .origin import origin_of
from .service import Service
from .stats import Tally

log: logging.Logger = logging.getLogger("aiodicom.server")


class Admission:
    """Judges requests for one server: its limits first, then who may associate."""

    def __init__(
        self,
        service: Service,
        limits: ServerLimits,
        access: Access,
        async_operations: AsyncOperationsWindow | None,
        logbook: Logbook,
        tally: Tally,
    ) -> None:
        self.closing = False
        self._tally = tally
        self._service = service
        self._limits = limits
        self._access = access
        self._async_operations = async_operations
        self._logbook = logbook
        self._supported: Supported = service.supported()

    def refusal(self, caller: Caller, open_now: int, counts: Mapping[str, int]) -> AAssociateRJ | None:
        """The rejection of a request, or None; the reason is logged."""
        refusal, why = self._judged(caller, open_now, counts)
        if refusal is not None:
            request = caller.request
            who = f"{request.calling_ae!r}, who called {request.called_ae!r}"
            words = describe_rejection(refusal.result, refusal.source, refusal.reason)
            text = f"rejected an association: {who}, was {words} ({why})"
            self._logbook.note("rejected", caller.address, text)
        return refusal

    def _judged(
        self, caller: Caller, open_now: int, counts: Mapping[str, int]
    ) -> tuple[AAssociateRJ | None, str]:
        if self.closing:
            return Rejection.TEMPORARY_CONGESTION, "the server is stopping"
        over = self._limit_passed(caller, open_now, counts)
        if over is not None:
            self._tally.limits[over] += 1
            return Rejection.LOCAL_LIMIT_EXCEEDED, over
        blank = blank_title(caller.request)
        if blank is not None:
            return blank, "an AE title that is none"
        try:
            refusal = self._access.check(caller)
            return refusal, "" if refusal is None else self._access.why(caller) or "access"
        except Exception as error:  # noqa: BLE001 - whatever an access rule raises: nobody comes in by it
            return Rejection.NO_REASON, f"judging who may associate failed: {traced(error)}"

    def _limit_passed(self, caller: Caller, open_now: int, counts: Mapping[str, int]) -> str | None:
        """The name of a limit that one more association would pass."""
        limits, request = self._limits, caller.request
        info = request.user_information
        items = len(info.roles) + len(info.extended) + len(info.common_extended) + len(info.unknown)
        address, title = keys(caller, limits)
        if open_now >= limits.max_associations:
            return "max_associations"
        if _reached(counts[address], limits.max_associations_per_address):
            return "max_associations_per_address"
        if _reached(counts[title], limits.max_associations_per_ae):
            return "max_associations_per_ae"
        if len(request.presentation_contexts) > limits.max_contexts:
            return "max_contexts"
        if items > limits.max_negotiation_items:
            return "max_negotiation_items"
        return None

    def asks_identity(self, request: AAssociateRQ) -> bool:
        """Whether a user identity is to be judged, which may take time."""
        return request.user_information.user_identity is not None and self._access.identity is not None

    async def identify(self, caller: Caller) -> UserIdentityAC | AAssociateRJ | None:
        """Have the access hook judge the user identity, in bounded time."""
        identity = caller.request.user_information.user_identity
        assert identity is not None
        assert self._access.identity is not None
        verdict: UserIdentityAC | AAssociateRJ | None
        try:
            async with asyncio.timeout(self._limits.artim_timeout):
                verdict = await self._access.identity(identity, caller)
        except TimeoutError:
            verdict = Rejection.TEMPORARY_CONGESTION
        except Exception as error:  # noqa: BLE001 - as above
            text = f"judging a user identity failed: {traced(error)}"
            self._logbook.note("a defect here", caller.address, text)
            verdict = Rejection.NO_REASON
        if isinstance(verdict, AAssociateRJ):
            self._logbook.note("rejected", caller.address, "rejected an association: user identity")
        return verdict

    def answer(self, caller: Caller, identity: UserIdentityAC | None) -> AAssociateAC:
        """What is granted of a request."""
        request = caller.request
        supported, asked = self._supported, request.user_information
        response = None
        if asked.user_identity is not None and asked.user_identity.positive_response_requested:
            response = identity
        return AAssociateAC(
            called_ae=request.called_ae,
            calling_ae=request.calling_ae,
            reserved=request.reserved,  # PS3.8 Table 9-17: sent back as received
            presentation_contexts=tuple(supported.answer(c) for c in request.presentation_contexts),
            user_information=UserInformation(
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version_name=IMPLEMENTATION_VERSION_NAME,
                roles=supported.roles(request),
                async_operations=self._window(asked.async_operations),
                extended=self._extended(caller),
                user_identity_response=response,
            ),
        )

    def _extended(self, caller: Caller) -> tuple[SOPClassExtendedNegotiation, ...]:
        """The service's answers to an extended negotiation, of SOP classes that were asked about."""
        request = caller.request
        asked = {one.sop_class_uid for one in request.user_information.extended}
        if not asked:
            return ()
        try:
            found = {one.sop_class_uid: one for one in self._service.extended(request)}
        except Exception as error:  # noqa: BLE001 - the association does without
            text = f"answering an extended negotiation failed: {traced(error)}"
            self._logbook.note("a defect here", caller.address, text)
            return ()
        return tuple(one for uid, one in found.items() if uid in asked)

    def _window(self, asked: AsyncOperationsWindow | None) -> AsyncOperationsWindow | None:
        """What is granted of an asynchronous operations window; nothing unless the server was told to."""
        if asked is None or self._async_operations is None:
            return None
        return AsyncOperationsWindow(
            least_window(asked.invoked, self._async_operations.performed),
            least_window(asked.performed, self._async_operations.invoked),
        )


def keys(caller: Caller, limits: ServerLimits) -> tuple[str, str]:
    """What an open association is counted under."""
    return f"address {origin_of(caller.address, limits.ipv6_prefix)}", f"ae {caller.calling_ae}"


def _reached(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit
