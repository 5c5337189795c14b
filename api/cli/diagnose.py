"""``aiodicom diagnose``: what works, what does not, and the likely cause."""

from __future__ import annotations

import click
from rich.text import Text

from ..client.diagnose import Diagnosis, Outcome
from ..client.diagnose import diagnose as run_diagnosis
from ..pdu.uids import is_uid
from . import output
from .commands import PeerCommand
from .exits import Code, exit_code, flagged, sentence
from .options import PeerOptions, peer_command
from .terminal import clean, complain, console, show_table

_MARKS = {
    Outcome.OK: ("ok", "green"),
    Outcome.WARNING: ("warning", "yellow"),
    Outcome.FAILED: ("FAILED", "bold red"),
    Outcome.SKIPPED: ("skipped", "dim"),
}


def sop_class(value: str) -> str:
    """A UID. Raises click.BadParameter."""
    if not is_uid(value):
        raise click.BadParameter(f"{value!r} is no UID")
    return value


@click.command(cls=PeerCommand)
@peer_command()
@click.option(
    "--need",
    "needed",
    type=sop_class,
    multiple=True,
    metavar="UID",
    help="A SOP class whose refusal is a failure. May be repeated.",
)
def diagnose(target: PeerOptions, needed: tuple[str, ...]) -> int:
    """Find out why HOST PORT cannot be used: name, TCP, TLS, association, each context, echo."""
    found = target.run(run_diagnosis(target.peer, needed=needed))
    code = Code.OK if found.ok else (exit_code(found.error) if found.error else None) or Code.FAILED
    if target.json:
        output.emit({"ok": found.ok, **output.plain(found), "error": _error(found)})
        return code
    _show(found)
    if code is not Code.OK:
        complain(sentence(found.error) if found.error is not None else "a step failed")
    return code


def _show(found: Diagnosis) -> None:
    target = console()
    for step in found.steps:
        word, style = _MARKS[step.outcome]
        line = Text(f"{step.name:<12} ")
        line.append(f"{word:<8}", style=style)
        line.append(f" {clean(step.text)}")
        target.print(line, soft_wrap=True)
        if step.advice:
            target.print(
                Text(f"{'':<21} -> {clean(flagged(step.advice, step.cause))}", style="italic"), soft_wrap=True
            )
    if found.contexts:
        rows = [("yes" if one.accepted else "no", one.name, one.text) for one in found.contexts]
        show_table(("accepted", "service", "transfer syntax, or why not"), rows)


def _error(found: Diagnosis) -> dict[str, str] | None:
    if found.error is None:
        return None
    return {"type": type(found.error).__name__, "message": sentence(found.error)}
