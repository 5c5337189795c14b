"""A run as text, JSON, JUnit and a script that repeats a failure. Nothing a peer sent is written out raw.

Of what came, only the kind of PDU, its length and, for short ones without names, the bytes are kept: a
trace cannot carry a patient or the name of somebody's machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from .case import Verdict
from .dissect import dissect, outcome
from .link import Entry
from .runner import Result, Run

FORMAT = 1
"""Of the JSON; conformance/result.schema.json describes it."""
BARE = (3, 5, 6, 7)
"""PDU types whose bytes name nobody."""


def line(entry: Entry) -> dict[str, object]:
    """One entry of a trace, without what may name somebody."""
    shown: dict[str, object] = {"t": round(entry.seconds, 4), "c": entry.connection, "way": entry.way}
    if not entry.raw or entry.note:
        return shown | {"what": entry.note, "length": len(entry.raw)}
    shown |= {"pdu": dissect(entry.raw).name, "length": len(entry.raw), "what": outcome(entry.raw)}
    if entry.way == ">" or (entry.raw[0] in BARE and len(entry.raw) <= 10):
        shown["hex"] = entry.raw[:4096].hex()
    return shown


def as_dict(result: Result) -> dict[str, object]:
    """A result as JSON has it; only what is no plain pass carries its trace."""
    case = result.case
    quiet = result.verdict in (Verdict.PASS, Verdict.NA, Verdict.NOT_RUN)
    return {
        "id": case.id, "version": case.version, "role": case.role, "group": case.group, "clause": case.clause,
        "level": str(case.level), "verdict": str(result.verdict), "outcome": result.outcome,
        "expected": case.expected, "requirement": case.requirement, "seconds": round(result.seconds, 4),
        "repeats": result.repeats, "blame": result.blame, "baseline": result.baseline,
        "trace": [] if quiet else [line(entry) for entry in result.trace],
    }  # fmt: skip


def to_json(run: Run) -> str:
    """The run as JSON."""
    ambient = [
        {"id": a.rule.id, "clause": a.rule.clause, "verdict": a.verdict, "kept": a.kept, "broken": a.broken}
        for a in run.ambient
    ]
    whole = {
        "format": FORMAT,
        "edition": run.edition,
        "role": run.role,
        "sut": run.sut,
        "summary": dict(Counter(str(result.verdict) for result in run.results)),
        "yes_man": run.yes_man,
        "unreachable": run.unreachable,
        "exit_code": run.exit_code,
        "ambient": ambient,
        "results": [as_dict(result) for result in run.results],
    }
    return json.dumps(whole, indent=1, ensure_ascii=True) + "\n"


def printable(text: str) -> str:
    """A text fit for XML and a terminal: what cannot be printed becomes an escape."""
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


def explain(result: Result) -> Iterator[str]:
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
    for entry in result.trace[:12]:
        shown = line(entry)
        said = str(shown.get("hex", ""))[:96]
        head = f"  {shown['way']} {shown['t']:>8}s {shown.get('pdu', '')} {shown['what']}"
        yield f"{head} {shown['length']} bytes {said}".rstrip()


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
            yield from map(printable, explain(result))
    for ambient in run.ambient:
        if ambient.broken:
            rule = ambient.rule
            yield f"RULE BROKEN {rule.id} {ambient.broken} times  [{rule.clause}] {rule.requirement}"
    for name in run.gone:
        yield f"GONE {name}: the baseline expects a finding that did not come"


def repro(result: Result, host: str, port: int) -> str:
    """A script that sends the bytes of a case's last connection again and prints what comes."""
    last = max((entry.connection for entry in result.trace), default=0)
    sent = [e for e in result.trace if e.connection == last and e.way == ">" and (e.raw or e.note == "fin")]
    steps = "".join(
        "s.shutdown(socket.SHUT_WR)\n"
        if entry.note == "fin"
        else f"s.sendall(bytes.fromhex({entry.raw.hex()!r})); seen()\n"
        for entry in sent
    )
    case = result.case
    return f'''"""{case.id}: {case.clause}. Expected {case.expected}; seen {result.outcome}."""
import socket

s = socket.create_connection(({host!r}, {port}), 10)
s.settimeout(2)


def seen():
    try:
        data = s.recv(65536)
        print("came:", data.hex(" ") if data else "the end")
    except OSError as error:
        print("came:", type(error).__name__)


{steps}seen()
'''


def write_repros(run: Run, folder: Path, host: str, port: int) -> None:
    """A script for each finding of a run, named by the case."""
    for result in run.findings():
        folder.mkdir(parents=True, exist_ok=True)
        name = result.case.id.replace("/", "_").replace(":", "_") + ".py"
        (folder / name).write_text(repro(result, host, port), encoding="utf-8")
