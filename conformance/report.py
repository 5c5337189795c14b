"""A run as text, JSON, JUnit and a script that repeats a failure. Nothing a peer sent is written out raw.

Of what came, only the kind of PDU, its length and, for short ones without names, the bytes are kept: a
trace cannot carry a patient or the name of somebody's machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .case import Case, Effect, Verdict
from .dissect import dissect, outcome
from .link import Entry
from .redact import Row, rows
from .rulebook import RULES, Ambient
from .runner import Result, Run

FORMAT = 1
"""Of the JSON; conformance/result.schema.json describes it."""
BARE = (3, 5, 6, 7)
"""PDU types whose bytes name nobody."""


def safe_line(entry: Entry) -> dict[str, object]:
    """One entry of a trace without what may name somebody: no bytes but of PDUs that name nobody."""
    shown: dict[str, object] = {"t": round(entry.seconds, 4), "c": entry.connection, "way": entry.way}
    if not entry.raw or entry.note:
        return shown | {"what": entry.note, "length": len(entry.raw)}
    shown |= {"pdu": dissect(entry.raw).name, "length": len(entry.raw), "what": outcome(entry.raw)}
    if entry.raw[0] in BARE and len(entry.raw) <= 10:
        shown["hex"] = entry.raw.hex()
    return shown


def rows_of(entry: Entry, role: str) -> list[Row]:
    """The fields of a PDU: what the kit says to a server it made up by itself, and is shown whole."""
    return rows(entry.raw, ours=entry.way == ">" and role == "scp")


def line(entry: Entry, role: str = "scp") -> dict[str, object]:
    """One entry of a trace by its fields; what the kit made up by itself is there in full.

    To a client the kit says what the client said to it (titles, UIDs): that is no more the kit's own.
    """
    shown = safe_line(entry)
    if not entry.raw or entry.note:
        return shown
    if entry.way == ">" and role == "scp":
        shown["hex"] = entry.raw[:4096].hex()
    return shown | {"fields": [list(row) for row in rows_of(entry, role)[:80]]}


def again(run: Run, case: Case) -> str:
    """The command that runs one case once more."""
    effect = "" if case.effect in (Effect.NONE, Effect.READ) else f" --allow {case.effect}"
    where = "" if run.role == "scu" else f" {run.sut.get('host')} {run.sut.get('port')}"
    return f"aiodicom conformance {run.role}{where} --suite {case.id.removeprefix('scu:')}{effect}{run.words}"


def as_dict(run: Run, result: Result) -> dict[str, object]:
    """A result as JSON has it; only what is no plain pass carries its trace."""
    case = result.case
    quiet = result.verdict in (Verdict.PASS, Verdict.NA, Verdict.NOT_RUN)
    return {
        "id": case.id, "version": case.version, "role": case.role, "group": case.group, "clause": case.clause,
        "level": str(case.level), "verdict": str(result.verdict), "outcome": result.outcome,
        "expected": case.expected, "requirement": case.requirement, "seconds": round(result.seconds, 4),
        "repeats": result.repeats, "blame": result.blame, "baseline": result.baseline,
        "again": again(run, case),
        "trace": [] if quiet else [line(entry, case.role) for entry in result.trace],
    }  # fmt: skip


def to_json(run: Run) -> str:
    """The run as JSON; `result.schema.json` beside this module describes it."""
    ambient = [
        {"id": a.rule.id, "clause": a.rule.clause, "requirement": a.rule.requirement, "verdict": a.verdict,
         "kept": a.kept, "broken": a.broken}
        for a in run.ambient
    ]  # fmt: skip
    options = run.options
    whole = {
        "format": FORMAT,
        "kit": _version(),
        "edition": run.edition,
        "seed": options.seed,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
        "role": run.role,
        "sut": run.sut,
        "options": {"strict": options.strict, "repeats": options.repeats, "recovery": options.recovery},
        "summary": dict(Counter(str(result.verdict) for result in run.results)),
        "yes_man": run.yes_man,
        "unreachable": run.unreachable,
        "gone": run.gone,
        "exit_code": run.exit_code,
        "ambient": ambient,
        "observed": run.observed,
        "results": [as_dict(run, result) for result in run.results],
    }
    return json.dumps(whole, indent=1, ensure_ascii=True) + "\n"


def results_of(data: Mapping[str, Any], cases: Iterable[Case]) -> list[Result]:
    """What a run's JSON says of some cases, without their bytes; what was not run is left out."""
    known = {case.id: case for case in cases}
    return [
        Result(
            case=known[one["id"]],
            verdict=Verdict(one["verdict"]),
            outcome=one["outcome"],
            seconds=one["seconds"],
            repeats=list(one["repeats"]),
            blame=one["blame"],
        )
        for one in data["results"]
        if one["id"] in known and one["verdict"] != Verdict.NOT_RUN
    ]


def ambient_of(data: Mapping[str, Any]) -> list[Ambient]:
    """What a run's JSON counted of the ambient rules."""
    rules = {found.id: found for found in RULES.values()}
    return [
        Ambient(rules[one["id"]], one["kept"], one["broken"]) for one in data["ambient"] if one["id"] in rules
    ]


def _version() -> str:
    try:
        return version("aiodicom")
    except PackageNotFoundError:  # run from a folder that was not installed
        return "unknown"


def printable(text: str) -> str:
    """A text without control characters: names of a peer may hold anything."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def to_junit(run: Run) -> str:
    """The run as JUnit XML: a suite for each clause, failures with what was expected and seen."""
    root = ElementTree.Element("testsuites", name="aiodicom conformance")
    suites: dict[str, ElementTree.Element] = {}
    for result in run.results:
        clause = printable(result.case.clause)
        suite = suites.setdefault(
            clause,
            ElementTree.SubElement(root, "testsuite", name=clause)
            if clause not in suites
            else suites[clause],
        )
        _test(suite, result, run.options.strict)
    for suite in suites.values():
        tests = list(suite)
        suite.set("tests", str(len(tests)))
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(name, str(sum(test.find(tag) is not None for test in tests)))
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _test(suite: ElementTree.Element, result: Result, strict: bool) -> None:
    case = result.case
    test = ElementTree.SubElement(
        suite, "testcase", name=case.id, classname=f"{case.role}.{case.group}", time=f"{result.seconds:.3f}"
    )
    message = printable(
        f"{result.verdict}: expected {case.expected}, seen {result.outcome}. {result.blame}".strip()
    )
    if result.verdict in (Verdict.NA, Verdict.NOT_RUN):
        ElementTree.SubElement(test, "skipped", message=printable(result.blame or str(result.verdict)))
    elif result.verdict in (Verdict.ERROR, Verdict.UNSTABLE):
        ElementTree.SubElement(test, "error", message=message)
    elif result.finding(strict) and result.baseline != "expected":
        ElementTree.SubElement(test, "failure", message=message).text = printable(case.requirement)
    elif result.verdict is not Verdict.PASS:  # no failure, and yet to be told
        properties = ElementTree.SubElement(test, "properties")
        told = {"verdict": result.verdict, "outcome": result.outcome, "expected": case.expected}
        for name, value in {**told, "baseline": result.baseline}.items():
            if value:
                ElementTree.SubElement(properties, "property", name=name, value=printable(str(value)))


def explain(result: Result, command: str = "") -> Iterator[str]:
    """A failure in full: what is required, what was sent, what came."""
    case = result.case
    yield f"{result.verdict.upper()} {case.id}  [{case.level}, {case.clause}]"
    yield f"  required  {case.requirement}"
    yield f"  expected  {case.expected}"
    yield f"  seen      {result.outcome}" + (
        f" (repeats: {', '.join(result.repeats)})" if result.repeats else ""
    )
    if result.blame:
        yield f"  note      {result.blame}"
    if command:
        yield f"  again     {command}"
    last = max((entry.connection for entry in result.trace), default=0)
    for entry in [one for one in result.trace if one.connection == last][:12]:
        shown = safe_line(entry)
        way = "sent" if entry.way == ">" else "came"
        what = f"{shown.get('pdu', '')} {shown['what']}, {shown['length']} bytes"
        yield f"  {way} {shown['t']:>8}s {what}"
        if entry.raw and not entry.note:
            for at, said, name in rows_of(entry, case.role)[:24]:
                yield f"       {at:04x}  {said:<40} {name}"


def to_text(run: Run) -> Iterator[str]:
    """The run for a terminal: a line a group, failures in full, nothing else."""
    if run.unreachable:
        yield f"not reachable: {printable(run.unreachable)}"
        return
    if run.yes_man:
        yield "YES-MAN: this peer says yes to what nobody can do; its passes mean little."
    for group in dict.fromkeys(result.case.group for result in run.results):
        counts = Counter(str(result.verdict) for result in run.results if result.case.group == group)
        yield f"{group:<18} " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    for result in run.results:
        if result.finding(run.options.strict) and result.baseline != "expected":
            yield ""
            yield from map(printable, explain(result, again(run, result.case)))
    for ambient in run.ambient:
        if ambient.broken:
            rule = ambient.rule
            yield f"RULE BROKEN {rule.id} {ambient.broken} times  [{rule.clause}] {rule.requirement}"
    for name in run.gone:
        yield f"GONE {name}: the baseline expects a finding that did not come"


_SCU_HEAD = """listener = socket.create_server(({host!r}, {port}))
print("let the client call %s:%d" % listener.getsockname()[:2], flush=True)
s, _ = listener.accept()"""
_REPRO = '''"""{title}"""
import socket

{head}
s.settimeout(2)


def name(pdu):
    kinds = {{1: "request", 2: "accepted", 4: "data", 5: "release-asked", 6: "released"}}
    if pdu[0] == 3:
        return "rejected-%d-%d-%d" % tuple(pdu[7:10])
    return "aborted-%d-%d" % tuple(pdu[8:10]) if pdu[0] == 7 else kinds.get(pdu[0], "unknown-pdu")


def seen():
    data = b""
    try:
        while len(data) < 6 or len(data) < 6 + int.from_bytes(data[2:6], "big"):
            more = s.recv(65536)
            if not more:
                print("came: closed")
                return
            data += more
        while len(data) >= 6:
            size = 6 + int.from_bytes(data[2:6], "big")
            print("came:", name(data), data[:size][:64].hex(" "))
            data = data[size:]
    except socket.timeout:
        print("came: silence")
    except OSError:
        print("came: reset")


{steps}seen()
'''


def repro(result: Result, host: str, port: int) -> str:
    """A script that says the bytes of a case's last connection again and prints what comes."""
    last = max((entry.connection for entry in result.trace), default=0)
    mine = [e for e in result.trace if e.connection == last and (e.raw or e.note == "fin")]
    if mine and mine[-1].note == "fin" and result.outcome not in ("closed", "reset"):
        mine.pop()  # the kit's own good manners
    case, steps, scu = result.case, "", result.case.role == "scu"
    for at, entry in enumerate(mine):
        if entry.way == "<":
            continue
        if entry.note == "fin":
            steps += "s.shutdown(socket.SHUT_WR)\n"
            continue
        heard = at + 1 < len(mine) and mine[at + 1].way == "<"
        said = f"s.sendall(bytes.fromhex({entry.raw.hex()!r}))\n"
        steps += ("seen()\n" if scu else "") + said + ("seen()\n" if heard and not scu else "")
    head = f"s = socket.create_connection(({host!r}, {port}), 10)"
    title = printable(f"{case.id}: {case.clause}. Expected {case.expected}; seen {result.outcome}.")
    title = title.replace("\\", "/").replace('"', "'")
    return _REPRO.format(
        title=title, head=_SCU_HEAD.format(host=host, port=port) if scu else head, steps=steps
    )


def write_repros(run: Run, folder: Path, host: str, port: int) -> None:
    """A script for each finding of a run, named by the case."""
    for result in run.findings():
        folder.mkdir(parents=True, exist_ok=True)
        name = result.case.id.replace("/", "_").replace(":", "_") + ".py"
        (folder / name).write_text(repro(result, host, port), encoding="utf-8")


def write_traces(run: Run, folder: Path) -> None:
    """What went and came in each case, a line of JSON an entry."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in run.results:
        name = result.case.id.replace("/", "_").replace(":", "_") + ".jsonl"
        lines = [json.dumps(line(entry, result.case.role)) for entry in result.trace]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
