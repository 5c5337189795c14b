"""The DICOMweb address of a peer, and one request to it: HTTP by httpx (`pip install 'aiodicom[web]'`)."""

from __future__ import annotations

import json
import logging
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ..association.errors import ConnectionRefused, ConnectTimeout, InactivityTimeout, TLSFailed
from ..association.tasks import on_thread
from ..association.timeouts import Timeouts
from ..association.tls import client_context, describe_tls_error
from ..dimse.identity import IMPLEMENTATION_VERSION_NAME
from ..dimse.levels import QueryError
from ..pdu.errors import AiodicomError, RemoteProtocolError

if TYPE_CHECKING:
    import httpx

log: logging.Logger = logging.getLogger("aiodicom.web")

MAX_JSON = 4 * 1024 * 1024
"""Bytes of an answer to a question (QIDO-RS)."""
NOT_OFFERED = frozenset({401, 403, 405, 406, 415, 501})
"""HTTP statuses that say that something is not to be had here, whatever is asked for by it."""
NOT_THERE = frozenset({404, 410})
"""HTTP statuses that say that there is no such thing; to a query, of some servers, that there is no match."""
BUSY = frozenset({429, 503})
"""HTTP statuses that say that the next request would fare no better now."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""The name of a variable of the environment."""
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": IMPLEMENTATION_VERSION_NAME}
_ADVICE = {
    401: "; it wants an authorization",
    403: "; what we identify with has no right to it",
    406: "; it does not give objects as they are stored",
}


class WebFailed(AiodicomError):
    """A DICOMweb request that failed. `status` is that of HTTP, None where there was no whole answer.

    asked: whether there was a request at all.
    """

    def __init__(self, message: str, status: int | None = None, *, asked: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.asked = asked

    @property
    def denied(self) -> bool:
        """Whether it says that another request would be refused as well."""
        return self.status in NOT_OFFERED

    @property
    def final(self) -> bool:
        """Whether nothing else is worth asking for now: the answer broke off, was denied, or it is busy."""
        return self.status is None or self.denied or self.status in BUSY


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWeb:
    """Where a peer offers DICOMweb (PS3.18): `url` is what ``/studies`` follows.

    `authorization` is the value of the header of that name ("Bearer ...", "Basic ..."), or gives it before
    each request; `tls` an SSL context, without which an https address is checked against the system's
    authorities. Nothing goes through a proxy, and no redirection is followed. Raises QueryError for what is
    no such address.

    >>> web = aiodicom.DicomWeb(url="https://pacs.example/dicom-web", authorization="Bearer ...")
    >>> pacs = aiodicom.connect("pacs.example", 104, dicomweb=web)
    """

    url: str
    authorization: str | Callable[[], str] | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        if isinstance(self.authorization, str):
            self.header()

    def header(self) -> dict[str, str]:
        """What identifies us in a request. Raises QueryError, which does not repeat it."""
        secret = self.authorization() if callable(self.authorization) else self.authorization
        if secret is None:
            return {}
        if not (secret.strip() and secret.isascii() and secret.isprintable()):
            raise QueryError("an authorization is one line of printable ASCII")
        return {"Authorization": secret.strip()}


def of_variable(name: str) -> Callable[[], str]:
    """Gives what a variable of the environment holds. Raises QueryError where there is none."""

    def value() -> str:
        found = os.environ.get(name)
        if not found:
            raise QueryError(f"the environment has no {name}, which is to hold the authorization")
        return found

    return value


def check_url(url: str) -> str:
    """The address itself. Raises QueryError for what is none, which is not repeated: it may hold a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise QueryError(f"a DICOMweb address that is none: {error}") from None
    if "@" in parts.netloc:
        raise QueryError("a DICOMweb address holds no user and password: an authorization is given apart")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise QueryError("a DICOMweb address is written https://host[:port]/path")
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise QueryError("a DICOMweb address ends with its path: no query, fragment, blanks")
    return url


class WebPeer:
    """A peer by HTTP, while it is entered. Raises WebFailed where httpx is not installed.

    It uses httpx's transport alone: its client would log each address, in which a Patient ID may stand, keep
    cookies, and ask the environment for proxies and passwords.
    """

    def __init__(self, address: DicomWeb, timeouts: Timeouts, *, connections: int = 1) -> None:
        self.address = address
        self._timeouts = timeouts
        self._base = address.url.rstrip("/")
        self._transport = self._make(connections)
        self._connections = connections
        self._answered = False

    def _make(self, connections: int) -> httpx.AsyncHTTPTransport:
        try:
            import httpx
        except ImportError as error:
            text = "DICOMweb needs httpx: pip install 'aiodicom[web]'"
            raise WebFailed(text, asked=False) from error
        address = self.address
        secure = address.url.lower().startswith("https:")
        if address.authorization is not None and not secure:
            log.warning("the authorization for %s can be read on the network: it is no https", address.url)
        return httpx.AsyncHTTPTransport(
            verify=(address.tls or client_context()) if secure else False,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    @asynccontextmanager
    async def get(
        self, path: str, accept: str, *, silence: float | None, parameters: Mapping[str, str] | None = None
    ) -> AsyncGenerator[WebAnswer, None]:
        """The answer to one GET, whose body is to be read from it; any status of success.

        silence: seconds for which nothing may move, None for any. Raises WebFailed for any other status,
        and for an answer that breaks off while it is read; ConnectFailed, ConnectTimeout, InactivityTimeout.
        """
        import httpx

        limit = httpx.Timeout(silence, connect=self._timeouts.connect, pool=None)
        request = httpx.Request(
            "GET",
            self._base + path,
            params=parameters,
            headers={"Accept": accept, **_HEADERS, **self.address.header()},
            extensions={"timeout": limit.as_dict()},
        )
        with self._errors(silence):
            response = await self._respond(request)
            async with aclosing(response):
                if not response.is_success:
                    raise self._failed(response)
                encoding = response.headers.get("content-encoding", "identity").lower()
                if encoding != "identity":
                    raise WebFailed(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")
                yield WebAnswer(response)

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        """The head of the answer. Where the peer may have closed a connection since its last answer on it, as
        it does with what is idle, it is asked once more (RFC 9112 9.3.1): a GET changes nothing.
        """
        import httpx

        for _ in range(self._connections if self._answered else 0):
            with suppress(httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                return await self._transport.handle_async_request(request)
            log.info("%s: the connection had been closed; asked once more", self.address.url)
        response = await self._transport.handle_async_request(request)
        self._answered = True
        return response

    async def ask(self, path: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        """The answers of a query (QIDO-RS): DICOM JSON, of `MAX_JSON` bytes at most. Raises as `get`."""
        silence = self._timeouts.inactivity
        async with self.get(path, "application/dicom+json", silence=silence, parameters=parameters) as answer:
            if answer.status == 204:
                return []
            data = bytearray()
            async for chunk in answer:
                data += chunk
                if len(data) > MAX_JSON:
                    raise WebFailed(f"the answer to a query has more than {MAX_JSON} bytes")
        try:
            found = await on_thread(lambda: json.loads(data))
        except (ValueError, RecursionError) as error:
            raise WebFailed(f"the answer to a query is no JSON: {type(error).__name__}") from None
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    def _failed(self, response: httpx.Response) -> WebFailed:
        status = response.status_code
        more = _ADVICE.get(status, "")
        if response.is_redirect:
            more = f"; its address may be {response.headers.get('location', '')[:200]!r}"
        return WebFailed(f"HTTP {status} {response.reason_phrase[:60]}{more}", status).at(self.address.url)

    @contextmanager
    def _errors(self, silence: float | None) -> Iterator[None]:
        """Errors of httpx as ours."""
        import httpx

        url, times = self.address.url, self._timeouts
        try:
            yield
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            text = f"no connection within {times.connect} s"
            raise ConnectTimeout(text, limit="connect", seconds=times.connect).at(url) from None
        except httpx.TimeoutException:
            text = f"nothing moved for {silence} s"
            raise InactivityTimeout(text, limit="inactivity", seconds=silence).at(url) from None
        except httpx.ConnectError as error:
            cause = _tls_error(error)
            if cause is not None:
                raise TLSFailed(describe_tls_error(cause)).at(url) from error
            raise ConnectionRefused(f"no connection: {error}").at(url) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebFailed(f"the answer broke off: {error or type(error).__name__}").at(url) from error
        except (WebFailed, RemoteProtocolError) as error:
            error.at(url)
            raise


class WebAnswer:
    """An answer as it comes: iterated for its bytes."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The status of HTTP, 200 to 299."""
        return self._response.status_code

    @property
    def words(self) -> str:
        """The status in words."""
        return f"HTTP {self.status} {self._response.reason_phrase[:40]}".strip()

    @property
    def content_type(self) -> str:
        """The header of that name."""
        return str(self._response.headers.get("content-type", ""))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.aiter_raw()


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """The failed handshake behind an error, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
