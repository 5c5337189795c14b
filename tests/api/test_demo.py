"""The demo: every step, and that it notices when one is not as it must be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from aiodicom.cli import demo as demo_command
from aiodicom.cli import demo_steps
from aiodicom.cli.demo_data import take_stock
from aiodicom.client import receiving
from aiodicom.dataset.coding import encode_dataset
from aiodicom.imaging.phantom import phantom_uid, write_series
from archive_objects import DEFLATED, encode, image, part10

from .conftest import Invoke


@pytest.fixture
def mixed(tmp_path: Path, series: Path) -> Path:
    """Two series, a file twice, one cut short, another object under the same UID, and a letter."""
    folder = tmp_path / "mixed"
    shutil.copytree(series, folder / "one")
    write_series(folder / "two", slices=2, rows=16, columns=16, patient_id="PHANTOM-2")
    first, second, third = sorted((folder / "one").iterdir())[:3]
    shutil.copy(first, folder / "two" / "zz_again.dcm")
    (folder / "two" / "zz_cut.dcm").write_bytes(second.read_bytes()[:-50])
    (folder / "two" / "zz_other.dcm").write_bytes(third.read_bytes()[:-2] + b"\1\2")
    (folder / "letter.txt").write_text("dear colleague")
    return folder


def test_the_stock_of_a_folder(mixed: Path) -> None:
    stock = take_stock(mixed)
    assert len(stock.objects) == 6
    assert [len(group) for group in stock.series()] == [4, 2]
    assert [path.name for path in stock.same] == ["zz_again.dcm"]
    assert {path.name for path in stock.unfit} == {"zz_cut.dcm", "zz_other.dcm"}
    assert [path.name for path in stock.skipped] == ["letter.txt"]


@pytest.mark.filterwarnings("ignore:.* for VR UI:UserWarning")
def test_what_the_archive_takes_is_stock_whatever_its_form(tmp_path: Path) -> None:
    """Deflated objects and UIDs that are none are stored like others; what has no study is not."""
    odd, nowhere = image(2), image(3)
    odd.StudyInstanceUID = "LOCALIZER1.2"
    del nowhere.StudyInstanceUID
    body = encode_dataset(image(1), DEFLATED)
    head = part10(image(1), DEFLATED)[: -len(encode(image(1)))]
    (tmp_path / "deflated.dcm").write_bytes(head + body)
    (tmp_path / "odd.dcm").write_bytes(part10(odd))
    (tmp_path / "nowhere.dcm").write_bytes(part10(nowhere))
    stock = take_stock(tmp_path)
    assert {one.path.name: one.study for one in stock.objects.values()} == {
        "deflated.dcm": image(1).StudyInstanceUID,
        "odd.dcm": "LOCALIZER1.2",
    }
    assert {path.name for path in stock.unfit} == {"nowhere.dcm"}


@pytest.mark.slow
def test_the_demo_as_a_newcomer_types_it(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("demo")
    assert result.code == 0, result.out + result.err
    assert result.err == ""
    for words in (
        "TLSv1.3",
        "a client without a certificate is turned away",
        "all 26 objects are answered with success",
        "every MR series, whatever the study",
        "PATIENT: 26 objects came back, bit-identical",
        "IMAGE: 1 object came back, bit-identical",
        "512 x 512 x 22 (columns x rows x slices), int16",
        "everything is as it must be",
    ):
        assert words in result.out, words
    assert sorted(path.name for path in (tmp_path / "demo-output").iterdir()) == ["image.png", "volume.png"]


def test_the_demo_with_real_files_of_every_kind(invoke: Invoke, mixed: Path, tmp_path: Path) -> None:
    result = invoke("demo", "--data", mixed, "--out", tmp_path / "out", "--keep")
    assert result.code == 0, result.out + result.err
    assert "2 files that cannot be stored are reported, and none is stored" in result.out
    (kept,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    names = {path.name for path in (kept / "retrieved" / "series").rglob("*.dcm")}
    assert names == {f"{phantom_uid('PHANTOM-1', 1, 1, number)}.dcm" for number in range(1, 5)}


def test_the_demo_says_when_no_series_is_a_volume(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(next(series.iterdir()), alone)
    result = invoke("demo", "--data", alone, "--out", tmp_path / "out")
    assert result.code == 0, result.out + result.err
    assert "no series makes a volume" in result.out


def test_the_demo_without_anything_to_store(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = invoke("demo", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert result.code == 1
    assert "NOT as it must be" in result.out


def test_the_demo_says_why_nothing_can_be_stored(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "cut.dcm").write_bytes(next(series.iterdir()).read_bytes()[:-50])
    result = invoke("demo", "--data", folder, "--out", tmp_path / "out")
    assert result.code == 1
    assert "cut.dcm: offset" in result.out


@pytest.mark.parametrize("name", ["trustme", "matplotlib"])
def test_the_demo_without_its_extra_says_so_at_once(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(demo_command, "find_spec", lambda wanted: None if wanted == name else object())
    result = invoke("demo", "--out", tmp_path / "out")
    assert result.code == 1
    assert result.out == ""
    assert result.error == f"the demo needs {name}: pip install 'aiodicom[demo]'"
    assert not (tmp_path / "out").exists()


def test_the_demo_sees_one_changed_bit(
    invoke: Invoke, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives is altered on its way to the disk: one bit of the last byte of a data set."""
    commit = receiving.FileSink._commit

    def flipping(self: receiving.FileSink, path: str | None = None) -> object:
        outcome = commit(self, path)
        assert outcome.path is not None
        data = bytearray(outcome.path.read_bytes())
        data[-1] ^= 1
        outcome.path.write_bytes(data)
        return outcome

    monkeypatch.setattr(receiving.FileSink, "_commit", flipping)
    result = invoke("demo", "--data", series, "--out", tmp_path / "out")
    assert result.code == 1
    assert "4 different" in result.out


def test_the_demo_sees_a_query_that_finds_too_little(
    invoke: Invoke, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = demo_steps.Demo._queries

    def wrong(self: demo_steps.Demo) -> object:
        for query in queries(self):
            query.expected.add("1.2.3")
            yield query

    monkeypatch.setattr(demo_steps.Demo, "_queries", wrong)
    result = invoke("demo", "--data", series, "--out", tmp_path / "out")
    assert result.code == 1
    assert "found, the right ones: " in result.out
