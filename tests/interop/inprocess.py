"""pynetdicom in threads of this process, where a test must see what its handlers are given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from interop.peers import HOST

ANSWER_TIME = 20.0  # seconds pynetdicom waits for an answer of ours


@contextlib.contextmanager
def scp(contexts: Sequence[Any], handlers: Sequence[Any]) -> Iterator[int]:
    """A pynetdicom server for these contexts with these handlers; gives its port."""
    from interop.pynetdicom_peer import mend_association
    from pynetdicom import AE

    mend_association()
    ae = AE(ae_title="PYNETDICOM")
    for one in contexts:  # assigning `supported_contexts` would lose the roles
        ae.add_supported_context(one.abstract_syntax, one.transfer_syntax, one.scu_role, one.scp_role)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_TIME
    server = ae.start_server((HOST, 0), block=False, evt_handlers=list(handlers))
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


async def scu(
    port: int,
    contexts: Sequence[Any],
    work: Callable[[Any], Any],
    *,
    items: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Any:
    """Associate with pynetdicom, have `work` use the association in a thread, release; what `work` gave."""
    from interop.pynetdicom_peer import mend_association
    from pynetdicom import AE

    mend_association()

    def run() -> Any:
        ae = AE(ae_title="PYNETDICOM")
        ae.requested_contexts = list(contexts)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_TIME
        assoc = ae.associate(HOST, port, ae_title="OURS", ext_neg=list(items), evt_handlers=list(handlers))
        assert assoc.is_established, "no association"
        try:
            result = work(assoc)
        except BaseException:
            assoc.abort()
            raise
        assoc.release()
        assert assoc.is_released
        return result

    return await asyncio.to_thread(run)
