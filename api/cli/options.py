"""What every command that connects takes: whom, as whom, how protected, how long to wait."""

from __future__ import annotations

import asyncio
import functools
import signal
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from ..association.connect import DEFAULT_CALLED_AE, DEFAULT_CALLING_AE, WINDOW, Peer
from ..association.observing import Observer
from ..association.timeouts import Timeouts
from ..association.tls import PROFILES, TLSProfile, client_context, server_context
from ..client.nodes import Node
from ..client.pacs import Pacs
from ..client.parallel import MAX_ASSOCIATIONS
from ..client.quirks import Quirks
from ..client.results import StoreReport
from ..client.retrieved import RetrieveResult
from ..client.web import DicomWeb
from ..pdu.types import UserIdentityRQ
from . import output
from .commands import CONNECTION, GENERAL, LIMITS, NODE, SECURITY, section
from .completion import complete_host
from .exits import Code, Terminated, exit_code, first_cause, sentence
from .fields import field_options, take_fields
from .logs import start_logging
from .terminal import complain

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
R = TypeVar("R", RetrieveResult, StoreReport)

PEM = click.Path(exists=True, path_type=Path)
PORT = click.IntRange(1, 65535)
TIMEOUT_SUFFIX = "_timeout"


def ae_title(value: str) -> str:
    """An AE title without padding: 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2).

    Raises click.BadParameter.
    """
    text = value.strip(" ")
    if not (0 < len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text):
        raise click.BadParameter(
            f"{value!r} is no AE title: 1 to 16 printable ASCII characters, no backslash"
        )
    return text


async def stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Await some work, which SIGTERM cancels. Raises Terminated when it has ended by that."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    told = []

    def stop() -> None:
        told.append(True)
        task.cancel()

    try:
        loop.add_signal_handler(signal.SIGTERM, stop)
    except (NotImplementedError, RuntimeError, ValueError):  # not on this system, or not in this thread
        return await work
    try:
        return await work
    except asyncio.CancelledError:
        if told:
            raise Terminated from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes: how to print, how much to log, on which loop to run."""

    json: bool
    progress: bool
    loop: str

    def run_stoppable(self, work: Coroutine[Any, Any, T]) -> T:
        """As `run`; SIGTERM cancels the work as ^C does. Raises Terminated then."""
        return self.run(stoppable(work))

    def run_told(self, work: Callable[[list[R]], Coroutine[Any, Any, R]], show: Callable[[R], object]) -> R:
        """`run_stoppable` of work that says in a list what its report is, as soon as there is one.

        The report so far is printed too before an interruption is raised on, or the error that is the end.
        """
        so_far: list[R] = []
        try:
            return self.run_stoppable(work(so_far))
        except (KeyboardInterrupt, Terminated):
            self._show(so_far, show, {"ok": False, "interrupted": True})
            raise
        except Exception as error:
            cause = first_cause(error)
            code = exit_code(cause)
            if not so_far or code in (None, Code.USAGE) or isinstance(cause, BrokenPipeError):
                raise
            assert code is not None
            self._show([one for one in so_far if self.json or one.bytes], show, output.failure(cause, code))
            complain(sentence(cause))
            raise click.exceptions.Exit(code) from error

    def _show(self, so_far: list[R], show: Callable[[R], object], more: dict[str, Any]) -> None:
        for one in so_far:
            if self.json:
                output.emit(one.to_dict() | more)
            else:
                show(one)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a command's work to its end on the loop chosen."""
        if self.loop != "asyncio":
            try:
                import uvloop
            except ImportError:
                if self.loop == "uvloop":
                    work.close()
                    raise click.UsageError("uvloop is not installed: pip install uvloop") from None
            else:
                return uvloop.run(work)
        return asyncio.run(work)


@dataclass(frozen=True, slots=True)
class Protection:
    """What the options say of TLS; contexts of it for either side."""

    key: Path | None
    cert: Path | None
    trusted: Path | None
    password: str | None
    profile: TLSProfile
    check_host: bool

    @classmethod
    def take(cls, values: dict[str, Any]) -> Protection:
        """As parameters say, taken out of them."""
        return cls(
            key=values.pop("key"),
            cert=values.pop("cert"),
            trusted=values.pop("trusted"),
            password=values.pop("key_password"),
            profile=values.pop("tls_profile"),
            check_host=not values.pop("no_verify_host", False),
        )

    @property
    def given(self) -> bool:
        """Whether something says that TLS is wanted."""
        return bool(self.key or self.cert or self.trusted or not self.check_host)

    def client(self, trusted: Path | None = None) -> ssl.SSLContext:
        """A context to connect with; `trusted`: other authorities."""
        return client_context(
            self.key,
            self.cert,
            trusted or self.trusted,
            check_hostname=self.check_host,
            profile=self.profile,
            password=self.password,
        )

    def server(self, needing: str) -> ssl.SSLContext:
        """A context to accept with. Raises click.UsageError without a certificate, which `needing` needs."""
        if self.cert is None:
            raise click.UsageError(f"{needing} needs --cert")
        return server_context(self.key, self.cert, self.trusted, profile=self.profile, password=self.password)


@dataclass(frozen=True, slots=True)
class PeerOptions(Common):
    """A peer as the options describe it, and the TLS that they say: for listening, and for an https address,
    too. `node` is what the file says, where it was named.
    """

    peer: Peer
    protection: Protection
    node: Node | None = None

    @property
    def quirks(self) -> Quirks:
        """What the node says of the peer."""
        return self.node.quirks if self.node is not None else Quirks()

    @asynccontextmanager
    async def connect(
        self, *, lazy: bool = True, quirks: Quirks | None = None, dicomweb: DicomWeb | None = None
    ) -> AsyncGenerator[Pacs, None]:
        """A client. Raises at the end when the peer answered a release with an abort.

        lazy: its first association is that of the first operation: one that is not needed is not opened.
        """
        client = Pacs(self.peer, lazy=lazy, quirks=quirks or self.quirks, dicomweb=dicomweb)
        async with client:
            yield client
            await client.close()  # raises what leaving alone is content with


def _chain(function: Any, options: list[Callable[[Any], Any]]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


_LOOP = click.option(
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    show_default=True,
    help="The event loop; auto takes uvloop where it is installed.",
)
_VERBOSE = click.option(
    "-v",
    "--verbose",
    count=True,
    help="Log to stderr: associations; -vv each PDU and message, -vvv bytes too. Never what data sets say.",
)


trace_option: Callable[[Any], Any] = section(
    GENERAL,
    click.option(
        "--trace",
        "trace_path",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write what happens on the network to FILE: .jsonl (no data) or .pcap (patients' data too).",
    ),
)[0]


def _common_options(*, json: bool, progress: bool) -> list[Callable[[Any], Any]]:
    options: list[Callable[[Any], Any]] = []
    if json:
        options.append(
            click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
        )
    if progress:
        options.append(
            click.option(
                "--progress/--no-progress",
                "progress",
                default=True,
                help="Progress bars, where stderr is a terminal.",
            )
        )
    return section(GENERAL, *options, _LOOP, _VERBOSE)


def _take_common(values: dict[str, Any], verbosity_default: int) -> dict[str, Any]:
    start_logging(values.pop("verbose"), verbosity_default)
    return {
        "json": values.pop("as_json", False),
        "progress": values.pop("progress", False),
        "loop": values.pop("loop"),
    }


@contextmanager
def _failure_as_json(wanted: bool) -> Iterator[None]:
    """Print what takes the place of a result, when an error that is no defect of ours passes."""
    try:
        yield
    except Exception as error:
        cause = first_cause(error)
        code = exit_code(cause)
        if wanted and code is not None and not isinstance(cause, BrokenPipeError):
            output.emit(output.failure(cause, code))
        raise


def local_command(
    *, json: bool = True, progress: bool = False, log_level: int = 30
) -> Callable[[Callable[..., Any]], Any]:
    """The options of a command without a peer; its function gets a `Common` first."""

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            common = Common(**_take_common(values, log_level))
            with _failure_as_json(common.json):
                return function(common, **values)

        return _chain(command, _common_options(json=json, progress=progress))

    return decorate


def network(value: str) -> str:
    """An address or a network. Raises click.BadParameter."""
    try:
        ip_network(value, strict=False)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


# --- A peer --------------------------------------------------------------------------------------

_KEY_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--key", type=PEM, help="Our private key (PEM), when it is not in the file of --cert."),
    click.option("--cert", type=PEM, help="Our certificate (PEM) with its chain."),
    click.option(
        "--key-password", envvar="AIODICOM_KEY_PASSWORD", show_envvar=True, help="For an encrypted key."
    ),
    click.option(
        "--tls-profile",
        type=click.Choice(list(PROFILES)),
        default="bcp195",
        show_default=True,
        help="Which secure connection profile of PS3.15 Annex B to keep to.",
    ),
]

_NAMES: list[Callable[[Any], Any]] = [
    click.option(
        "--calling",
        type=ae_title,
        metavar="TITLE",
        default=DEFAULT_CALLING_AE,
        show_default=True,
        help="Our AE title; many peers answer only titles they know.",
    ),
    click.option(
        "--called",
        type=ae_title,
        metavar="TITLE",
        default=DEFAULT_CALLED_AE,
        show_default=True,
        help="The peer's AE title.",
    ),
]

_PROTECTION: list[Callable[[Any], Any]] = [
    click.option(
        "--tls/--no-tls", "tls", default=None, help="TLS; implied by --trusted, --cert and --no-verify-host."
    ),
    click.option(
        "--trusted",
        type=PEM,
        help="File or folder of certificates to trust (PEM): the peer's authority, or its own. "
        "Without it the system's are trusted.",
    ),
    *_KEY_OPTIONS,
    click.option(
        "--no-verify-host",
        is_flag=True,
        help="Take a trusted certificate whatever host it names (for peers reached by address).",
    ),
    click.option("--user", help="A user name to identify with (PS3.7 D.3.3.7)."),
    click.option("--passcode", envvar="AIODICOM_PASSCODE", show_envvar=True, help="The passcode of --user."),
]

_PEER_OPTIONS: list[Callable[[Any], Any]] = [
    click.argument("host", metavar="(HOST PORT|@NODE)", shell_complete=complete_host),
    click.argument("port", type=PORT),
    *section(CONNECTION, *_NAMES),
    *section(SECURITY, *_PROTECTION),
    *section(LIMITS, field_options(Timeouts, TIMEOUT_SUFFIX)),
]


def associations_option(function: F) -> F:
    """How many associations share the work."""
    option = click.option(
        "--associations",
        type=click.IntRange(1, MAX_ASSOCIATIONS),
        default=1,
        show_default=True,
        help="Associations at once that share the work; a peer may allow few.",
    )
    return option(function)


def peer_command(
    *, json: bool = True, progress: bool = False, lines: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """HOST, PORT and the options of a connection; the function gets a `PeerOptions` first, then the rest.

    `lines`: its JSON is one object a match, so a failure is told on stderr alone.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            common = _take_common(values, 30)
            with _failure_as_json(common["json"] and not lines):
                protection = Protection.take(values)
                with tracing(values.pop("trace_path")) as observer:
                    peer = _take_peer(values, protection, observer)
                    node = click.get_current_context().meta.get(NODE)
                    target = PeerOptions(**common, peer=peer, protection=protection, node=node)
                    return function(target, **values)

        shared = [*_common_options(json=json, progress=progress), trace_option]
        return _chain(command, [*_PEER_OPTIONS, *shared])

    return decorate


@contextmanager
def tracing(path: Path | None) -> Iterator[Observer | None]:
    """The observer that writes a trace, until the work is done; None without a path."""
    if path is None:
        yield None
        return
    from .tracing import TraceFile

    trace = TraceFile(path)
    try:
        yield trace
    finally:
        trace.close()
        if trace.error is not None or trace.left_out:
            why = trace.error.strerror if trace.error is not None else f"{trace.left_out} events are left out"
            complain(f"the trace {path} is not whole: {why}")


def _take_peer(values: dict[str, Any], protection: Protection, observer: Observer | None) -> Peer:
    """The peer that parameters describe, taken out of them."""
    wanted = values.pop("tls")
    if wanted is False and protection.given:
        raise click.UsageError("--no-tls goes with none of --key, --cert, --trusted and --no-verify-host")
    timeouts = take_fields(Timeouts, values, TIMEOUT_SUFFIX)
    return Peer(
        host=values.pop("host"),
        port=values.pop("port"),
        calling_ae=values.pop("calling"),
        called_ae=values.pop("called"),
        tls=protection.client() if wanted or protection.given else None,
        timeouts=timeouts,
        user_identity=_identity(values.pop("user"), values.pop("passcode")),
        observer=observer,
        async_operations=WINDOW,
    )


def _identity(user: str | None, passcode: str | None) -> UserIdentityRQ | None:
    if user is None:
        return None
    if passcode is None:
        return UserIdentityRQ(1, user.encode())
    return UserIdentityRQ(2, user.encode(), passcode.encode())


# --- A server ------------------------------------------------------------------------------------


def server_tls_options(function: F) -> F:
    """The TLS options of a server; `Protection.take` reads them."""
    trusted = click.option(
        "--trusted",
        type=PEM,
        help="File or folder of certificates (PEM): clients must show one that these vouch for.",
    )
    return cast(F, _chain(function, section(SECURITY, trusted, *_KEY_OPTIONS)))
