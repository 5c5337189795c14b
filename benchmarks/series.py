"""Series that are more than plain slices: compressed, retrieved, of a further dimension.

    python benchmarks/series.py compressed [--slices 500] [--rounds 3] [--only RLE]  # on one core and on two
    python benchmarks/series.py retrieved [--slices 1000] [--rounds 3]     # after the last byte of a C-GET
    python benchmarks/series.py further [--slices 10000] [--rounds 2]      # 4-D: a tenth, a half, all of them

Each figure is the least of its rounds. `compressed` starts a process for each contestant, kept to its cores;
slices are 512 x 512 of 12 bits (JPEG baseline: 8), of which eight differ. What of several cores is gained is
wall time and needs a machine at rest: CPU time stands beside it. `retrieved` stores a CT in an archive of its
own and has `Pacs.volume` make the volume while it comes; its time begins with the last bytes that are read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiodicom
import commands
import imagecodecs
import uvloop
import volume
from aiodicom.association.observing import BytesEvent, Event
from aiodicom.imaging.phantom import synthesise_series
from interop import peers
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from rle import encode_pixel_data

SIDE = volume.SIDE
RLE = {"rows": SIDE, "columns": SIDE, "samples_per_pixel": 1, "bits_allocated": 16, "byteorder": "<"}
Encode = Callable[[NDArray[Any]], bytes | bytearray]
JPEG = "1.2.840.10008.1.2.4."
DEFLATED_FRAMES, STAND_IN = "1.2.840.10008.1.2.8.1", JPEG + "50"
"""A syntax that pydicom does not know, and what it writes in its place, one character longer."""
ENCODERS: dict[str, tuple[str, Encode]] = {
    "RLE": ("1.2.840.10008.1.2.5", lambda plane: encode_pixel_data(plane.tobytes(), **RLE)),
    "JPEG baseline": (JPEG + "50", lambda plane: imagecodecs.jpeg8_encode((plane >> 4).astype("u1"))),
    "JPEG extended": (JPEG + "51", lambda plane: imagecodecs.jpeg8_encode(plane, bitspersample=12)),
    "JPEG lossless": (JPEG + "70", lambda plane: imagecodecs.ljpeg_encode(plane, bitspersample=12)),
    "JPEG-LS": (JPEG + "80", imagecodecs.jpegls_encode),
    "JPEG 2000": (
        JPEG + "90",
        lambda plane: imagecodecs.jpeg2k_encode(plane, codecformat="j2k", bitspersample=12, reversible=True),
    ),
    "HTJ2K": (JPEG + "201", lambda plane: imagecodecs.htj2k_encode(plane, reversible=True)),
    "deflated frames": (DEFLATED_FRAMES, lambda plane: zlib.compress(plane.tobytes(), wbits=-15)),
}
CONTESTANTS = ("aiodicom", "SimpleITK", "pydicom + numpy")
DIFFERENT = 8


def planes() -> list[NDArray[Any]]:
    """Twelve bits: a round body with noise in it, as a CT has."""
    rng, side = np.random.default_rng(1), SIDE
    down, across = np.ogrid[:side, :side]
    body = np.hypot(down - side / 2, across - side / 2) < side * 0.4
    return [
        (np.where(body, 1000 + 2 * number, 0) + rng.normal(20, 6, (side, side)) * (1 + body))
        .clip(0, 4095)
        .astype("<u2")
        for number in range(DIFFERENT)
    ]


def write_compressed(folder: Path, slices: int, name: str) -> None:
    """A series in one transfer syntax."""
    syntax, encode = ENCODERS[name]
    encoded = [encapsulate([bytes(encode(plane))]) for plane in planes()]
    dataset = volume.template()
    if name == "JPEG baseline":
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.file_meta.TransferSyntaxUID = UID(STAND_IN if syntax == DEFLATED_FRAMES else syntax)
    for number in range(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        dataset.InstanceNumber, dataset.ImagePositionPatient = number + 1, [0, 0, number]
        dataset.add_new(0x7FE00010, "OB", encoded[number % DIFFERENT])
        dataset["PixelData"].is_undefined_length = True
        path = folder / f"{number:05d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        if syntax == DEFLATED_FRAMES:
            path.write_bytes(path.read_bytes().replace(STAND_IN.encode(), syntax.encode() + b"\0", 1))


def on_cores(cores: Sequence[int], name: str, folder: Path, rounds: int) -> dict[str, float] | str:
    """A contestant in a process of its own that may use those cores; in words what went wrong."""
    mine = os.sched_getaffinity(0)
    words = [volume.__file__, "--one", name, "--folder", str(folder), "--rounds", str(rounds)]
    os.sched_setaffinity(0, cores)
    try:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    finally:
        os.sched_setaffinity(0, mine)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["died"])[-1][:80]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compressed(place: Path, slices: int, rounds: int, only: str) -> Iterator[str]:
    """Each syntax and contestant on one core and on two."""
    yield f"{slices} slices of {SIDE} x {SIDE}, least of {rounds}\n"
    yield "| syntax | what | CPU s, one core | wall s, one core | wall s, two cores | times faster |"
    yield "|---|---|---|---|---|---|"
    cores = sorted(os.sched_getaffinity(0))
    for syntax in (name for name in ENCODERS if only in name):
        folder = place / syntax
        folder.mkdir()
        write_compressed(folder, slices, syntax)
        for name in CONTESTANTS:
            if not volume.installed(name):
                continue
            one = on_cores(cores[:1], name, folder, rounds)
            two = on_cores(cores[:2], name, folder, rounds) if len(cores) > 1 else "-"
            if isinstance(one, str):
                yield f"| {syntax} | {name} | {one} | | | |"
            elif isinstance(two, str):
                yield f"| {syntax} | {name} | {one['cpu']:.2f} | {one['wall']:.2f} | {two} | |"
            else:
                yield (
                    f"| {syntax} | {name} | {one['cpu']:.2f} | {one['wall']:.2f} | {two['wall']:.2f}"
                    f" | {one['wall'] / two['wall']:.2f} |"
                )


class LastByte:
    """When bytes came last."""

    wants_bytes = True

    def __init__(self) -> None:
        self.at = self.cpu = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, BytesEvent) and not event.sent:
            self.at, self.cpu = time.perf_counter(), time.process_time()


async def once(port: int, title: str, uid: str) -> tuple[float, float, float]:
    """Seconds of a retrieve into a volume, and seconds and CPU seconds of it after the last byte."""
    last = LastByte()
    began = time.perf_counter()
    async with aiodicom.connect("127.0.0.1", port, called_ae=title, observer=last) as pacs:
        made = await pacs.volume(uid, root="STUDY")
        ready, cpu = time.perf_counter(), time.process_time()
        at, spent = last.at, last.cpu
    assert made.voxels.any()
    return ready - began, ready - at, cpu - spent


def retrieved(place: Path, slices: int, rounds: int, only: str) -> Iterator[str]:
    """How long the volume takes after the last byte of its C-GET."""
    (place / "series").mkdir()
    volume.write_series(place / "series", slices)
    uid = str(volume.template().SeriesInstanceUID)

    def arguments(port: int) -> list[str]:
        return [sys.executable, "-m", "aiodicom", "serve", str(place / "archive"), "--port", str(port)]

    (place / "archive").mkdir()
    with peers.launch("aiodicom", "ARCHIVE", place / "archive", arguments) as server:
        store = commands.aiodicom_store()(server, place / "series")
        subprocess.run(store, check=True, capture_output=True)
        found = [uvloop.run(once(server.port, server.ae_title, uid)) for _ in range(rounds)]
    yield f"{slices} slices of {SIDE} x {SIDE} by C-GET, least of {rounds}\n"
    yield "| retrieved and made, s | ready after the last byte, ms | of that CPU, ms |\n|---|---|---|"
    whole, after, cpu = (min(column) for column in zip(*found, strict=True))
    yield f"| {whole:.2f} | {after * 1e3:.1f} | {cpu * 1e3:.1f} |"


def further(place: Path, slices: int, rounds: int, only: str) -> Iterator[str]:
    """CPU time of a series of 50 positions at more and more times."""
    dataset = next(iter(synthesise_series(slices=1, rows=16, columns=16)))
    positions = 50
    yield f"4-D, {positions} positions, least of {rounds}\n"
    yield "| files | CPU s | us of CPU a file |\n|---|---|---|"
    written = 0
    for count in (slices // 10, slices // 2, slices):
        for number in range(written, count):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
            time_of, at = divmod(number, positions)
            dataset.TriggerTime, dataset.InstanceNumber = time_of * 10, number + 1
            dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, at], [1, 0, 0, 0, 1, 0]
            dataset.save_as(place / f"{number:05d}.dcm", enforce_file_format=True)
        written = count
        took = []
        for _ in range(rounds):
            began = time.process_time()
            made = aiodicom.Volume.from_files(place)
            took.append(time.process_time() - began)
        assert made.voxels.shape == (count // positions, positions, 16, 16), made.voxels.shape
        yield f"| {count} | {min(took):.2f} | {min(took) / count * 1e6:.0f} |"


RUNS: dict[str, tuple[Callable[[Path, int, int, str], Iterator[str]], int, int]] = {
    "compressed": (compressed, 500, 3),
    "retrieved": (retrieved, 1000, 3),
    "further": (further, 10000, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", choices=RUNS)
    parser.add_argument("--slices", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", default="", help="of `compressed`: any part of a syntax's name")
    given = parser.parse_args()
    work, slices, rounds = RUNS[given.run]
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as place:
        for line in work(Path(place), given.slices or slices, given.rounds or rounds, given.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()
