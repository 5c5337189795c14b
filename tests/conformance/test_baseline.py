"""Baselines: expected alike, new otherwise, gone told; what crashes a peer is withheld."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiodicom.conformance import Run, Verdict, all_cases, baseline, cases
from aiodicom.conformance.runner import Options, Result

CASES = [case for case in cases() if case.level == "shall"][:4]


def run(*seen: tuple[Verdict, str], strict: bool = False) -> Run:
    results = [
        Result(case=case, verdict=verdict, outcome=outcome)
        for case, (verdict, outcome) in zip(CASES, seen, strict=False)
    ]
    return Run(role="scp", sut={}, options=Options(strict=strict), results=results)


FAIL, PASS, CRASH, LAX = Verdict.FAIL, Verdict.PASS, Verdict.CRASH, Verdict.NONSTRICT


@pytest.mark.parametrize(
    ("then", "now", "marks", "code"),
    [
        ([(FAIL, "a")], [(FAIL, "a")], ["expected"], 0),
        ([(FAIL, "a")], [(FAIL, "b")], ["new"], 1),
        ([(PASS, "a")], [(FAIL, "a")], ["new"], 1),
        ([(FAIL, "a")], [(PASS, "c")], ["gone"], 1),
        ([(FAIL, "a")], [(CRASH, "a")], ["new"], 1),
        ([(CRASH, "a")], [(CRASH, "b")], ["expected"], 0),
        ([(LAX, "a")], [(PASS, "b")], ["gone"], 0),
        ([(PASS, "a")], [(LAX, "b")], [""], 0),
        ([(FAIL, "a")], [(Verdict.NOT_RUN, "not-run")], [""], 0),
    ],
)
def test_a_run_against_a_baseline(
    then: list[tuple[Verdict, str]],
    now: list[tuple[Verdict, str]],
    marks: list[str],
    code: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / "peer.json"
    baseline.update(run(*then), path, "peer 1")
    after = run(*now)
    baseline.apply(after, baseline.load(path))
    assert [result.baseline for result in after.results] == marks
    assert after.exit_code == code


def test_what_crashes_a_peer_is_withheld_and_lies_apart(tmp_path: Path) -> None:
    path = tmp_path / "peer.json"
    baseline.update(run((CRASH, "the-secret"), (FAIL, "public")), path, "peer 1")
    assert "the-secret" not in path.read_text("utf-8")
    assert baseline.load(path)[CASES[0].id] == {"id": CASES[0].id, "withheld": True}
    secret = baseline.load(tmp_path / "peer.private.json")
    assert secret[CASES[0].id]["outcome"] == "the-secret"
    assert CASES[1].id not in secret


@pytest.mark.parametrize("text", ["[]", "{}", '{"entries": 3}', '{"entries": [4]}', "no json"])
def test_what_is_no_baseline(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError):
        baseline.load(path)
    with pytest.raises(OSError):
        baseline.load("no-such-peer-1.0")


def test_those_that_come_along_name_cases_that_are() -> None:
    known = {case.id for case in all_cases()}
    assert len(baseline.shipped()) >= 4
    for name in baseline.shipped():
        entries = baseline.load(name)
        assert entries.keys() <= known
        for entry in entries.values():
            assert entry.get("withheld") or entry["verdict"] not in baseline.SECRET


def test_the_difference_of_two_runs() -> None:
    def one(**seen: str) -> dict[str, object]:
        return {"results": [{"id": key, "verdict": value, "outcome": "x"} for key, value in seen.items()]}

    assert baseline.difference(one(a="pass", b="fail"), one(a="pass", b="pass", c="pass")) == [
        "b: fail x -> pass x",
        "c: absent  -> pass x",
    ]
    assert json.dumps(one(a="pass"))
