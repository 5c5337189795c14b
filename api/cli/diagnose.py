"""``aiodicom diagnose``: what works, what does not, and the likely cause."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.text import Text

from ..client.diagnose import diagnose as run_diagnosis
from ..client.diagnosis import Diagnosis, Outcome, Step
from ..client.learning import learn
from ..client.noting import need_tomlkit, note_quirks
from ..pdu.uids import is_uid
from . import output
from .commands import PeerCommand
from .exits import Code, exit_code, flagged, sentence
from .options import PeerOptions, peer_command
from .terminal import clean, complain, console, say, show_table

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
@click.option(
    "--learn",
    "wanted",
    is_flag=True,
    help="Find out more and keep it in the file of nodes, for @NODE: information models, C-GET and C-MOVE,"
    " relational queries, roles, window, C-CANCEL, the number of answers at which it stops. Studies are asked"
    " for, by date and UID; nothing is retrieved.",
)
def diagnose(target: PeerOptions, needed: tuple[str, ...], wanted: bool) -> int:
    """Find out why HOST PORT cannot be used: name, TCP, TLS, association, each context, echo."""
    if wanted:
        if target.node is None:
            raise click.UsageError(
                "--learn goes with @NODE: it is what the file says of a node that it fills"
            )
        need_tomlkit()
    found = target.run(run_diagnosis(target.quirks.borne(target.peer), needed=needed))
    if wanted and found.ok:
        return _learn(target, found)
    code = Code.OK if found.ok else (exit_code(found.error) if found.error else None) or Code.FAILED
    if target.json:
        output.emit({"ok": found.ok, **output.plain(found), "error": _error(found)})
        return code
    _show(found)
    if code is not Code.OK:
        complain(sentence(found.error) if found.error is not None else "a step failed")
    return code


def _learn(target: PeerOptions, found: Diagnosis) -> int:
    """Find out more, put it into the file, and show both."""
    assert target.node is not None
    learned = target.run(learn(target.peer, target.node.quirks))
    values = learned.values()
    place = note_quirks(target.node.name, values)
    if target.json:
        steps = output.plain([*found.steps, *learned.steps])
        told = {"file": str(place), "node": target.node.name, "quirks": values}
        output.emit({"ok": True, **output.plain(found), "steps": steps, "learned": told, "error": None})
        return Code.OK
    _show(found)
    _show_steps(learned.steps)
    says = [member for member, value in values.items() if value is not None]
    say(f"{place}: [nodes.{target.node.name}.quirks] says so of {', '.join(says) or 'nothing'}")
    outdated = [member for member in values if member not in says]
    if outdated:
        say(f"and says nothing any more of {', '.join(outdated)}")
    return Code.OK


def _show(found: Diagnosis) -> None:
    _show_steps(found.steps)
    if found.contexts:
        rows = [("yes" if one.accepted else "no", one.name, one.text) for one in found.contexts]
        show_table(("accepted", "service", "transfer syntax, or why not"), rows)


def _show_steps(steps: Iterable[Step]) -> None:
    target = console()
    for step in steps:
        word, style = _MARKS[step.outcome]
        line = Text(f"{step.name:<12} ")
        line.append(f"{word:<8}", style=style)
        line.append(f" {clean(step.text)}")
        target.print(line, soft_wrap=True)
        if step.advice:
            target.print(
                Text(f"{'':<21} -> {clean(flagged(step.advice, step.cause))}", style="italic"), soft_wrap=True
            )


def _error(found: Diagnosis) -> dict[str, str] | None:
    if found.error is None:
        return None
    return {"type": type(found.error).__name__, "message": sentence(found.error)}
