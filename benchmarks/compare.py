"""aiodicom beside DCMTK as shipped and with TCP_NODELAY=1 ("tuned"), Orthanc and pynetdicom, in one run.

    python benchmarks/compare.py [--rows TEXT ...] [--list] [--quick] [--rounds 5] [--place /dev/shm]
                                 [--cpu] [--json FILE] [--results FILE]

A row is a whole client command, from exec to exit, against a server that runs; "library" rows are our API in
a process of its own, which tells the time of the work alone too ("steady"). A round goes once through every
row, in another order each time, so that the machine's moods fall on all alike; the first warms up. Printed
are medians with their spread, ratios taken round by round against DCMTK tuned with its like, CPU seconds a GB
and microseconds an object, and peak memory, of both ends. `--rows` chooses by any part of "group: name".
Peers that are missing are named. MB are 10^6 bytes. With `--cpu` the least CPU time an object, answer, echo
or association is printed instead, which other work on the machine changes little. DCMTK writes its log with
-v, not of a query's answers.

`--results` writes benchmarks/RESULTS.md, on a machine at rest alone.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from interop import peers
from measure import Sample, median
from rows import BUILDERS, Bench, Failed, Row, Sizes

QUICK = Sizes(objects=100, small=500, large_mib=128, echoes=500, associations=50)
QUIET_LOAD = 0.3
"""Load average a core over which no results are written: they would measure the neighbours."""
RESULTS = Path(__file__).with_name("RESULTS.md")


def run_rounds(rows: list[Row], rounds: int, seed: int) -> None:
    """Measure every row once a round; the first round is not counted."""
    shuffled = random.Random(seed)
    for number in range(rounds + 1):
        for row in shuffled.sample(rows, len(rows)):
            sample: Sample | None = None
            try:
                sample = row.measure()
            except Failed as failure:
                print(f"round {number}: {failure}", file=sys.stderr, flush=True)
            if number:
                row.samples.append(sample)
        print(f"round {number} of {rounds} done", file=sys.stderr, flush=True)


# --- what is printed


def spread(values: Iterable[float], scale: float) -> str:
    """Median, least and most."""
    found = [value * scale for value in values]
    return f"{median(found):,.4g} ({min(found):,.4g}-{max(found):,.4g})" if found else "-"


def ratio(row: Row, base: Row | None) -> str:
    """The median of what this row did to what the base did in the same round."""
    if base is None:
        return "-"
    pairs = [(a, b) for a, b in zip(row.samples, base.samples, strict=True) if a and b]
    return f"{median([row.rate(a) / base.rate(b) for a, b in pairs]):.2f}" if pairs else "-"


def table(rows: list[Row]) -> Iterator[str]:
    """A Markdown table of the rows of one group."""
    base = next((row for row in rows if row.base), None)
    unit = rows[0].unit
    scale, cpu, per = (1e-6, 1e9, "CPU s/GB") if unit == "MB/s" else (1, 1e3, "CPU s/1000")
    counted = any(row.objects for row in rows)
    each = ["us of CPU an object, client", "us of CPU an object, server"] if counted else []
    heads = ["what", f"{unit}, whole command", f"{unit}, steady", "x DCMTK tuned"]
    heads += [f"{per} client", f"{per} server", *each, "peak MB client", "peak MB server", "n"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        good = row.good
        if not good:
            yield f"| {row.name} | every run failed |" + " |" * (len(heads) - 3) + " 0 |"
            continue
        ends = [median([getattr(sample, f"{end}_cpu") for sample in good]) for end in ("client", "server")]
        steady = [one for sample in good if (one := row.steady(sample)) is not None]
        failed = len(row.samples) - len(good)
        cells = (
            row.name + (f" ({failed} failed)" if failed else ""),
            spread((row.rate(sample) for sample in good), scale),
            spread(steady, scale),
            ratio(row, base),
            *(f"{end / row.amount * cpu:.2f}" for end in ends),
            *((f"{end / row.objects * 1e6:,.0f}" if row.objects else "-") for end in ends if counted),
            f"{max(sample.client_rss for sample in good) / 1e6:.0f}",
            f"{max(sample.server_rss for sample in good) / 1e6:.0f}",
            str(len(good)),
        )
        yield "| " + " | ".join(cells) + " |"


def report(rows: list[Row]) -> Iterator[str]:
    """The tables of every group."""
    for group in dict.fromkeys(row.group for row in rows):
        yield f"### {group}\n"
        yield "\n".join(table([row for row in rows if row.group == group])) + "\n"


def costs(rows: list[Row], sizes: Sizes) -> Iterator[str]:
    """A Markdown table of the least CPU time of every row."""
    yield "| what | client, CPU us each | server, CPU us each |\n|---|---|---|"
    for row in rows:
        found = row.microseconds(sizes)
        cells = ("every run failed", "") if found is None else (f"{one:,.0f}" for one in found)
        yield f"| {row.group}: {row.name} | {' | '.join(cells)} |"


def versions() -> dict[str, str]:
    """What was run, and on what."""
    found = {name: importlib.metadata.version(name) for name in ("aiodicom", "pydicom", "uvloop")}
    found["Python"] = platform.python_version()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["pynetdicom"] = importlib.metadata.version("pynetdicom")
    for name, program in (("DCMTK", "storescu"), ("Orthanc", "Orthanc")):
        path = peers.find_program(program)
        if path is not None:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            numbers = [word for word in said.split() if word.strip("v,")[:1].isdigit()]
            found[name] = numbers[0].strip("v,") if numbers else "unknown version"
    found["machine"] = (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    )
    return found


def heading(options: argparse.Namespace, sizes: Sizes, missing: set[str]) -> str:
    """When, where and how much."""
    what = ", ".join(f"{name} {value}" for name, value in versions().items() if name != "machine")
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {versions()['machine']}; {what}.",
        f"{sizes.objects} objects of 0.5 MB (* a tenth of them), {sizes.small} of 10 kB, one of"
        f" {sizes.large_mib} MiB; {options.rounds} rounds; files in {options.place}.",
    ]
    if missing:
        lines.append(f"Not on this machine, so without their rows: {', '.join(sorted(missing))}.")
    return "\n".join(lines) + "\n"


def compile_ours() -> None:
    """Byte-compile our packages, as pip does with every package it installs but an editable one: else each
    of our commands would compile its sources first, where PYTHONDONTWRITEBYTECODE is set."""
    root = Path(__file__).resolve().parent.parent
    for folder in ("api", "archive", "association", "client", "dataset", "dimse", "imaging", "pdu", "server"):
        compileall.compile_dir(root / folder, quiet=1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", action="append", default=[], help="any part of 'group: name'")
    parser.add_argument("--list", action="store_true", help="name the rows")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"), help="a folder, on tmpfs or a disk")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows")
    parser.add_argument("--cpu", action="store_true", help="the least CPU time of each end alone")
    parser.add_argument("--json", type=Path, help="write every sample here")
    parser.add_argument("--results", type=Path, nargs="?", const=RESULTS, help="write RESULTS.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def main() -> int:
    """Run the rounds and print the tables."""
    options = parsed()
    sizes = QUICK if options.quick else Sizes()
    if options.results and os.getloadavg()[0] > QUIET_LOAD * (os.cpu_count() or 1):
        print(f"load {os.getloadavg()[0]:.1f}: results are written on a machine at rest", file=sys.stderr)
        return 1
    compile_ours()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.place)))
        bench = Bench(place, sizes, stack)
        for build in BUILDERS:
            build(bench)
        wanted = options.rows or [""]
        rows = [row for row in bench.rows if any(part in f"{row.group}: {row.name}" for part in wanted)]
        if options.list or not rows:
            print("\n".join(f"{row.group}: {row.name}" for row in bench.rows))
            return 0 if options.list else 1
        run_rounds(rows, options.rounds, options.seed)
        bench.weigh()
    told = costs(rows, sizes) if options.cpu else report(rows)
    text = heading(options, sizes, bench.missing) + "\n" + "\n".join(told)
    print(text)
    if options.results:
        options.results.write_text(f"# What `python benchmarks/compare.py --results` printed\n\n{text}")
    if options.json:
        samples = [
            {
                "group": row.group,
                "name": row.name,
                "amount": row.amount,
                "unit": row.unit,
                "samples": [asdict(sample) if sample else None for sample in row.samples],
            }
            for row in rows
        ]
        found = {"versions": versions(), "sizes": asdict(sizes), "rows": samples}
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
