"""``aiodicom conformance``: judge a DICOM server or client by clause; listen to two that talk."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..association.tasks import on_thread, to_its_end
from ..conformance import (
    Case,
    Effect,
    Profile,
    Run,
    all_cases,
    cases,
    load_profile,
    page,
    probe,
    report,
    select,
    statement,
)
from ..conformance import baseline as baselines
from ..conformance.caller import Caller, CommandCaller, PromptCaller
from ..conformance.calling import ScuRunner
from ..conformance.case import Verdict
from ..conformance.claims import Observed, check_claims
from ..conformance.proxy import WatchingProxy
from ..conformance.rulebook import RULES, RuleBook
from ..conformance.runner import Options, Result, Runner
from ..conformance.sniff import CaptureError, conversations
from ..conformance.target import UnexpectedError
from ..conformance.watch import Watched, lines
from .commands import Command, PeerCommand, peer_of
from .completion import complete_host
from .terminal import say

FILE = click.Path(path_type=Path)
THERE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(
    epilog="Exit codes of scp and scu: 0 nothing unexpected; 1 findings, or an expected one is gone; 2 usage;"
    " 3 not reachable; 4 the sanity case failed, the rest was not run; 70 a case of ours broke."
)
def conformance() -> None:
    """Judge a DICOM server or client by clause, over raw PDUs."""


@conformance.command("list", cls=Command)
@click.argument("expression", metavar="[SELECT]", default="")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def list_cases(expression: str, as_json: bool) -> int:
    """The cases a SELECT names, and the rules.

    ps3.8/9.3.2, role:scu, group:sweep, level:shall, !effect:harsh; with commas between.
    """
    found = select(all_cases(), expression)
    if as_json:
        click.echo(json.dumps([
            {"id": c.id, "role": c.role, "group": c.group, "level": str(c.level), "clause": c.clause,
             "requirement": c.requirement, "expected": c.expected, "effect": str(c.effect),
             "foils": c.foils} for c in found
        ], indent=1))  # fmt: skip
        return 0
    for case in found:
        say(f"{case.id:<52} {case.level:<7} {case.clause}: {case.requirement}")
    if not expression:
        for rule in RULES.values():
            say(f"{rule.id:<52} {'rule':<7} {rule.clause}: {rule.requirement}")
    return 0


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--profile", "profile_path", type=THERE, help="A profile in TOML."),
    click.option("--suite", "expression", default="", metavar="SELECT", help="Run these cases alone."),
    click.option("--exclude", type=THERE, help="A file of SELECTs to leave out, one a line; # for notes."),
    click.option("--allow", default="", help="Effects allowed beside none and read: write, harsh, stress."),
    click.option("--strict", is_flag=True, help="Count failures of a SHOULD and nonstrict passes."),
    click.option("--baseline", help="Known findings: a file, or the name of one that comes with the kit."),
    click.option("--allow-gone", is_flag=True, help="A known finding that did not come is no failure."),
    click.option("--update-baseline", type=FILE, help="Write the findings as a baseline."),
    click.option("--json", "json_path", type=FILE, help="Write the results."),
    click.option("--junit", type=FILE, help="Write JUnit XML."),
    click.option("--html", type=FILE, help="Write the report as one page."),
    click.option("--trace", type=FILE, help="A folder for what went and came in each case."),
    click.option("--repro", type=FILE, help="A folder for a script for each finding."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first finding."),
    click.option("--recovery", default=45.0, help="Seconds a peer may take to be well again."),
)  # fmt: skip


def judging(command: Callable[..., int]) -> Callable[..., int]:
    """The options that both roles have."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def chosen(expression: str, exclude: Path | None, role: str) -> list[Case]:
    """The cases of a role that a SELECT names, but those of a file. Raises click.BadParameter for none."""
    found = cases(expression, role=role)
    lines = exclude.read_text(encoding="utf-8").splitlines() if exclude else []
    out: list[Case] = []
    for word in filter(None, (line.partition("#")[0].strip() for line in lines)):
        named = cases(word, role=role)
        if not named:
            raise click.BadParameter(f"{word!r} names no case", param_hint="--exclude")
        out += named
    found = [case for case in found if case not in out]
    if not found:
        raise click.BadParameter("no case is left to run", param_hint="--suite, --exclude")
    return found


def effects(allow: str) -> frozenset[Effect]:
    """Effects by name. Raises click.BadParameter."""
    try:
        named = {Effect(word.strip()) for word in allow.split(",") if word.strip()}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--allow") from None
    return frozenset({Effect.NONE, Effect.READ, *named})


def profile_of(path: Path | None, allow: str, **changes: object) -> Profile:
    """A profile of the file and the command line, which wins."""
    try:
        base = Profile() if path is None else load_profile(path)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--profile") from None
    given = {key: value for key, value in changes.items() if value not in (None, "", False)}
    return replace(base, allow=base.allow | effects(allow), **given)  # type: ignore[arg-type]


def deliver(run: Run, options: dict[str, Any], host: str, port: int) -> int:
    """Hold a run against its baseline, write what was asked for, say the rest; the exit code."""
    if options["baseline"]:
        try:
            baselines.apply(run, baselines.load(options["baseline"]))
        except (OSError, ValueError) as error:
            raise click.BadParameter(f"{error}; there are {', '.join(baselines.shipped())}") from None
        if options["allow_gone"]:
            run.gone.clear()
    if options["update_baseline"]:
        peer = f"{run.sut.get('name') or host} {run.sut.get('version', '')}".strip()
        baselines.update(run, options["update_baseline"], peer)
    for key, render in (("json_path", report.to_json), ("junit", report.to_junit), ("html", page.to_html)):
        if options[key]:
            options[key].write_text(render(run), encoding="utf-8")
    if options["trace"]:
        report.write_traces(run, options["trace"])
    if options["repro"]:
        report.write_repros(run, options["repro"], host, port)
    for text in report.to_text(run):
        say(text)
    return run.exit_code


def judged(runner: Runner, wanted: list[Case], options: dict[str, Any], port: int) -> int:
    """Run the cases and deliver; an interrupted run is delivered as far as it came."""
    host = runner.profile.host
    try:
        asyncio.run(runner.all(wanted))
    except KeyboardInterrupt:
        deliver(runner.cut_short(wanted, "interrupted"), options, host, port)
        raise
    return deliver(runner.run, options, host, port)


def context_of(trusted: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """A client's TLS context. Raises click.BadParameter for files that are none."""
    try:
        context = ssl.create_default_context(cafile=trusted)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}", param_hint="--trusted, --cert, --key") from None
    return context


def serving_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """A server's TLS context. Raises click.BadParameter for files that are none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{error}", param_hint="--cert, --key") from None
    return context


def runs_as(options: dict[str, Any]) -> Options:
    """How a run is made."""
    return Options(strict=options["strict"], fail_fast=options["fail_fast"], recovery=options["recovery"])


PROTECTION = (
    click.option("--tls", is_flag=True, help="Speak TLS; implied by --trusted and --cert."),
    click.option("--trusted", type=THERE, help="Certificates to trust (PEM)."),
    click.option("--cert", type=THERE, help="Our certificate (PEM), for a server that asks for one."),
    click.option("--key", type=THERE, help="Its private key (PEM), when it is in a file of its own."),
)


def protected(command: Callable[..., int]) -> Callable[..., int]:
    """With the options of TLS to a server."""
    for option in reversed(PROTECTION):
        command = option(command)
    return command


def over(
    profile: Profile, *, tls: bool, trusted: Path | None, cert: Path | None, key: Path | None
) -> Profile:
    """A profile with the TLS that `protected` options ask for. Raises click.BadParameter."""
    return replace(profile, tls=context_of(trusted, cert, key)) if tls or trusted or cert else profile


@conformance.command("probe", cls=PeerCommand)
@click.argument("host", metavar="(HOST PORT|@NODE)", shell_complete=complete_host)
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--called-ae", default="", help="The server's AE title.  [default: ANY-SCP]")
@protected
@click.option("-o", "--out", type=FILE, required=True, help="The profile to write, where none is yet.")
def probe_server(host: str, port: int, called_ae: str, out: Path, **protection: Any) -> int:
    """Ask a server what it accepts, and write a profile of it: to be made into claims by who knows it."""
    profile = over(profile_of(None, "", host=host, port=port, called_ae=called_ae), **protection)
    if out.exists():
        raise click.BadParameter(f"{out} is there already", param_hint="--out")
    try:
        seen = asyncio.run(probe.probe(profile))
    except UnexpectedError as error:
        say(f"no acceptance: {error}")
        return 4
    except OSError as error:
        say(f"not reachable: {error or type(error).__name__}")
        return 3
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(probe.to_toml(profile, seen))
    except OSError as error:
        raise click.BadParameter(f"{error}", param_hint="--out") from None
    return 0


@conformance.command("statement", cls=Command)
@click.argument("run", type=THERE)
def show_statement(run: Path) -> int:
    """What is claimed beside what was observed in a run (its JSON), as Markdown on stdout."""
    click.echo(statement.to_markdown(read_run(run)), nl=False)
    return 0


@conformance.command("scp", cls=PeerCommand)
@click.argument("host", metavar="(HOST PORT|@NODE)", shell_complete=complete_host)
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--called-ae", default="", help="The server's AE title.  [default: ANY-SCP]")
@click.option(
    "--test-system", is_flag=True, help="HOST is a test system: without it only loopback sees effects."
)
@protected
@click.option("--restart", default="", metavar="COMMAND", help="Starts the server again when it has died.")
@judging
def scp(
    host: str, port: int, called_ae: str, test_system: bool, restart: str, profile_path: Path | None,
    expression: str, allow: str, tls: bool, trusted: Path | None, cert: Path | None, key: Path | None,
    **options: Any,
) -> int:  # fmt: skip
    """Judge the server at HOST PORT.

    Nothing is written to it without --allow write, and on a machine that is not this one nothing is done that
    has an effect, unless it is declared a test system.
    """
    profile = profile_of(
        profile_path, allow, host=host, port=port, called_ae=called_ae, test_system=test_system
    )
    profile = over(profile, tls=tls, trusted=trusted, cert=cert, key=key)
    wanted = chosen(expression, options["exclude"], "scp")
    how = replace(runs_as(options), restart=tuple(shlex.split(restart)))
    return judged(Runner(profile, how), wanted, options, port)


@conformance.command("scu", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free one."
)
@click.option("--command", default="", help="Run once a case; {host} {port} {called} {case} are filled in.")
@click.option("--prompt", is_flag=True, help="Ask a person to let the client call, once a case.")
@click.option(
    "--serve", is_flag=True, help="Take whatever calls: a client that repeats works through the list."
)
@click.option("--resume", type=THERE, help="The JSON of a run: what it has is taken over, the rest is run.")
@click.option("--abstract", default="", metavar="UID", help="Judge associations that propose this alone.")
@judging
def scu(
    host: str, port: int, command: str, prompt: bool, serve: bool, abstract: str, resume: Path | None,
    profile_path: Path | None, expression: str, allow: str, **options: Any,
) -> int:  # fmt: skip
    """Judge a client: the kit listens, and plays the server."""
    if sum((bool(command), prompt, serve)) != 1:
        raise click.UsageError("one of --command, --prompt and --serve is needed")
    profile = profile_of(profile_path, allow or "harsh", host=host, abstract=abstract)
    caller: Caller = PromptCaller(say, each=prompt)
    if command:
        program = (shlex.split(command) or [""])[0]
        if shutil.which(program) is None:
            raise click.BadParameter(f"there is no program {program!r}", param_hint="--command")
        caller = CommandCaller(command)

    wanted = chosen(expression, options["exclude"], "scu")

    def told(_: Result) -> None:
        if options["json_path"] and not command:  # a person's work is kept as it comes
            options["json_path"].write_text(report.to_json(runner.run), encoding="utf-8")

    runner = ScuRunner(profile, runs_as(options), caller, told, port=port)
    runner.run.words = f" --port {port}" * bool(port)
    runner.run.words += (
        f" --command {shlex.quote(command)}" if command else " --prompt" if prompt else " --serve"
    )
    if not command:
        runner.calling_time = 3600.0
    if resume is not None:
        before = read_run(resume)
        runner.resume(
            report.results_of(before, wanted), report.ambient_of(before), before.get("observed", {})
        )
        done = {result.case.id for result in runner.run.results}
        wanted = [case for case in wanted if case.id not in done]
    return judged(runner, wanted, options, port)


@conformance.command("matrix", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=THERE)
@click.option("--html", type=FILE, required=True, help="The page to write.")
def matrix(runs: tuple[Path, ...], html: Path) -> int:
    """Put the results of several runs (their JSON) side by side."""
    html.write_text(page.matrix([read_run(path) for path in runs]), encoding="utf-8")
    return 0


@conformance.command("diff", cls=Command)
@click.argument("before", type=THERE)
@click.argument("after", type=THERE)
def diff(before: Path, after: Path) -> int:
    """What changed between two runs (their JSON); exit code 1 when something did."""
    changes = baselines.difference(read_run(before), read_run(after))
    for text in changes:
        say(report.printable(text))
    return 1 if changes else 0


def read_run(path: Path) -> dict[str, Any]:
    """A run's JSON. Raises click.BadParameter for what is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == report.FORMAT and is_run(data):
            return dict(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise click.BadParameter(f"{path} is no result of the kit")


def is_run(data: dict[str, Any]) -> bool:
    """Whether what commands read of a run is there. Raises what comes of parts that are none."""
    check_claims(data["sut"].get("claims", {}))
    Observed(data["role"]).add(data.get("observed", {}))
    RuleBook(data["role"]).add(report.ambient_of(data))
    texts = ("id", "outcome", "clause", "level", "requirement", "blame")
    return (
        all(isinstance(data[key], str) for key in ("role", "started", "kit", "edition"))
        and all({"id", "clause", "requirement", "broken"} <= one.keys() for one in data["ambient"])
        and all(
            bool(Verdict(one["verdict"]))
            and all(isinstance(one[key], str) for key in texts)
            and isinstance(one["repeats"], list)
            and isinstance(one["seconds"], int | float)
            for one in data["results"]
        )
    )


@conformance.command("sniff", cls=Command)
@click.argument("captures", nargs=-1, required=True, type=THERE)
def sniff(captures: tuple[Path, ...]) -> int:
    """Judge the conversations in captures (pcap, pcapng) by the rules; exit code 1 when one is broken."""
    broken = 0
    for path in captures:
        with path.open("rb") as file:
            try:
                for watched in conversations(file):
                    broken += len(watched.deviations())
                    for text in lines(watched):
                        say(report.printable(text))
            except CaptureError as error:
                raise click.ClickException(f"{path}: {error}") from None
    return 1 if broken else 0


@conformance.command("proxy", cls=Command)
@click.argument("listen", metavar="[ADDRESS:]PORT")
@click.argument("target", metavar="(HOST:PORT|@NODE)")
@click.option("--cert", type=THERE, help="Take TLS, with this certificate (PEM).")
@click.option("--key", type=THERE, help="Its private key (PEM), when it is in a file of its own.")
@click.option("--tls", is_flag=True, help="Speak TLS to HOST:PORT; implied by --trusted and --target-cert.")
@click.option("--trusted", type=THERE, help="Certificates to trust at HOST:PORT (PEM).")
@click.option("--target-cert", type=THERE, help="Our certificate (PEM) for HOST:PORT, when it asks for one.")
@click.option("--target-key", type=THERE, help="Its private key (PEM).")
def proxy(
    listen: str, target: str, cert: Path | None, key: Path | None, tls: bool, trusted: Path | None,
    target_cert: Path | None, target_key: Path | None,
) -> int:  # fmt: skip
    """Sit between two peers, change nothing, and judge both by the rules until interrupted.

    TLS ends here: each side has its own, or none.
    """
    address, _, port = listen.rpartition(":")
    host, _, target_port = target.rpartition(":")
    tls_out = context_of(trusted, target_cert, target_key) if tls or trusted or target_cert else None
    if target.startswith("@"):
        peer = peer_of(target)
        host, target_port, tls_out = peer.host, str(peer.port), tls_out or peer.tls
    if not (port.isdigit() and target_port.isdigit() and host):
        raise click.UsageError("a port to listen on, and HOST:PORT or @NODE to call")
    tls_in = serving_context(cert, key) if cert else None
    turn = threading.Lock()  # the lines of a conversation stay together

    def show(watched: Watched) -> None:
        made = lines(watched)
        with turn:
            for text in made:
                say(report.printable(text))

    async def told(watched: Watched) -> None:
        await to_its_end(on_thread(lambda: show(watched)))  # nor does the relay wait for the terminal

    async def serve() -> None:
        place = (address or "127.0.0.1", int(port))
        async with WatchingProxy(
            host, int(target_port), told, listen=place, tls_in=tls_in, tls_out=tls_out
        ) as running:
            say(f"listening on {running.host} port {running.port}, calling {target}")
            await running.forever()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen}: {error}") from None
    return 0
