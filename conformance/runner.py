"""Runs cases against a server: order by effect, health, blame, repeats. No verdict hangs on a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import wire
from .case import BAD, EDITION, Case, Effect, Level, NotApplicableError, Verdict
from .claims import Observed
from .dissect import dissect
from .guard import GuardError
from .link import Entry, Trace
from .rulebook import Ambient, RuleBook
from .target import Profile, Sut, UnexpectedError

ECHOES = 20
"""Echoes whose slowest sets the patience."""
PATIENCE = (2.0, 30.0)
"""Least and most seconds that something which must come may take."""
CASE_TIME = 120.0
"""Seconds after which a case is one of ours that broke."""
RETRY = 0.2
"""Seconds between attempts to reach a peer that does not take connections: nothing tells when."""
SANITY = ("kit/sanity/echo-and-release", "scu:kit/sanity/request-and-release")
"""A peer that fails its own is not judged any further."""
STRANGERS = "an answer named what the kit did not ask for: nothing more is asked"
_ORDER = list(Effect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is made."""

    strict: bool = False
    fail_fast: bool = False
    repeats: int = 2
    recovery: float = 45.0
    seed: int = 1
    restart: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of a case."""

    case: Case
    verdict: Verdict
    outcome: str = ""
    seconds: float = 0.0
    repeats: list[str] = field(default_factory=list)
    blame: str = ""
    baseline: str = ""
    trace: list[Entry] = field(default_factory=list)

    def finding(self, strict: bool = False) -> bool:
        """Whether it counts as one: a failure of a SHOULD, or a nonstrict pass, only when strict."""
        if self.verdict is Verdict.NONSTRICT:
            return strict
        if self.verdict is Verdict.FAIL and self.case.level is Level.SHOULD:
            return strict
        return self.verdict in BAD


@dataclass(slots=True, kw_only=True)
class Run:
    """A run over a peer: results in order, ambient rules, and how it ended."""

    role: str
    sut: dict[str, object]
    options: Options
    started: float = field(default_factory=time.time)
    edition: str = EDITION
    results: list[Result] = field(default_factory=list)
    ambient: list[Ambient] = field(default_factory=list)
    observed: dict[str, object] = field(default_factory=dict)
    unreachable: str = ""
    sanity_failed: bool = False
    gone: list[str] = field(default_factory=list)
    words: str = ""
    """What else the command needs that runs a case of it once more."""

    @property
    def yes_man(self) -> bool:
        """Whether the peer says yes to what nobody can do: its passes mean little."""
        canaries = [result for result in self.results if "/canary-" in result.case.id]
        return sum(result.verdict is Verdict.FAIL for result in canaries) >= 2

    def findings(self) -> list[Result]:
        """Results that are findings and not expected by a baseline."""
        return [r for r in self.results if r.finding(self.options.strict) and r.baseline != "expected"]

    @property
    def exit_code(self) -> int:
        """0 nothing unexpected, 1 findings, 3 not reachable, 4 sanity failed, 70 a case of ours broke."""
        if self.unreachable:
            return 3
        if self.sanity_failed:
            return 4
        found = self.findings()
        if any(result.verdict is Verdict.ERROR for result in found):
            return 70
        return 1 if found or self.gone else 0


Told = Callable[["Result"], None]


class Subject(Protocol):
    """A peer for the length of one case: a `Sut`, or a client that calls."""

    trace: Trace

    async def done(self) -> None:
        """End what is open."""
        ...


async def play(case: Case, sut: Subject) -> tuple[Verdict, str, str]:
    """The steps of a case once: verdict, outcome and a reason."""
    try:
        async with asyncio.timeout(CASE_TIME) as limit:
            outcome = await case.steps(sut)
    except UnexpectedError as seen:
        outcome = str(seen)
    except NotApplicableError as missing:
        return Verdict.NA, "n/a", str(missing)
    except OSError as error:  # a TimeoutError is one, ours as the connection's
        if limit.expired():
            return Verdict.ERROR, "case-too-long", f"longer than {CASE_TIME:g} s"
        outcome = "connection-refused" if isinstance(error, ConnectionRefusedError) else "no-connection"
    except GuardError as refused:
        return Verdict.ERROR, "not-sent", f"the guard held it back: {refused}"
    finally:
        await sut.done()
    return case.judge(outcome), outcome, ""


def forget_strangers(entries: Iterable[Entry]) -> bool:
    """Whether a peer sent data sets, which no case asked for: they are not kept."""
    found = False
    for entry in entries:
        if entry.way == "<" and entry.raw[:1] == b"\x04" and not entry.note:
            values = dissect(entry.raw).values
            if any(value.data and not value.control & wire.COMMAND for value in values):
                entry.note, entry.raw, found = f"a data set, {len(entry.raw)} bytes, not kept", b"", True
    return found


class Runner:
    """One run over a server."""

    role: str = "scp"

    def __init__(self, profile: Profile, options: Options, told: Told | None = None) -> None:
        self.profile = profile
        self.options = options
        self.patience: float = PATIENCE[0]
        self.book: RuleBook = RuleBook(self.role)
        self.seen: Observed = Observed(self.role)
        self.run: Run = Run(
            role=self.role,
            sut={
                "name": profile.name,
                "version": profile.version,
                "host": profile.host,
                "port": profile.port,
                "claims": dict(profile.claims),
            },
            options=options,
            words=profile.words if self.role == "scp" else "",
        )
        self._strangers: bool = False
        self._told = told or (lambda _: None)

    def resume(
        self, results: Sequence[Result], ambient: Iterable[Ambient], observed: Mapping[str, Any]
    ) -> None:
        """Go on where an earlier run stopped: what it found and saw is part of this one."""
        self.run.results = list(results)
        self.book.add(ambient)
        self.seen.add(observed)

    def sut(self, case: Case | None = None) -> Subject:
        """The peer for one case."""
        return self._server()

    def _server(self) -> Sut:
        return Sut(self.profile, self.patience, Trace())

    async def calibrate(self) -> bool:
        """Reach the peer and measure the patience; false when it cannot be reached."""
        slowest, sut = 0.0, Sut(self.profile, PATIENCE[1], Trace())
        try:
            link = await sut.associate()
            for number in range(1, ECHOES + 1):
                start = time.monotonic()
                if await sut.echo(link, number) != "answered":
                    break
                slowest = max(slowest, time.monotonic() - start)
        except UnexpectedError:
            slowest = PATIENCE[1]  # the sanity case says it better
        except (OSError, TimeoutError) as error:
            self.run.unreachable = str(error) or type(error).__name__
            return False
        self.patience = min(max(PATIENCE[0], 20 * slowest), PATIENCE[1])
        for link in sut.links:
            link.patience = self.patience
        await sut.done()
        return True

    async def healthy(self) -> tuple[bool, float, str]:
        """Whether a new association answers an echo in the recovery time; the seconds; what was seen."""
        start, seen = time.monotonic(), ""
        while True:
            sut = self._server()
            try:
                link = await sut.associate()
                seen = await sut.echo(link)
            except UnexpectedError as error:
                seen = str(error)
            except (OSError, TimeoutError) as error:
                seen = type(error).__name__
            await sut.done()
            taken = time.monotonic() - start
            if seen == "answered" or taken > self.options.recovery:
                return seen == "answered", taken, seen
            await asyncio.sleep(RETRY)

    async def one(self, case: Case) -> Result:
        """Run a case; a failure is repeated alone, and blamed when the peer is not well behind it."""
        if self._strangers and case.effect is not Effect.NONE:
            return Result(case=case, verdict=Verdict.NOT_RUN, outcome="not-run", blame=STRANGERS)
        if not self.profile.permits(case.effect):
            return Result(
                case=case, verdict=Verdict.NOT_RUN, outcome="not-run", blame=f"{case.effect} not allowed"
            )
        sut, start = self.sut(case), time.monotonic()
        verdict, outcome, reason = await play(case, sut)
        result = Result(case=case, verdict=verdict, outcome=outcome, blame=reason, trace=sut.trace.entries)
        if case.level is not Level.ROBUST:  # what is answered to noise breaks no rule
            self.book.watch(sut.trace.entries)
            self.seen.watch(sut.trace.entries)
        if self.role == "scp":  # a client sends its own
            self._strangers = forget_strangers(sut.trace.entries) or self._strangers
        await self._repeat(result)
        well, seconds, seen = await self.healthy()
        if not well:
            gone = seen in ("ConnectionRefusedError", "no-connection", "crash")
            result.verdict = Verdict.CRASH if gone else Verdict.HANG
            result.blame = f"no health for {seconds:.0f} s behind this case: {seen}"
        elif seconds > self.patience:
            result.blame = f"healthy again after {seconds:.1f} s"
        result.seconds = time.monotonic() - start
        return result

    async def alone(self, case: Case) -> Result:
        """Run one case, for a test of one's own. Raises ConnectionError when nobody is there."""
        if not await self.calibrate():
            raise ConnectionError(f"{self.profile.host}:{self.profile.port}: {self.run.unreachable}")
        self.run.results.append(await self.one(case))
        return self.run.results[-1]

    async def _repeat(self, result: Result) -> None:
        if result.verdict is not Verdict.FAIL:
            return
        result.repeats = [result.outcome]
        verdicts: set[Verdict] = {result.verdict}
        for _ in range(self.options.repeats):
            sut = self.sut(result.case)
            verdict, outcome, _ = await play(result.case, sut)
            verdicts.add(verdict)
            result.repeats.append(outcome)
        if len(verdicts) > 1:
            result.verdict = Verdict.UNSTABLE

    async def restart(self) -> bool:
        """Start the peer again by the command that was given; whether it is well then."""
        if not self.options.restart:
            return False
        process = await asyncio.create_subprocess_exec(*self.options.restart)
        await process.wait()
        return (await self.healthy())[0]

    async def all(self, cases: Iterable[Case]) -> Run:
        """Run the cases, the sanity first; what cannot run any more is said to be not run."""
        ordered = sorted(cases, key=lambda case: (case.group != "sanity", _ORDER.index(case.effect)))
        if not await self.calibrate():
            return self.run
        stop = ""
        for case in ordered:
            if stop:
                self._keep(Result(case=case, verdict=Verdict.NOT_RUN, outcome="not-run", blame=stop))
                continue
            result = await self.one(case)
            self._keep(result)
            if case.id in SANITY and result.verdict in BAD:
                self.run.sanity_failed, stop = True, "the sanity case failed"
            elif result.verdict in (Verdict.CRASH, Verdict.HANG) and not await self.restart():
                stop = f"the peer was gone after {case.id}"
            elif self.options.fail_fast and result.finding(self.options.strict):
                stop = f"--fail-fast after {case.id}"
        return self.run

    def cut_short(self, cases: Iterable[Case], why: str) -> Run:
        """The run as far as it came, where `all` was cancelled: the rest is said to be not run."""
        done = {result.case.id for result in self.run.results}
        for case in cases:
            if case.id not in done:
                self.run.results.append(
                    Result(case=case, verdict=Verdict.NOT_RUN, outcome="not-run", blame=why)
                )
        return self.run

    def _keep(self, result: Result) -> None:
        self.run.results.append(result)
        self.run.ambient, self.run.observed = self.book.verdicts(), self.seen.as_dict()
        self._told(result)


async def run_scp(
    profile: Profile,
    cases: Iterable[Case],
    options: Options = Options(),
    told: Told | None = None,
) -> Run:
    """Run cases against a server."""
    return await Runner(profile, options, told).all(cases)
