"""The front door's `Pacs`: a client that makes volumes too, for only this floor knows both."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from .association.tasks import on_thread
from .client import connect as client_connect
from .client import pacs as client
from .client import pool as client_pool
from .client.progress import ProgressCallback
from .dimse.levels import Root
from .imaging.errors import SlicesMissing

if TYPE_CHECKING:
    from .imaging.stack import ReadOptions
    from .imaging.volume import Volume

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Pacs(client.Pacs):
    """One peer: ``async with aiodicom.connect(...) as pacs``, or ``pacs = await aiodicom.connect(...)``.

    Entering opens an association, leaving releases it. Operations on one client may run at once in several
    tasks; each association carries one at a time unless an asynchronous operations window was negotiated.
    """

    async def volume(
        self,
        uid: str,
        *,
        root: Root | str | None = None,
        parents: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
        memory_map: str | Path | None = None,
        **options: Unpack[ReadOptions],
    ) -> Volume:
        """Retrieve a series by C-GET and make its volume as it comes, without files.

        Each object is decoded on a thread while the next arrives. root, parents, progress as for `get`;
        memory_map and all other options as for `VolumeBuilder` and `Volume.from_files`.
        Raises what a `get` without directory raises when it is iterated, what `Volume.from_files` raises, and
        SlicesMissing where objects the peer promised did not come, unless on_gap="keep" was chosen: then the
        report says so.
        """
        from .imaging.builder import VolumeBuilder

        retrieve = self.get("SERIES", uid, root=root, parents=parents, progress=progress)
        builder: VolumeBuilder | None = None
        with ExitStack() as closing:
            async for dataset in retrieve:
                if builder is None:
                    promised = retrieve.result.expected
                    count = len(promised) if promised else None
                    builder = VolumeBuilder(count, memory_map=memory_map, **options)
                    closing.enter_context(builder)
                await on_thread(partial(builder.add, dataset))
            result = retrieve.result
            if builder is None:
                builder = VolumeBuilder(memory_map=memory_map, **options)
            told = ""
            if result.missing:
                missing, expected = len(result.missing), len(result.expected or ())
                told = f"{missing} of {expected} objects of the series did not come"
                if options.get("on_gap", "raise") == "raise":
                    raise SlicesMissing(
                        f'{told} from {self.peer.name}; take what there is with on_gap="keep"'
                    )
            made = await on_thread(builder.volume)
        return made.noting(told) if told else made


class Pool(client_pool.Pool, Pacs):
    """A `Pacs` whose operations share at most `max_size` associations; made by `create_pool`.

    Each association is one operation's at a time: what finds none free waits, first come first served.
    Whatever runs at once, the peer never sees more of them. `acquire` keeps one for several operations.
    """

    kind: type[client.Pacs] = Pacs

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Pacs, None]:
        """A client with one association that nobody else uses until the block is left; waits for it.

        One that is idle is taken, else one is opened by the first operation; it goes back to the pool.
        """
        async with super().acquire() as member:
            assert isinstance(member, Pacs)  # its kind
            yield member


def _like(model: Callable[_P, object]) -> Callable[[Callable[..., _T]], Callable[_P, _T]]:
    """With the parameters and the words of the client's own function."""

    def decorate(function: Callable[..., _T]) -> Callable[_P, _T]:
        @wraps(model)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return function(*args, **kwargs)

        return wrapped

    return decorate


@_like(client_connect.connect)
def connect(*args: Any, **kwargs: Any) -> Pacs:
    """The client's `connect`, for this `Pacs`."""
    made = client_connect.connect(*args, **kwargs)
    return client_pool.another(made, Pacs, lazy=made.lazy, max_associations=made.max_associations)


@_like(client_pool.create_pool)
def create_pool(*args: Any, **kwargs: Any) -> Pool:
    """The client's `create_pool`, for this `Pool`."""
    made = client_pool.create_pool(*args, **kwargs)
    return client_pool.another(made, Pool, max_size=made.max_size, max_idle=made.max_idle)
