"""``aiodicom serve``: the embedded archive, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..association.dialing import bare_host
from ..server.access import Access
from ..server.archive_service import serve_archive
from ..server.limits import ServerLimits
from ..server.listener import DEFAULT_HOST, DEFAULT_PORT, add_signal_handlers, descriptors
from ..server.metrics import MetricsEndpoint
from ..server.service import Destination
from .commands import LIMITS, Command, peer_of, section
from .fields import field_options, take_fields
from .options import (
    Common,
    Protection,
    ae_title,
    local_command,
    network,
    server_tls_options,
    trace_option,
    tracing,
)
from .systemd import notify, still_starting
from .terminal import say

SWITCH_INTERVAL = 0.0005
"""Seconds until a thread that searches, scans or decodes lets the loop go on, which has to ask for that
several times in one round: with Python's 5 ms floods of identifiers keep others waiting."""
DESCRIPTORS = 65536
"""The soft limit of file descriptors that is asked for; each association has one."""


def destination(value: str) -> tuple[str, Destination]:
    """``NAME=HOST:PORT`` or ``NAME=@NODE``: an AE title that C-MOVE may send to, and where it is.

    Raises click.BadParameter.
    """
    title, _, where = value.partition("=")
    if where.startswith("@"):
        peer = peer_of(where)
        return ae_title(title), Destination(peer.host, peer.port, peer.tls)
    found = split_address(where)
    if found is None or not found[1]:
        raise click.BadParameter(f"{value!r} is not of the form NAME=HOST:PORT or NAME=@NODE")
    return ae_title(title), Destination(*found)


def address(value: str) -> tuple[str, int]:
    """``HOST:PORT``, port 0 for a free one; an IPv6 address in brackets. Raises click.BadParameter."""
    found = split_address(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not of the form HOST:PORT (an IPv6 address in brackets)")
    return found


def split_address(text: str) -> tuple[str, int] | None:
    """Host and port; None for what is no address."""
    host, _, port = text.rpartition(":")
    bare = bare_host(host)
    digits = port.isascii() and port.isdecimal()
    if not (bare and digits and int(port) < 65536) or (":" in host and bare == host):
        return None
    return bare, int(port)


server_limits: Callable[[Any], Any] = section(LIMITS, field_options(ServerLimits))[0]


@click.command(cls=Command)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option(
    "--host",
    default=DEFAULT_HOST,
    show_default=True,
    help="The address to listen on; any or :: is every address of this machine.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "--ae-title", type=ae_title, metavar="TITLE", default="ARCHIVE", show_default=True, help="Our AE title."
)
@click.option(
    "--destination",
    "destinations",
    type=destination,
    metavar="NAME=(HOST:PORT|@NODE)",
    multiple=True,
    help="An AE title that C-MOVE may send to, and where it is; may be given several times.",
)
@click.option(
    "--destination-tls",
    is_flag=True,
    help="Send to destinations over TLS, with --key, --cert and --trusted.",
)
@click.option("--only-called", is_flag=True, help="Answer to our own AE title alone; otherwise to any.")
@click.option(
    "--allow-calling",
    type=ae_title,
    metavar="TITLE",
    multiple=True,
    help="A calling AE title that may associate; every one may when none is given. May be repeated.",
)
@click.option(
    "--allow-address",
    type=network,
    metavar="NETWORK",
    multiple=True,
    help="An address or network (10.0.0.0/8) that may connect. May be repeated.",
)
@click.option(
    "--allow-subject",
    multiple=True,
    metavar="SUBJECT",
    help='A client certificate\'s subject that may connect ("CN=scanner 1, O=Hospital"). May be repeated.',
)
@click.option(
    "--durability",
    type=click.Choice(["fsync", "rename"]),
    default="fsync",
    show_default=True,
    help="fsync: what is answered with success survives a power failure; rename: a killed process only.",
)
@click.option(
    "--private-classes/--no-private-classes",
    default=True,
    show_default=True,
    help="Store objects of SOP classes that the standard does not know; what is not digits and dots, 64 at"
    " most, is never accepted.",
)
@click.option(
    "--create/--no-create",
    default=None,
    help="Whether to make an archive where DIR holds none. Not given: made, unless DIR lies on a disk that"
    " /etc/fstab names and that is not mounted.",
)
@click.option(
    "--metrics",
    type=address,
    metavar="HOST:PORT",
    help="Answer GET /metrics there by HTTP with what the server counts, for Prometheus.",
)
@server_tls_options
@server_limits
@trace_option
@local_command(json=False, log_level=logging.INFO)
def serve(common: Common, directory: Path, **values: Any) -> None:
    """Serve the archive in DIR: verification, storage, query, C-GET and C-MOVE.

    Files are kept as received beside an index. SIGTERM or ^C lets running associations finish for a
    while, then ends them.
    """
    title = values["ae_title"]
    descriptors(raise_to=DESCRIPTORS)
    sys.setswitchinterval(SWITCH_INTERVAL)
    options = _options(values)
    options["create"] = unmounted(directory) is None if values["create"] is None else values["create"]

    async def work() -> None:
        with _stop_signal() as stop, tracing(values["trace_path"]) as options["observer"]:
            async with AsyncExitStack() as stack:
                server = await stack.enter_async_context(serve_archive(directory, **options))
                metrics = None
                if values["metrics"]:
                    host, port = values["metrics"]
                    metrics = MetricsEndpoint(server.stats, host=_host(host), port=port)
                    await stack.enter_async_context(metrics)
                protection = "with TLS" if options["tls"] else "without TLS"
                say(f"{title} listens on port {server.port}, {protection}: {directory}")
                if metrics is not None:
                    say(f"metrics on port {metrics.port}")
                sys.stdout.flush()
                gc.freeze()  # what is loaded stays: a look at all of it for garbage would hold the loop
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")

    common.run(work())


def _host(value: str) -> str | None:
    """The address to listen on; None is every one."""
    return None if value in ("", "any") else value


def unmounted(directory: Path, table: Path = Path("/etc/fstab")) -> Path | None:
    """The mount point that `directory` is or lies in, when `table` names it and nothing is mounted there."""
    try:
        lines = table.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = {Path(one[1].replace("\\040", " ")) for one in fields if len(one) > 1 and one[1] != "/"}
    place = directory.absolute()
    return next((one for one in (place, *place.parents) if one in points and not one.is_mount()), None)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """The options as keyword arguments of `serve_archive`. Raises click.UsageError."""
    try:
        limits = take_fields(ServerLimits, values)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    protection = Protection.take(values)
    if values["allow_subject"] and not (protection.cert and protection.trusted):
        raise click.UsageError("--allow-subject needs TLS: --cert and --trusted")
    outgoing = protection.client() if values["destination_tls"] else None
    return {
        "host": _host(values["host"]),
        "port": values["port"],
        "ae_title": values["ae_title"],
        "tls": protection.server("TLS") if protection.given else None,
        "destinations": {name: replace(one, tls=one.tls or outgoing) for name, one in values["destinations"]},
        "limits": limits,
        "access": Access(
            called_ae=[values["ae_title"]] if values["only_called"] else None,
            calling_ae=values["allow_calling"] or None,
            addresses=values["allow_address"] or None,
            tls_subjects=values["allow_subject"] or None,
        ),
        "durability": values["durability"],
        "promiscuous": values["private_classes"],
        "progress": still_starting,
    }


@contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """An event that is set when the process is told to stop; told again, it stops at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def told() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    handled = add_signal_handlers(loop, told, signals)
    try:
        yield stop
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
