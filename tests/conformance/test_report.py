"""Reports: what they hold, what must never be in one, and that a script repeats its failure."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import junitparser
import pytest
from aiodicom.conformance import Effect, Level, Profile, Run, Verdict, all_cases, cases, page, report, run_scp
from aiodicom.conformance.caller import FunctionCaller
from aiodicom.conformance.calling import run_scu
from aiodicom.conformance.foils import FoilServer, request
from aiodicom.conformance.runner import Options, Result, Runner

HOSTILE = "<b>&\"'\x1b[31m\0]]>\ud800</b><script>alert(1)</script>"
OPTIONS = Options(repeats=0, recovery=1)


async def failed(knob: str, name: str) -> tuple[Run, int]:
    async with FoilServer(knob) as server:
        profile = Profile(name=HOSTILE, version=HOSTILE, port=server.port, allow=frozenset(Effect))
        wanted = [case for case in all_cases() if case.id == name]
        assert wanted
        return await run_scp(profile, wanted, OPTIONS), server.port


def texts(run: Run, folder: Path) -> list[str]:
    report.write_repros(run, folder, "127.0.0.1", 1)
    report.write_traces(run, folder)
    written = [path.read_text("utf-8") for path in folder.iterdir()]
    made = [report.to_json(run), report.to_junit(run), page.to_html(run), "\n".join(report.to_text(run))]
    return made + written


async def test_the_marker_patient_is_in_no_output_and_nothing_more_is_asked(tmp_path: Path) -> None:
    async with FoilServer("answers-strangers") as server:
        profile = Profile(port=server.port, allow=frozenset(Effect))
        run = await run_scp(profile, cases("effect:read"), OPTIONS)
    assert [str(result.verdict) for result in run.results[:2]] == ["fail", "not-run"]
    assert {str(result.verdict) for result in run.results[1:]} == {"not-run"}
    marker = b"MARKER"
    for text in texts(run, tmp_path):
        assert "MARKER" not in text
        assert marker.hex() not in text
        assert marker.hex(" ") not in text


async def test_json_keeps_to_its_schema_with_hostile_names() -> None:
    run, _ = await failed("ac-unasked-role", "ps3.8/9.3.3.3/nothing-not-asked-for")
    schema = json.loads((files("aiodicom.conformance") / "result.schema.json").read_text("utf-8"))
    found = json.loads(report.to_json(run))
    jsonschema.validate(found, schema, format_checker=jsonschema.FormatChecker())
    result = found["results"][0]
    assert (result["verdict"], result["outcome"]) == ("fail", "unasked")
    assert any("fields" in entry for entry in result["trace"])


async def test_junit_is_read_by_others_with_hostile_names(tmp_path: Path) -> None:
    run, _ = await failed("ac-unasked-role", "ps3.8/9.3.3.3/nothing-not-asked-for")
    skipped = Result(case=cases()[0], verdict=Verdict.NA, outcome="n/a", blame=HOSTILE)
    broken = Result(case=cases()[1], verdict=Verdict.UNSTABLE, outcome=HOSTILE)
    lenient = Result(case=cases()[2], verdict=Verdict.NONSTRICT, outcome=HOSTILE, baseline="expected")
    known = Result(case=cases()[3], verdict=Verdict.FAIL, outcome=HOSTILE, baseline="expected")
    plain = Result(case=cases()[4], verdict=Verdict.PASS)
    run.results += [skipped, broken, lenient, known, plain]
    path = tmp_path / "junit.xml"
    path.write_text(report.to_junit(run), "utf-8")
    tests = [test for suite in junitparser.JUnitXml.fromfile(str(path)) for test in suite]
    kinds = sorted(type(result).__name__ for test in tests for result in test.result)
    assert kinds == ["Error", "Failure", "Skipped"]
    assert all(test.name and test.classname for test in tests)
    told = {
        test.get("name"): {one.get("name"): one.get("value") or "" for one in test.iter("property")}
        for test in ElementTree.fromstring(path.read_text("utf-8")).iter("testcase")
    }
    assert {name for name, properties in told.items() if properties} == {lenient.case.id, known.case.id}
    for result, verdict in ((lenient, "nonstrict"), (known, "fail")):
        assert told[result.case.id]["verdict"] == verdict
        assert told[result.case.id]["baseline"] == "expected"
        assert "alert(1)" in told[result.case.id]["outcome"]


class Tags(HTMLParser):
    """Counts tags, and what they point at."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


async def test_the_page_stands_alone_and_runs_no_script_of_a_peer() -> None:
    run, port = await failed("ac-unasked-role", "ps3.8/9.3.3.3/nothing-not-asked-for")
    text = page.to_html(run)
    tags = Tags()
    tags.feed(text)
    assert (tags.scripts, tags.links) == (1, [])
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "\x1b" not in text
    assert "prefers-color-scheme:dark" in text
    for needed in (
        "Sub-items of negotiation are answered where they were proposed",
        f"aiodicom conformance scp 127.0.0.1 {port} --suite ps3.8/9.3.3.3/nothing-not-asked-for",
        "SCP/SCU Role Selection",
        "\ns.sendall(bytes.fromhex(",
        "\nimport socket\n",
    ):
        assert needed in text


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("strict", [False, True])
def test_whatever_is_no_pass_is_explained_on_the_page(verdict: Verdict, strict: bool) -> None:
    for case in (next(case for case in cases() if case.level is level) for level in Level):
        result = Result(case=case, verdict=verdict, outcome="the-outcome")
        run = Run(role="scp", sut={"port": 1}, options=Options(strict=strict), results=[result])
        told = verdict not in (Verdict.PASS, Verdict.NA, Verdict.NOT_RUN)
        assert page.to_html(run).count("the-outcome") >= told, (verdict, case.level)


def test_what_failed_stands_before_what_is_lax() -> None:
    lax = Result(case=cases()[0], verdict=Verdict.NONSTRICT, outcome="lax")
    worse = Result(case=cases()[1], verdict=Verdict.FAIL, outcome="worse")
    run = Run(role="scp", sut={"port": 1}, options=Options(strict=True), results=[lax, worse])
    found = page.to_html(run)
    assert found.index(worse.case.id) < found.index(lax.case.id)


async def test_what_the_kit_sent_is_shown_whole_and_what_names_the_peer_is_not() -> None:
    run, _ = await failed("ac-unasked-role", "ps3.8/9.3.3.3/nothing-not-asked-for")
    [result] = run.results
    ours, theirs = (next(e for e in result.trace if e.way == way and e.raw) for way in "><")
    assert {text for _, text, _ in report.rows_of(ours, "scp") if "sha256" in text} == set()
    assert any("sha256" in text for _, text, _ in report.rows_of(theirs, "scp"))
    assert any("sha256" in text for _, text, _ in report.rows_of(ours, "scu"))  # it repeats the client's
    assert 'value "1.2.840.10008.1.1"' in [name for _, _, name in report.rows_of(ours, "scp")]


def test_runs_side_by_side() -> None:
    result, other = {"id": "ps3.8/x/y", "verdict": "fail"}, {"id": "ps3.8/x/z", "verdict": "pass"}
    runs: list[dict[str, object]] = [
        {"sut": {"name": HOSTILE}, "results": [result, other]},
        {"sut": {}, "results": [other]},
    ]
    text = page.matrix(runs)
    assert "<script>alert" not in text
    assert '<tr data-verdict="differs"><td class=id>ps3.8/x/y' in text
    assert '<tr data-verdict="alike"><td class=id>ps3.8/x/z' in text


@pytest.mark.parametrize(
    ("knob", "name", "came"),
    [
        ("version-unseen", "ps3.8/9.3.2/version-two", "came: accepted"),
        ("echo-fails", "ps3.4/A.4/status", "came: data"),
        ("cell:Sta6:Evt6", "ps3.8/9.2.3/sta6-idle-associate-rq", "came: released"),
        ("keeps-open", "ps3.8/9.2.3/sta6-idle-abort", "came: silence"),
        ("cell:Sta2:Evt17", "ps3.8/9.2.3/sta2-fresh-fin", "came: released"),
    ],
)
async def test_a_script_repeats_its_failure(knob: str, name: str, came: str, tmp_path: Path) -> None:
    async with FoilServer(knob) as server:
        profile = Profile(port=server.port, allow=frozenset(Effect))
        run = await run_scp(profile, [case for case in all_cases() if case.id == name], OPTIONS)
        assert [str(result.verdict) for result in run.results] in (["fail"], ["hang"])
        report.write_repros(run, tmp_path, "127.0.0.1", server.port)
        script = next(tmp_path.iterdir())
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert came in out.decode()


@pytest.mark.parametrize(
    ("knob", "name", "came"),
    [
        ("rq-reserved", "scu:ps3.8/9.3.6/as-sent", "came: release-asked"),
        ("abort-form", "scu:ps3.8/9.3.8/as-sent", "came: aborted"),
        ("picky-reserved-closes", "scu:ps3.8/9.3.6/reserved", "came: closed"),
    ],
)
async def test_a_script_repeats_the_failure_of_a_client(
    knob: str, name: str, came: str, tmp_path: Path
) -> None:
    [case] = [case for case in all_cases() if knob in case.foils and case.id == name]
    caller = FunctionCaller(lambda host, port: request(host, port, knob))
    run = await run_scu(Profile(allow=frozenset(Effect)), caller, [case], OPTIONS)
    assert [str(result.verdict) for result in run.results] == ["fail"]
    report.write_repros(run, tmp_path, "127.0.0.1", 0)
    script = next(tmp_path.iterdir())
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    await request("127.0.0.1", int(said.rpartition(":")[2]), knob)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert came in out.decode()


def test_the_command_that_repeats_a_case_has_what_it_needs() -> None:
    plain, harsh = cases("effect:none")[0], cases("effect:harsh")[0]
    profile = Profile(port=4, called_ae="A B", test_system=True, tls=ssl.create_default_context())
    run = Runner(profile, OPTIONS).run
    assert report.again(run, plain).endswith(f" --suite {plain.id} --called-ae 'A B' --test-system --tls")
    assert f" --suite {harsh.id} --allow harsh" in report.again(run, harsh)
    run = Runner(Profile(port=4), OPTIONS).run
    assert report.again(run, plain) == f"aiodicom conformance scp 127.0.0.1 4 --suite {plain.id}"


async def test_a_failure_is_explained_in_the_terminal() -> None:
    run, port = await failed("echo-fails", "ps3.4/A.4/status")
    text = "\n".join(report.to_text(run))
    for needed in (
        "required  A C-ECHO ends",
        "expected  answered",
        "seen      no-success",
        f"{port} --suite",
        "(0000,0900)",
    ):
        assert needed in text
