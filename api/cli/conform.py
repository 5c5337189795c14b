"""``aiodicom conformance``: judge a DICOM server by clause; list the cases."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from ..conformance import Effect, Profile, all_cases, cases, report, run_scp, select
from ..conformance import baseline as baselines
from ..conformance.rulebook import RULES
from ..conformance.runner import Options
from .terminal import say


@click.group(
    epilog="Exit codes of scp: 0 nothing unexpected; 1 findings; 2 usage; 3 not reachable; 4 sanity failed."
)
def conformance() -> None:
    """Judge a DICOM server by clause, over raw PDUs."""


@conformance.command("list")
@click.argument("expression", metavar="[SELECT]", default="")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def list_cases(expression: str, as_json: bool) -> int:
    """The cases a SELECT names (ps3.8/9.3.2, group:sweep, level:shall, !effect:harsh), and the rules."""
    found = select(all_cases(), expression)
    if as_json:
        click.echo(json.dumps([
            {"id": c.id, "role": c.role, "group": c.group, "level": str(c.level), "clause": c.clause,
             "requirement": c.requirement, "expected": c.expected, "effect": str(c.effect)} for c in found
        ], indent=1))  # fmt: skip
        return 0
    for case in found:
        say(f"{case.id:<52} {case.level:<7} {case.clause}: {case.requirement}")
    if not expression:
        for rule in RULES.values():
            say(f"{rule.id:<52} {'rule':<7} {rule.clause}: {rule.requirement}")
    return 0


@conformance.command("scp")
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--called-ae", default="ANY-SCP", show_default=True, help="The server's AE title.")
@click.option("--suite", "expression", default="", metavar="SELECT", help="Run these cases alone.")
@click.option(
    "--allow", default="read", show_default=True, help="Effects allowed: read, write, harsh, stress."
)
@click.option(
    "--test-system", is_flag=True, help="HOST is a test system: without it only loopback sees effects."
)
@click.option("--strict", is_flag=True, help="Count failures of a SHOULD and nonstrict passes.")
@click.option(
    "--baseline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Known findings."
)
@click.option("--update-baseline", type=click.Path(path_type=Path), help="Write the findings as a baseline.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the results.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--repro", type=click.Path(path_type=Path), help="A folder for a script for each finding.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first finding.")
def scp(
    host: str, port: int, called_ae: str, expression: str, allow: str, test_system: bool, strict: bool,
    baseline: Path | None, update_baseline: Path | None, json_path: Path | None, junit: Path | None,
    repro: Path | None, fail_fast: bool,
) -> int:  # fmt: skip
    """Judge the server at HOST PORT."""
    try:
        effects = frozenset(
            {Effect.NONE, *(Effect(word.strip()) for word in allow.split(",") if word.strip())}
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--allow") from None
    profile = Profile(host=host, port=port, called_ae=called_ae, allow=effects, test_system=test_system)
    run = asyncio.run(run_scp(profile, cases(expression), Options(strict=strict, fail_fast=fail_fast)))
    if baseline is not None:
        baselines.apply(run, baselines.load(baseline))
    if update_baseline is not None:
        baselines.update(run, update_baseline, f"{host}:{port}")
    if json_path is not None:
        json_path.write_text(report.to_json(run), encoding="utf-8")
    if junit is not None:
        junit.write_text(report.to_junit(run), encoding="utf-8")
    if repro is not None:
        report.write_repros(run, repro, host, port)
    for text in report.to_text(run):
        say(text)
    return run.exit_code
