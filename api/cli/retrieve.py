"""``aiodicom get`` and ``aiodicom move``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..client.ladder import Via, parse_via
from ..client.listening import LISTEN_PORT, Listening
from ..client.negotiated import sop_class_name
from ..client.plan import SERVICES, Plan
from ..client.planning import MAX_QUERIES
from ..client.receiving import MAXIMUM_OBJECT
from ..client.retrieved import ReceivedItem, RetrieveResult
from ..client.web import DicomWeb
from ..dimse.levels import Level, QueryError
from ..pdu.errors import AiodicomError
from ..server.limits import ServerLimits
from . import output
from .commands import PeerCommand, said
from .exits import Code, exit_code, sentence
from .find import LEVEL, ROOT, parse_pairs
from .lists import from_option, with_listed
from .options import PORT, PeerOptions, ae_title, associations_option, network, peer_command
from .terminal import complain, objects, progress_bar, say, show_list, size, speed
from .web import dicomweb_options


def services(value: str) -> Via:
    """The services of a retrieve, in order. Raises click.BadParameter."""
    names: Any = value if value in ("auto", *SERVICES) else tuple(value.split(","))
    try:
        parse_via(names)
    except QueryError:
        order = ", ".join(SERVICES)
        raise click.BadParameter(f"{value!r} is neither auto nor some of {order}, each once") from None
    chosen: Via = names
    return chosen


_UIDS = click.argument("uids", nargs=-1, metavar="UID...")
_FROM = from_option("unique keys")
_LEVEL = click.option(
    "--level", type=LEVEL, required=True, help="What the UIDs are of (at PATIENT: Patient IDs)."
)
_ROOT = click.option(
    "--root",
    type=ROOT,
    help="The information model; by default PATIENT for patients, else STUDY if accepted.",
)
_PARENTS = click.option(
    "--parent",
    "parents",
    multiple=True,
    metavar="KEYWORD=VALUE",
    help="A unique key above the level, for peers that want it; otherwise it is found by a query.",
)
_DURABILITY = click.option(
    "--durability",
    type=click.Choice(["none", "rename", "fsync"]),
    default="fsync",
    show_default=True,
    help="fsync: what is reported as received survives a power failure; rename: a killed process only; none:"
    " not even that, the peer is answered before the file is checked.",
)
_LAYOUT = click.option(
    "--layout",
    default="patient",
    show_default=True,
    metavar="patient|uids|TEMPLATE",
    help="Where files lie: patient/study/series; UIDs alone, without patient data; or any text keywords:"
    " '{PatientID}/{StudyDate}/{SeriesNumber}_{SOPInstanceUID}.dcm'.",
)
_MAX_OBJECT_SIZE = click.option(
    "--max-object-size",
    type=click.IntRange(min=1),
    default=MAXIMUM_OBJECT,
    metavar="BYTES",
    help="Refuse an object of more bytes: a peer that sends without end must not fill the disk."
    f" [default: {MAXIMUM_OBJECT}]",
)
_SKIP_PRESENT = click.option(
    "--skip-present/--no-skip-present",
    default=True,
    show_default=True,
    help="Ask only for what is missing in the folder; otherwise for everything, and compare.",
)
_MAX_QUERIES = click.option(
    "--max-queries",
    type=click.IntRange(min=0),
    default=MAX_QUERIES,
    show_default=True,
    help="Queries by which it may be found out what lies below one of the UIDs; what is not found out is"
    " retrieved without a list of what is to come.",
)
_LISTEN_PORT = click.option(
    "--listen-port",
    type=PORT,
    help="The port we listen on for a move to ourselves; the peer must know our calling AE title under it."
    f" [default: {LISTEN_PORT}]",
)
_ACCEPT_FROM = click.option(
    "--accept-from",
    type=network,
    multiple=True,
    metavar="NETWORK",
    help="For a move to ourselves: addresses that may send to us beside HOST's own, for a peer that sends"
    " from elsewhere. May be repeated.",
)
_LISTEN_TLS = click.option(
    "--listen-tls",
    is_flag=True,
    help="Listen with TLS: --cert is ours, and with --trusted the peer must show one that it vouches for.",
)


@dataclass(frozen=True, slots=True)
class What:
    """What `get` and `move` have in common: what to retrieve, and keyword arguments of `Pacs`.

    asking: how it is asked for. keeping: what is done with objects that come to us.
    """

    level: str
    uids: list[str]
    asking: dict[str, Any]
    keeping: dict[str, Any]
    max_object_size: int


def retrieve_command(function: Callable[..., int]) -> Any:
    """The options that `get` and `move` share; the function gets a `PeerOptions` and a `What` first."""

    @functools.wraps(function)
    def command(target: PeerOptions, **values: Any) -> int:
        level = Level.parse(values["level"])
        given = with_listed(values.pop("uids"), values.pop("listed"), "UID", level)
        asking = {name: values.pop(name) for name in ("root", "associations", "max_queries")}
        asking["parents"] = parse_pairs(values.pop("parents"))
        keeping = {name: values.pop(name) for name in ("durability", "skip_present", "layout")}
        what = What(values.pop("level"), given, asking, keeping, values.pop("max_object_size"))
        return function(target, what, **values)

    decorated: Any = command
    for option in (
        _MAX_OBJECT_SIZE,
        _DURABILITY,
        associations_option,
        _LAYOUT,
        _SKIP_PRESENT,
        _MAX_QUERIES,
        _PARENTS,
        _ROOT,
        _LEVEL,
        _FROM,
        _UIDS,
    ):
        decorated = option(decorated)
    return peer_command(progress=True)(decorated)


@click.command(cls=PeerCommand)
@retrieve_command
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to retrieve into.",
)
@click.option(
    "--via",
    type=services,
    default="get",
    show_default=True,
    metavar="auto|SERVICE[,SERVICE...]",
    help="get: C-GET alone. auto (get,move,web): what it does not bring is asked for again at lower levels,"
    " then by C-MOVE to ourselves, then by DICOMweb where --dicomweb says an address; move,get: that order.",
)
@dicomweb_options
@_LISTEN_PORT
@_ACCEPT_FROM
@_LISTEN_TLS
@click.option("--dry-run", is_flag=True, help="Print what would be asked for, and retrieve nothing.")
def get(
    target: PeerOptions,
    what: What,
    out: Path | None,
    via: Via,
    listen_port: int | None,
    accept_from: tuple[str, ...],
    listen_tls: bool,
    dry_run: bool,
    web: DicomWeb | None,
) -> int:
    """Retrieve patients, studies, series or instances from HOST PORT into a folder.

    Files come exactly as the peer sent them, under patient/study/series/instance; none is overwritten.
    """
    if dry_run:
        return _plan(target, what, via, web)
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    moves = "move" in parse_via(via)[0]
    if not moves:
        _refuse(_LISTENING, "--via auto, or another with move")
    listening = Listening(
        port=listen_port or LISTEN_PORT,
        tls=target.protection.server("--listen-tls") if listen_tls and moves else None,
        limits=ServerLimits(max_object_size=what.max_object_size),
        accept_from=accept_from,
    )

    async def work(so_far: list[RetrieveResult]) -> RetrieveResult:
        with progress_bar("get", wanted=target.progress) as progress:
            async with target.connect(dicomweb=web) as peer:
                retrieve = peer.get(
                    what.level,
                    what.uids,
                    directory=out,
                    via=via,
                    listening=listening,
                    progress=progress,
                    max_object_size=what.max_object_size,
                    **what.asking,
                    **what.keeping,
                )
                so_far.append(retrieve.result)
                return await retrieve

    return run_reported(work, target, out)


def _plan(target: PeerOptions, what: What, via: Via, web: DicomWeb | None) -> int:
    """Print what would be asked for."""

    async def work() -> Plan:
        how = {name: what.asking[name] for name in ("root", "parents", "max_queries")}
        async with target.connect(dicomweb=web) as peer:
            return await peer.plan(what.level, what.uids, via=via, **how)

    plan = target.run(work())
    if target.json:
        output.emit(plan.to_dict())
        return Code.OK
    count = "an unknown number of objects" if plan.objects is None else objects(plan.objects)
    services = ", then ".join(SERVICES[one] for one in plan.via)
    say(f"would ask for {count} (by {plan.stands_on}), by {services}")
    for proposals in plan.contexts:
        say(f"  on an association of {len(proposals)} presentation contexts")
    for uid, number in sorted(plan.sop_classes.items()):
        say(f"  {sop_class_name(uid)}: {objects(number)}")
    if plan.not_found:
        say(f"nothing found of: {len(plan.not_found)} of the keys")
    if plan.unavailable:
        say(f"not online: {objects(len(plan.unavailable))}")
    if plan.retrieve_titles:
        say(f"can be retrieved from: {', '.join(plan.retrieve_titles)}")
    return Code.OK


@click.command(cls=PeerCommand)
@retrieve_command
@click.option(
    "--destination", type=ae_title, metavar="TITLE", help="The AE title to move to; the peer must know it."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Move to ourselves, into this folder."
)
@_LISTEN_PORT
@_ACCEPT_FROM
@_LISTEN_TLS
def move(
    target: PeerOptions,
    what: What,
    destination: str | None,
    out: Path | None,
    listen_port: int | None,
    accept_from: tuple[str, ...],
    listen_tls: bool,
) -> int:
    """Have HOST PORT send patients, studies, series or instances to another AE title, or to us: C-MOVE."""
    if (destination is None) == (out is None):
        raise click.UsageError("give either --destination or --out")
    if out is None:
        _refuse(_OURS, "--out: what a destination does is its own")
    where: dict[str, Any] = {"destination": destination}
    if out is not None:
        accepting = target.protection.server("--listen-tls") if listen_tls else None
        where = {
            "directory": out,
            "listen_port": listen_port or LISTEN_PORT,
            "listen_tls": accepting,
            "accept_from": accept_from,
            "limits": ServerLimits(max_object_size=what.max_object_size),
            **what.keeping,
        }

    async def work(so_far: list[RetrieveResult]) -> RetrieveResult:
        with progress_bar("move", wanted=target.progress) as progress:
            async with target.connect() as peer:
                moving = peer.move(what.level, what.uids, progress=progress, **where, **what.asking)
                so_far.append(moving.result)
                return await moving

    return run_reported(work, target, out)


_LISTENING = ("listen_port", "listen_tls", "accept_from")
_OURS = (*_LISTENING, "durability", "layout", "skip_present", "max_object_size")
"""Options of a move to ourselves: what a destination does with what it gets is its own."""


def _refuse(names: Collection[str], words: str) -> None:
    """Refuse what the command line says of a move to ourselves where there is none."""
    for option in said(click.get_current_context(), names):
        raise click.UsageError(f"{option} goes with {words}")


def run_reported(
    work: Callable[[list[RetrieveResult]], Coroutine[Any, Any, RetrieveResult]],
    target: PeerOptions,
    out: Path | None,
) -> int:
    """Run a retrieve and report on it, also when it is interrupted: what is there is there."""

    async def told(so_far: list[RetrieveResult]) -> RetrieveResult:
        try:
            return await work(so_far)
        except AiodicomError:  # the last attempt's: what the others came to is told before
            for rung in so_far[-1].rungs[:-1] if so_far else ():
                complain(f"{rung.service} at {rung.level.value} level: {rung.reason}")
            raise

    result = target.run_told(told, lambda so_far: _show(so_far, out))
    return report(result, target.json, out)


def report(result: RetrieveResult, json: bool, out: Path | None) -> int:
    """Print what a retrieve came to; the exit code."""
    code = retrieve_code(result)
    if json:
        output.emit(result.to_dict())
    else:
        _show(result, out)
    if code is not Code.OK:
        complain(_complaint(result))
    return code


def retrieve_code(result: RetrieveResult) -> Code:
    """The exit code a result asks for; nothing found is a failure: what was asked for is not here."""
    if result.error is not None:
        return exit_code(result.error) or Code.FAILED
    return Code.OK if result.ok else Code.FAILED


def _show(result: RetrieveResult, out: Path | None) -> None:
    if result.received_here:
        rate = speed(result.bytes, result.seconds)
        into = f" into {out}" if out is not None else ""
        took = f"{size(result.bytes)} in {result.seconds:.1f} s ({rate})"
        say(f"received {objects(result.received)}, {took}{into}")
        if result.present:
            say(f"present before: {objects(result.present)}")
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
        ("missing", [_missing(uid, result.unavailable) for uid in result.missing or []]),
        ("beside another object of their UID", [str(item.path) for item in result.beside]),
        ("named by a hash, for their UID is none", [_named(item) for item in result.items if item.hashed]),
        ("not asked for and set aside", [str(item.path) for item in result.unasked]),
        ("not asked for and turned away", result.turned_away),
        ("nothing found of", result.not_found if result.found else []),
    ):
        show_list(title, lines)
    if result.capped:
        say("what the peer named as to come may be cut short")
    for rung in result.rungs:
        reason = f": {rung.reason}" if rung.reason else ""
        say(f"by {rung.service} at {rung.level.value} level: {objects(rung.received)}{reason}")
    if result.turned_away_unnamed:
        say(f"and {result.turned_away_unnamed} more that were not asked for")


def _named(item: ReceivedItem) -> str:
    return f"{item.sop_instance_uid}: {item.path}"


def _missing(uid: str, unavailable: dict[str, str]) -> str:
    return f"{uid}: {unavailable[uid]} at the peer" if uid in unavailable else uid


def _complaint(result: RetrieveResult) -> str:
    advice = f"; {result.advice}" if result.advice else ""
    if result.error is not None:
        return sentence(result.error) + advice
    parts = []
    if result.status is not None and not result.status.ok:
        comment = f" ({result.comment})" if result.comment else ""
        parts.append(f"{result.service} answered {result.status}{comment}")
    if result.failed:
        parts.append(f"{result.failed} failed")
    if result.warning:
        parts.append(f"{result.warning} with a warning")
    if result.missing:
        parts.append(f"{len(result.missing)} missing")
    if result.unaccounted and not result.missing:
        parts.append(f"{result.unaccounted} counted by the peer did not come")
    if result.not_found and result.found:
        parts.append(f"nothing found of {len(result.not_found)} of the keys")
    refused = sum(not item.ok for item in result.items)
    if refused:
        parts.append(f"{refused} refused here")
    text = ", ".join(parts) or "the peer has nothing of that key"
    if result.outcome != "partial" and result.parents_unknown and result.expected is None:
        keys = " ".join(f"--parent {key}=..." for key in result.parents_unknown)
        text += f"; it may want the keys above: {keys}"
    return text + advice
