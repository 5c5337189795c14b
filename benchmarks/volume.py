"""How fast a series becomes a volume, against reading its bytes into one array and against other libraries.

    python benchmarks/volume.py                 # 1000 slices of 512 x 512, CT, names in no order
    python benchmarks/volume.py --slices 100 --rounds 1

Each contestant has a process of its own, imports before it is measured, and builds the volume `--rounds`
times; the least CPU time counts, that of programs it starts with it, for fresh memory costs a virtual machine
more than reading. Memory is the high-water mark of a first build above what the process had before; dcm2niix
is another program, whose memory is not seen. Peers that are not installed are left out:

    pip install SimpleITK highdicom dicom-numpy dicom2nifti dicomsdl dcm2niix
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import high_water

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SIDE = 512
PEERS = {
    "SimpleITK": "SimpleITK",
    "pydicom + numpy": "pydicom",
    "highdicom": "highdicom",
    "dicom-numpy": "dicom_numpy",
    "dicom2nifti": "dicom2nifti",
    "dicomsdl": "dicomsdl",
    "dcm2niix": "dcm2niix",
}


def template() -> Dataset:
    """A CT slice of 12 bits with intercept -1024."""
    from aiodicom.imaging.phantom import synthesise_series

    dataset = next(iter(synthesise_series(slices=1, rows=SIDE, columns=SIDE)))
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.2", "CT"
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return dataset


def write_series(folder: Path, slices: int) -> None:
    """Such slices, their names in no order."""
    from pydicom.uid import UID

    dataset = template()
    places = list(range(slices))
    random.Random(1).shuffle(places)
    pixels = np.random.default_rng(1).integers(0, 3000, (SIDE, SIDE), "<u2")
    for number, place in enumerate(places):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
        dataset.InstanceNumber, dataset.ImagePositionPatient = place + 1, [0, 0, place]
        pixels[0, 0] = place
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def limit(folder: Path) -> Any:
    """Reading the pixels into one array, whose places are known."""
    files = sorted(os.scandir(folder), key=lambda one: one.name)
    size = SIDE * SIDE * 2
    voxels = np.empty((len(files), SIDE, SIDE), "<u2")
    for place, file in zip(voxels, files, strict=True):
        descriptor = os.open(file.path, os.O_RDONLY)
        os.preadv(descriptor, [place.view(np.uint8).data.cast("B")], file.stat().st_size - size)
        os.close(descriptor)
    return voxels


def ours(folder: Path) -> Any:
    from aiodicom.imaging.volume import Volume

    return Volume.from_files(folder).voxels


def simpleitk(folder: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return SimpleITK.GetArrayViewFromImage(reader.Execute())


def pydicom_numpy(folder: Path) -> Any:
    import pydicom

    read = [pydicom.dcmread(path) for path in folder.iterdir()]
    read.sort(key=lambda one: one.ImagePositionPatient[2])
    return np.stack([one.pixel_array for one in read])


def highdicom(folder: Path) -> Any:
    import highdicom
    import pydicom

    read = [pydicom.dcmread(path) for path in folder.iterdir()]
    return highdicom.get_volume_from_series(read).array


def dicom_numpy(folder: Path) -> Any:
    import dicom_numpy
    import pydicom

    return dicom_numpy.combine_slices([pydicom.dcmread(path) for path in folder.iterdir()])[0]


def dicom2nifti(folder: Path) -> Any:
    import pydicom
    from dicom2nifti.convert_dicom import dicom_array_to_nifti

    read = [pydicom.dcmread(path) for path in folder.iterdir()]
    return np.asanyarray(dicom_array_to_nifti(read, None, reorient_nifti=False)["NII"].dataobj)


def dicomsdl(folder: Path) -> Any:
    import dicomsdl as library

    read = [library.open(str(path)) for path in folder.iterdir()]
    read.sort(key=lambda one: one.ImagePositionPatient[2])
    return np.stack([one.pixelData() for one in read])


def dcm2niix(folder: Path) -> Any:
    """By way of the file it writes, of the same file system."""
    import dcm2niix as program

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        subprocess.run(
            [program.bin, "-z", "n", "-b", "n", "-o", place, folder], check=True, capture_output=True
        )
        (written,) = Path(place).glob("*.nii")
        slices = len(os.listdir(folder))
        return np.fromfile(written, "<i2", offset=352).reshape(slices, SIDE, SIDE)


CONTESTANTS: dict[str, Callable[[Path], Any]] = {
    "limit": limit,
    "aiodicom": ours,
    "SimpleITK": simpleitk,
    "pydicom + numpy": pydicom_numpy,
    "highdicom": highdicom,
    "dicom-numpy": dicom_numpy,
    "dicom2nifti": dicom2nifti,
    "dicomsdl": dicomsdl,
    "dcm2niix": dcm2niix,
}


def installed(name: str) -> bool:
    """Whether a contestant can take part."""
    return name not in PEERS or importlib.util.find_spec(PEERS[name]) is not None


def spent() -> float:
    """CPU seconds of this process and of those it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(name: str, folder: Path, rounds: int) -> dict[str, float]:
    """In a process of its own: the least of several builds, the memory of the first."""
    build = CONTESTANTS[name]
    with tempfile.TemporaryDirectory(dir=folder.parent) as small:
        write_series(Path(small), 5)
        build(Path(small))  # imports what it needs, and makes what it keeps
    before = high_water(os.getpid())  # not ru_maxrss, which begins with the parent's
    cpu, wall, peak = [], [], 0
    for number in range(rounds):
        began, clock = spent(), time.perf_counter()
        voxels = build(folder)
        cpu.append(spent() - began)
        wall.append(time.perf_counter() - clock)
        if number == 0:
            peak = high_water(os.getpid()) - before
        del voxels
    return {"cpu": min(cpu), "wall": min(wall), "mib": peak / 2**20}


def run(slices: int, rounds: int) -> None:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as parent:
        folder = Path(parent, "series")
        folder.mkdir()
        write_series(folder, slices)
        array = slices * SIDE * SIDE * 2 / 2**20
        print(f"{slices} slices of {SIDE} x {SIDE}, {array:.0f} MiB, least of {rounds}\n")
        print("| what | CPU s | x limit | wall s | peak MiB | x array |\n|---|---|---|---|---|---|")
        least = 0.0
        for name in CONTESTANTS:
            if not installed(name):
                print(f"| {name} | not installed |")
                continue
            command = [
                sys.executable,
                __file__,
                "--one",
                name,
                "--folder",
                str(folder),
                "--rounds",
                str(rounds),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {name} | {done.stderr.strip().splitlines()[-1][:80]} |")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            least = least or found["cpu"]
            print(
                f"| {name} | {found['cpu']:.2f} | {found['cpu'] / least:.1f} | {found['wall']:.2f}"
                f" | {found['mib']:.0f} | {found['mib'] / array:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.folder, given.rounds)))
    else:
        run(given.slices, given.rounds)


if __name__ == "__main__":
    main()
