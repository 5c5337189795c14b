"""The soak and the chaos of `benchmarks/`: the ledger finds every difference, and both scripts run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import check
import compare
import endure
import lag
import neighbours
import volume
from aiodicom.archive.archive import Archive
from chaos import PATIENT, Mint, plans
from ledger import KEPT_ASIDE, SUCCESS, Disk, Ledger, digest_of, read_disk
from measure import Sample
from measure import run as measure
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from rows import Row, Sizes

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the ledger


def agreeing() -> tuple[Ledger, Disk]:
    """One object answered with success, another version of it kept aside, one never answered."""
    ledger = Ledger()
    for uid, version, status in (("1", "a", SUCCESS), ("1", "b", KEPT_ASIDE), ("2", "c", None)):
        ledger.sent(uid, version)
        ledger.answered(uid, version, status)
    ledger.retrieved("1", "a")
    return ledger, Disk({"1": ["a"], "2": ["c"]}, {("1", "b")}, {"1", "2"})


def test_what_agrees_is_no_difference() -> None:
    ledger, disk = agreeing()
    assert ledger.compare(disk) == []
    del disk.objects["2"]  # never answered: it may be there or not
    disk.indexed.remove("2")
    assert ledger.compare(disk) == []


def lost(ledger: Ledger, disk: Disk) -> None:
    del disk.objects["1"]


def replaced(ledger: Ledger, disk: Disk) -> None:
    disk.objects["1"] = ["b"]


def half(ledger: Ledger, disk: Disk) -> None:
    disk.objects["2"] = ["half of c"]


def twice(ledger: Ledger, disk: Disk) -> None:
    disk.objects["1"].append("a")


def unknown(ledger: Ledger, disk: Disk) -> None:
    disk.objects["3"] = ["d"]
    disk.indexed.add("3")


def not_indexed(ledger: Ledger, disk: Disk) -> None:
    disk.indexed.remove("2")


def only_indexed(ledger: Ledger, disk: Disk) -> None:
    del disk.objects["2"]


def both_succeed(ledger: Ledger, disk: Disk) -> None:
    ledger.answered("1", "b", SUCCESS)


def not_set_aside(ledger: Ledger, disk: Disk) -> None:
    disk.conflicts.clear()


def half_set_aside(ledger: Ledger, disk: Disk) -> None:
    disk.conflicts.add(("1", "half of b"))


def itself_set_aside(ledger: Ledger, disk: Disk) -> None:
    disk.conflicts.add(("1", "a"))


def stray(ledger: Ledger, disk: Disk) -> None:
    disk.stray.append("incoming/.x.part")


def refused(ledger: Ledger, disk: Disk) -> None:
    ledger.answered("2", "c", 0xA700)


def retrieved_otherwise(ledger: Ledger, disk: Disk) -> None:
    ledger.retrieved("1", "half of a")


def retrieved_unknown(ledger: Ledger, disk: Disk) -> None:
    ledger.retrieved("3", "d")


@pytest.mark.parametrize(
    "happens",
    [
        lost,
        replaced,
        half,
        twice,
        unknown,
        not_indexed,
        only_indexed,
        both_succeed,
        not_set_aside,
        half_set_aside,
        itself_set_aside,
        stray,
        refused,
        retrieved_otherwise,
        retrieved_unknown,
    ],
)
def test_the_ledger_finds(happens: Callable[[Ledger, Disk], None]) -> None:
    ledger, disk = agreeing()
    happens(ledger, disk)
    assert ledger.compare(disk)


def test_a_disk_is_read_byte_by_byte(tmp_path: Path) -> None:
    mint, ledger, folder = Mint(tmp_path / "templates"), Ledger(), tmp_path / "archive"
    with Archive(folder) as archive:
        for number, version in ((0, 0), (1, 0), (1, 1), (2, 0)):
            path = tmp_path / "object.dcm"
            path.write_bytes(mint.make(number, version))
            uid = mint.sop_uid(number)
            ledger.sent(uid, digest_of(path))
            ledger.answered(uid, digest_of(path), archive.store_file(path).status)
    assert ledger.counts["answered 0000H"] == 3
    assert ledger.counts["answered 0111H"] == 1
    assert ledger.compare(read_disk(folder, PATIENT)) == []
    changed, gone = sorted(folder.glob("objects/*/*/*"))[:2]
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    gone.unlink()
    found = ledger.compare(read_disk(folder, PATIENT))
    assert {one.split(":")[0] for one in found} == {changed.stem, gone.stem}


def test_objects_and_faults_are_those_of_their_numbers(tmp_path: Path) -> None:
    first, second = Mint(tmp_path / "a"), Mint(tmp_path / "b")
    assert first.make(7, 1) == second.make(7, 1) != first.make(7, 0)
    assert [plans(5)(n) for n in range(20)] == [plans(5)(n) for n in range(20)]
    assert plans(5)(3) != plans(6)(3)


# --- the scripts


@pytest.mark.slow
def test_chaos_runs(tmp_path: Path) -> None:
    printed = run(
        "chaos.py", "--seconds", "2", "--clients", "3", "--kill", "1", "--seed", "4", "--place", str(tmp_path)
    )
    lines = dict(line.strip().rsplit("  ", 1) for line in printed.splitlines() if "  " in line.strip())
    counts = {name.strip(): value for name, value in lines.items()}
    assert counts["differences"] == "0"
    assert int(counts["different objects sent"]) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_retrieve_endures(tmp_path: Path) -> None:
    """Its server killed, itself cancelled: nothing is missing at its end, and nothing there twice."""
    how = ("--objects", "500", "--kill", "2", "--cancel", "0.5", "--place", str(tmp_path))
    printed = run("endure.py", *how)
    lines = dict(line.rsplit("  ", 1) for line in printed.splitlines() if "  " in line.strip())
    counts = {name.strip(): int(value) for name, value in lines.items()}
    assert counts["differences"] == 0
    assert counts["objects that came"] >= 500
    assert list(tmp_path.iterdir()) == []


def test_what_a_retrieve_left_is_held_against_what_was_made(tmp_path: Path) -> None:
    def write(number: int, name: str, **changes: object) -> None:
        dataset = endure.make(number)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if number % 2 else ImplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(tmp_path / name, enforce_file_format=True)

    for number in range(3):
        write(number, f"{number}.dcm")
    assert list(endure.judged(tmp_path, 3)) == []
    assert list(endure.judged(tmp_path, 2)) == ["1.2.3.0.2: never stored, but"]
    assert list(endure.judged(tmp_path, 4)) == ["1.2.3.0.3: missing"]
    write(1, "again.dcm")
    assert list(endure.judged(tmp_path, 3)) == ["1.2.3.0.1: twice"]
    (tmp_path / "again.dcm").unlink()
    write(2, "2.dcm", PatientID="OTHER")
    (tmp_path / "1~1.dcm").touch()
    assert sorted(endure.judged(tmp_path, 3)) == ["1.2.3.0.2: differs", "1~1.dcm lies"]


def test_a_peer_over_the_bar_is_named_and_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only by CPU time: what others do to the machine makes looks late too."""
    measured = {"nothing": [0.001, 0.9, 0.9], "noise": [lag.BAR + 0.001, 0.0, 0.0]}
    monkeypatch.setattr(lag, "measured", lambda name, peers, seconds: measured[name])
    for names, code in ((["nothing"], 0), (["nothing", "noise"], 1)):
        monkeypatch.setattr(sys, "argv", ["lag.py", *names])
        assert lag.main() == code
    assert capsys.readouterr().out.splitlines()[-1].endswith("| 51.0 (over 50) |")


def test_memory_of_a_volume_begins_with_its_own_process(tmp_path: Path) -> None:
    """A program that is started begins, for `ru_maxrss`, with the peak of who started it."""
    (tmp_path / "series").mkdir()
    volume.write_series(tmp_path / "series", 40)
    ballast = bytearray(os.urandom(1 << 10)) * (300 << 10)
    how = ("--one", "limit", "--folder", str(tmp_path / "series"), "--rounds", "1")
    found = json.loads(run("volume.py", *how).splitlines()[-1])
    assert len(ballast) == 300 << 20
    assert found["mib"] > 15  # of 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("compressed", "--slices", "4", "--rounds", "1", "--only", "JPEG-LS"), 1),
        (("retrieved", "--slices", "5", "--rounds", "1"), 1),
        (("further", "--slices", "1000", "--rounds", "1"), 3),
    ],
)
def test_series_that_are_more_than_plain_slices(words: tuple[str, ...], lines: int) -> None:
    printed = run("series.py", *words).splitlines()
    head = next(number for number, line in enumerate(printed) if line.startswith("|---"))
    ours = [line for line in printed[head + 1 :] if "aiodicom" in line or words[0] != "compressed"]
    assert len(ours) == lines
    columns = printed[head].count("---")
    assert all(line.count("|") == columns + 1 and "Error" not in line for line in printed[head:])


def stored_figures(machine: str, steps: dict[str, int]) -> str:
    return json.dumps({"machine": machine, "steps": steps})


@pytest.mark.parametrize(
    "kept", [None, ("Python 2.7, abacus", {"16 PDUs framed": 1}), ("", {}), ("", {"x": 1})]
)
def test_steps_that_nothing_is_stored_for_are_no_success(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept: tuple[str, dict[str, int]] | None,
) -> None:
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    stored = tmp_path / "instructions.json"
    if kept is not None:
        stored.write_text(stored_figures(kept[0] or machine, kept[1]))
    monkeypatch.setattr(check, "STORED", stored)
    monkeypatch.setattr(check, "measure", lambda name: 100)
    monkeypatch.setattr(check.shutil, "which", lambda name: name)
    monkeypatch.setattr(sys, "argv", ["check.py", "--only", "16 PDUs framed"])
    assert check.main() == 2
    assert "nothing is stored to compare with" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["check.py", "--only", "16 PDUs framed", "--store"])
    assert check.main() == 0
    monkeypatch.setattr(sys, "argv", ["check.py"])
    assert check.main() == 0
    monkeypatch.setattr(check, "measure", lambda name: 104)
    assert check.main() == 1


@pytest.mark.slow
def test_the_lag_of_the_loop_is_printed_for_each_scenario() -> None:
    printed = run("lag.py", "--seconds", "0.5", "--peers", "2").splitlines()
    assert len(printed) == 2 + len(lag.SCENARIOS)
    for name, line in zip(lag.SCENARIOS, printed[2:], strict=True):
        _, shown, median, most, worst, busy, _ = (cell.strip() for cell in line.split("|"))
        assert shown == name
        assert 0 <= float(median) <= float(most) <= float(worst.split(" ")[0])
        assert float(busy) > 0


def test_what_a_neighbour_was_refused_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = {"echo": 0.001, "find": 0.002, "store": 0.003}
    found = {
        "nothing": neighbours.Waited(3, waits, [], 10_000_000, 0.1),
        "counts": neighbours.Waited(1, waits, ["find: refused", "find: refused"], 10_000_000, 0.1),
    }
    monkeypatch.setattr(neighbours, "measured", lambda name, *_: found[name])
    for names, code in ((["nothing"], 0), (["nothing", "counts"], 1)):
        monkeypatch.setattr(sys, "argv", ["neighbours.py", *names])
        assert neighbours.main() == code
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "| counts (2 wrong) | 1 | 1 | 2 | 3 | 10 | 0.1 |"
    assert printed.err == "counts: find: refused\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", neighbours.SCENARIOS)
def test_a_neighbour_is_served_beside_each_kind_of_peer(name: str) -> None:
    printed = run("neighbours.py", "--seconds", "0.5", "--peers", "2", "--objects", "50", name).splitlines()
    _, shown, rounds, *waits, memory, stopped, _ = (cell.strip() for cell in printed[2].split("|"))
    assert shown == name
    assert int(rounds) > 0
    assert all(float(one) > 0 for one in waits)
    assert float(memory) > 10
    assert float(stopped) < neighbours.STOPPING


@pytest.mark.slow
def test_soak_runs() -> None:
    pytest.importorskip("pynetdicom")
    numbers = {
        "--peers": 0,
        "--idle": 4,
        "--active": 3,
        "--storing": 1,
        "--seconds": 0.3,
        "--pynetdicom-idle": 2,
    }
    printed = run("soak.py", *(str(part) for pair in numbers.items() for part in pair))
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    table = {tuple(row[:2]): row for row in rows}
    assert table["asked for", "4"] == ["asked for", "4", "2"]
    assert table["refused or failed", "0"] == ["refused or failed", "0", "0"]
    assert float(table["3, as fast as they can", "4"][2]) > 0
    assert "pynetdicom was given 2 idle associations at most" in printed


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_phases_adds_up(tmp_path: Path, durability: str) -> None:
    """Every border is met once an object: a phase that is missing would be a stamp that no longer sticks."""
    how = ("--server", "aiodicom", "--objects", "3", "--durability", durability, "--place", str(tmp_path))
    printed = run("phases.py", *how)
    phases = [line for line in printed.splitlines() if " us median " in line]
    assert len(phases) == 6
    assert all(float(line.split()[0]) > 0 for line in phases)
    assert "writing to the file" in printed


# --- the comparison


def sample(wall: float, steady: float | None = None) -> Sample:
    return Sample(wall, 0.5, 10_000_000, 0.25, 20_000_000, 0, steady)


def test_ratios_are_of_the_same_round_and_failures_are_counted() -> None:
    base = Row("g", "base", 1e9, "MB/s", lambda: sample(1), base=True, samples=[sample(1), sample(2), None])
    ours = Row("g", "ours", 1e9, "MB/s", lambda: sample(1), samples=[sample(2, 1), sample(1), sample(9)])
    dead = Row("g", "dead", 1e9, "MB/s", lambda: sample(1), samples=[None, None, None])
    _, _, *lines = compare.table([base, ours, dead])
    first, second, third = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert first == ["base (1 failed)", "750 (500-1,000)", "-", "1.00", "0.50", "0.25", "10", "20", "2"]
    # 0.5 in the first round, 2 in the second; in the third there is no base
    assert second[:4] == ["ours", "500 (111.1-1,000)", "1,000 (1,000-1,000)", "1.25"]
    assert third[:2] == ["dead", "every run failed"]
    assert third[-1] == "0"


def test_where_objects_are_counted_the_time_of_each_is_shown() -> None:
    rows = [
        Row("g", "ours", 1e9, "MB/s", lambda: sample(1), objects=2000, samples=[sample(2), sample(2)]),
        Row("g", "dead", 1e9, "MB/s", lambda: sample(1), samples=[None]),
    ]
    head, line, *lines = compare.table(rows)
    heads, first, second = ([cell.strip() for cell in one.strip("|").split("|")] for one in (head, *lines))
    assert len(heads) == len(first) == len(second) == line.count("---")
    cells = dict(zip(heads, first, strict=True))
    assert cells["us of CPU an object, client"] == "250"
    assert cells["us of CPU an object, server"] == "125"


def test_rows_are_named_and_chosen() -> None:
    listed = run("compare.py", "--list").splitlines()
    assert len(set(listed)) == len(listed) > 20
    assert "C-STORE, 0.5 MB: aiodicom -> aiodicom archive" in listed
    assert run("compare.py", "--list", "--rows", "nothing of that name").splitlines() == listed


def test_a_client_tells_how_long_its_work_took() -> None:
    told = measure([sys.executable, "-c", "print('words\\nSTEADY 0.25 0.125')"], os.getpid())
    assert (told.code, told.steady, told.steady_cpu) == (0, 0.25, 0.125)
    for other in ("STEADY", "STEADY 0.25", "words 0.25 0.125"):
        said = measure([sys.executable, "-c", f"print('{other}')"], os.getpid())
        assert (said.steady, said.steady_cpu) == (None, None)


def test_cpu_time_is_the_least_an_object_and_of_the_work_alone_where_that_is_told() -> None:
    told = replace(sample(1), steady_cpu=0.1)
    row = Row("g", "a", 5e8, "MB/s", lambda: told, data="ct", samples=[told, replace(told, server_cpu=0.2)])
    asked = Row("g", "b", 2000, "1/s", lambda: told, samples=[None, sample(1)])
    dead = Row("g", "c", 2000, "1/s", lambda: told, samples=[None])
    _, *lines = compare.costs([row, asked, dead], Sizes(objects=1000))
    assert lines == ["| g: a | 100 | 200 |", "| g: b | 250 | 125 |", "| g: c | every run failed |  |"]


def test_every_step_that_is_counted_runs() -> None:
    for name in check.STEPS:
        subprocess.run([sys.executable, "-c", check.program(name, 1)], check=True)
