"""``aiodicom get`` and ``aiodicom move``."""

from __future__ import annotations

from pathlib import Path

import click

from ..client.receiving import Durability
from ..client.results import RetrieveResult
from ..client.retrieving import check_uids
from ..dimse.levels import Level, Root
from . import output
from .exits import Code, exit_code
from .find import LEVEL, ROOT, parse_pairs
from .options import PORT, Target, ae_title, peer_command
from .terminal import clean, complain, objects, progress_bar, say, size, speed

_SHOWN = 20
_UIDS = click.argument("uids", nargs=-1, required=True, metavar="UID...")
_LEVEL = click.option(
    "--level", type=LEVEL, required=True, help="What the UIDs are of (at PATIENT: Patient IDs)."
)
_ROOT = click.option("--root", type=ROOT, default="PATIENT", show_default=True, help="The information model.")
_PARENTS = click.option(
    "--parent",
    "parents",
    multiple=True,
    metavar="KEYWORD=VALUE",
    help="A unique key above the level, for peers that want it; otherwise it is found by a query.",
)
_DURABILITY = click.option(
    "--durability",
    type=click.Choice(["fsync", "rename"]),
    default="fsync",
    show_default=True,
    help="fsync: what is reported as received survives a power failure; rename: a killed process only.",
)


@click.command()
@peer_command(progress=True)
@_UIDS
@_LEVEL
@_ROOT
@_PARENTS
@_DURABILITY
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to retrieve into.",
)
def get(
    target: Target,
    uids: tuple[str, ...],
    level: str,
    root: str,
    parents: tuple[str, ...],
    durability: Durability,
    out: Path,
) -> int:
    """Retrieve patients, studies, series or instances from HOST PORT into a folder: C-GET.

    Files come exactly as the peer sent them, under patient/study/series/instance; none is overwritten.
    """
    wanted = check_uids(Level.parse(level), Root[root.upper()], uids)
    above = parse_pairs(parents)

    async def work() -> RetrieveResult:
        with progress_bar("get", wanted=target.progress) as progress:
            async with target.connect() as peer:
                return await peer.get(
                    level,
                    wanted,
                    directory=out,
                    root=root,
                    parents=above or None,
                    durability=durability,
                    progress=progress,
                )

    return report(target.run(work()), target.json, out)


@click.command()
@peer_command(progress=True)
@_UIDS
@_LEVEL
@_ROOT
@_PARENTS
@_DURABILITY
@click.option(
    "--destination", type=ae_title, metavar="TITLE", help="The AE title to move to; the peer must know it."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Move to ourselves, into this folder."
)
@click.option(
    "--listen-port",
    type=PORT,
    help="The port we listen on for --out; the peer must know our calling AE title under it.",
)
@click.option(
    "--listen-tls",
    is_flag=True,
    help="Listen with TLS: --cert is ours, and with --trusted the peer must show one that it vouches for.",
)
def move(
    target: Target,
    uids: tuple[str, ...],
    level: str,
    root: str,
    parents: tuple[str, ...],
    durability: Durability,
    destination: str | None,
    out: Path | None,
    listen_port: int | None,
    listen_tls: bool,
) -> int:
    """Have HOST PORT send patients, studies, series or instances to another AE title, or to us: C-MOVE."""
    if (destination is None) == (out is None):
        raise click.UsageError("give either --destination or --out")
    if (out is None) != (listen_port is None):
        raise click.UsageError("--out and --listen-port go together")
    if durability == "rename" and out is None:
        raise click.UsageError("--durability goes with --out: what a destination does is its own")
    if listen_tls and out is None:
        raise click.UsageError("--listen-tls goes with --out and --listen-port")
    accepting = target.listen_tls() if listen_tls else None
    wanted = check_uids(Level.parse(level), Root[root.upper()], uids)
    above = parse_pairs(parents)

    async def work() -> RetrieveResult:
        with progress_bar("move", wanted=target.progress) as progress:
            async with target.connect() as peer:
                if destination is not None:
                    return await peer.move(
                        level,
                        wanted,
                        destination=destination,
                        root=root,
                        parents=above or None,
                        progress=progress,
                    )
                assert listen_port is not None
                return await peer.move(
                    level,
                    wanted,
                    directory=out,
                    listen_port=listen_port,
                    listen_tls=accepting,
                    root=root,
                    parents=above or None,
                    durability=durability,
                    progress=progress,
                )

    return report(target.run(work()), target.json, out)


def report(result: RetrieveResult, json: bool, out: Path | None) -> int:
    """Print what a retrieve came to; the exit code."""
    code = retrieve_code(result)
    if json:
        output.emit(output.retrieve_result(result))
    else:
        _show(result, out)
    if code is not Code.OK:
        complain(_complaint(result))
    return code


def retrieve_code(result: RetrieveResult) -> Code:
    """The exit code a result asks for; nothing found is a failure: what was asked for is not here."""
    if result.error is not None:
        return exit_code(result.error) or Code.FAILED
    nothing = not (result.items if result.received_here else result.completed)
    return Code.OK if result.ok and not nothing else Code.FAILED


def _show(result: RetrieveResult, out: Path | None) -> None:
    if result.received_here:
        good = [item for item in result.items if item.ok]
        rate = speed(result.bytes, result.seconds)
        into = f" into {out}" if out is not None else ""
        say(f"received {objects(len(good))}, {size(result.bytes)} in {result.seconds:.1f} s ({rate}){into}")
    else:
        say(f"moved {objects(result.completed or 0)}")
    failed = [
        f"{item.sop_instance_uid}: {item.comment or f'answered {item.status:04X}H'}"
        for item in result.items
        if not item.ok
    ]
    for title, lines in (
        ("refused here", failed),
        ("failed at the peer", result.failed_uids),
        ("missing", result.missing),
    ):
        if lines:
            say(f"{title}: {len(lines)}")
        for line in lines[:_SHOWN]:
            print(f"  {clean(line)}")
        if len(lines) > _SHOWN:
            say(f"  ... and {len(lines) - _SHOWN} more (--json lists all)")


def _complaint(result: RetrieveResult) -> str:
    if result.error is not None:
        return str(result.error)
    parts = []
    if result.status != 0:
        comment = f" ({result.comment})" if result.comment else ""
        parts.append(f"{result.service} answered {result.info}{comment}")
    if result.failed:
        parts.append(f"{result.failed} failed")
    if result.warning:
        parts.append(f"{result.warning} with a warning")
    if result.missing:
        parts.append(f"{len(result.missing)} missing")
    refused = sum(not item.ok for item in result.items)
    if refused:
        parts.append(f"{refused} refused here")
    return ", ".join(parts) or "the peer has nothing of that key"
