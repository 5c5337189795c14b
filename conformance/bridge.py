"""The cases in a test of one's own: a verdict becomes a pass, a skip, an expected failure or a failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

from . import baseline as baselines
from .case import Case, Effect, Verdict
from .report import explain, printable
from .runner import Options, Result, Runner
from .target import Profile

PLAIN = Options()


def check(
    case: Case,
    profile: Profile | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    baseline: Path | str | None = None,
    options: Options = PLAIN,
) -> Result:
    """Run a case against a server, from a test that is not a coroutine; the result when it passes.

    `profile` says more than `host` and `port`; by default all effects are allowed, on this machine alone.
    What a `baseline` (a file, or the name of one that comes with the kit) expects is an expected failure,
    what does not apply or may not run a skip, whatever else is a finding a failure, told in full. Raises
    ConnectionError when nobody is there, and what pytest raises for a skip and a failure.
    """
    import pytest  # by who uses this: no module of the kit needs it to be imported

    profile = profile or Profile(host=host, port=port, allow=frozenset(Effect))
    runner = Runner(profile, options)
    result = asyncio.run(runner.alone(case))
    if baseline is not None:
        baselines.apply(runner.run, baselines.load(baseline))
    if result.baseline == "expected":
        pytest.xfail(printable(f"{result.verdict}: {result.outcome}, as the baseline has it"))
    if result.verdict in (Verdict.NA, Verdict.NOT_RUN):
        pytest.skip(printable(result.blame or str(result.verdict)))
    if result.finding(options.strict):
        pytest.fail("\n".join(map(printable, explain(result))), pytrace=False)
    if result.baseline == "gone" and runner.run.gone:
        pytest.fail(f"{case.id}: the baseline expects a finding that did not come", pytrace=False)
    return result
