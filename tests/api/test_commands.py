"""What the commands do when all is well: their output for people, for pipes and as JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from aiodicom.dataset.part10 import read_header
from aiodicom.imaging import volume as volume_module
from aiodicom.imaging.phantom import phantom_uid
from cryptography.hazmat.primitives import serialization

from .conftest import Files, Invoke, Served, serve, start, stop

SERIES = phantom_uid("PHANTOM-1", 1, 1)
STUDY = phantom_uid("PHANTOM-1", 1)


def datasets(folder: Path) -> set[bytes]:
    """The data sets of all files in a folder."""
    return {path.read_bytes()[read_header(path).data_offset :] for path in folder.rglob("*.dcm")}


def test_echo_tells_what_the_connection_is(invoke: Invoke, archive: Served) -> None:
    result = invoke("echo", "127.0.0.1", archive.port, "--called", "ARCHIVE")
    assert result.code == 0, result.err
    assert result.out.startswith(f"ARCHIVE at 127.0.0.1:{archive.port} answered: success\n")
    assert "Patient Root: FIND, GET, MOVE" in result.out
    assert result.err == ""


def test_echo_as_json(invoke: Invoke, archive: Served) -> None:
    found = invoke("echo", "127.0.0.1", archive.port, "--json").json()
    assert found["ok"] is True
    assert found["status"] == 0
    assert found["connection"]["port"] == archive.port
    assert found["connection"]["tls"] is None
    names = {context["abstract_syntax_name"] for context in found["connection"]["contexts"]}
    assert "Verification SOP Class" in names


def test_echo_over_mutual_tls(invoke: Invoke, secure_archive: Served, pem: Files) -> None:
    result = invoke(
        *("echo", "localhost", secure_archive.port, "--called", "SECURE", "--json"),
        *("--key", pem.client_key, "--cert", pem.client_cert, "--trusted", pem.trusted),
    )
    assert result.code == 0, result.err
    assert result.json()["connection"]["tls"]["verified"] is True


def test_store_reports_each_object(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    served = serve(tmp_path / "archive")
    try:
        (tmp_path / "notes.txt").write_text("no DICOM")
        found = invoke("store", "127.0.0.1", served.port, series, tmp_path / "notes.txt", "--json").json()
        again = invoke("store", "127.0.0.1", served.port, series)
    finally:
        assert stop(served) == 0
    assert found["ok"] is True
    assert (found["stored"], found["failed"]) == (4, 0)
    assert all(item["status"] == 0 and item["meaning"] == "success" for item in found["items"])
    assert [Path(one["path"]).name for one in found["skipped"]] == ["notes.txt"]
    assert again.code == 0
    assert again.out.startswith("stored 4 objects")


def test_find_in_a_pipe_is_tab_separated(invoke: Invoke, archive: Served) -> None:
    result = invoke(
        *("find", "127.0.0.1", archive.port, "--level", "SERIES", "Modality=MR", f"StudyInstanceUID={STUDY}"),
        *("--return", "SeriesDescription,NumberOfSeriesRelatedInstances"),
    )
    assert result.code == 0, result.err
    header, *rows = [line.split("\t") for line in result.out.splitlines()]
    assert header == ["Modality", "StudyInstanceUID", "SeriesDescription", "NumberOfSeriesRelatedInstances"]
    assert rows == [["MR", STUDY, "tilted T1", "4"]]


def test_find_as_json_lines(invoke: Invoke, archive: Served) -> None:
    result = invoke(
        *("find", "127.0.0.1", archive.port, "--level", "image", "--root", "study", "--json"),
        *(
            f"SeriesInstanceUID={SERIES}",
            "--return",
            "InstanceNumber",
            "--return",
            "Rows,ImagePositionPatient",
        ),
    )
    found = [json.loads(line) for line in result.out.splitlines()]
    assert sorted(one["InstanceNumber"] for one in found) == [1, 2, 3, 4]
    assert {one["Rows"] for one in found} == {32}
    assert all(one["QueryRetrieveLevel"] == "IMAGE" for one in found)


def test_find_without_a_match_is_a_success(invoke: Invoke, archive: Served) -> None:
    result = invoke("find", "127.0.0.1", archive.port, "--level", "PATIENT", "PatientID=NOBODY", "--json")
    assert (result.code, result.out, result.err) == (0, "", "")
    piped = ("--level", "PATIENT", "PatientID=NOBODY", "--return", "PatientName")
    result = invoke("find", "127.0.0.1", archive.port, *piped)
    assert (result.code, result.out, result.err) == (0, "PatientID\tPatientName\n", "")


def test_find_stops_at_the_limit(invoke: Invoke, archive: Served) -> None:
    result = invoke("find", "127.0.0.1", archive.port, "--level", "IMAGE", "--json", "--limit", 2)
    assert result.code == 0, result.err
    assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("level", "uid", "root"),
    [("PATIENT", "PHANTOM-1", "PATIENT"), ("STUDY", STUDY, "PATIENT"), ("SERIES", SERIES, "STUDY")],
)
def test_get_brings_back_what_was_stored(
    invoke: Invoke, archive: Served, series: Path, tmp_path: Path, level: str, uid: str, root: str
) -> None:
    result = invoke(
        *(
            "get",
            "127.0.0.1",
            archive.port,
            "--level",
            level,
            "--root",
            root,
            uid,
            "--out",
            tmp_path,
            "--json",
        )
    )
    assert result.code == 0, result.err
    found = result.json()
    assert found["ok"] is True
    assert found["missing"] == []
    assert all(Path(item["path"]).is_file() for item in found["items"])
    assert datasets(tmp_path) == datasets(series)


def test_get_of_an_instance_below_given_parents(invoke: Invoke, archive: Served, tmp_path: Path) -> None:
    uid = phantom_uid("PHANTOM-1", 1, 1, 2)
    result = invoke(
        *("get", "127.0.0.1", archive.port, "--level", "IMAGE", uid, "--out", tmp_path),
        *("--parent", f"StudyInstanceUID={STUDY}", "--parent", f"SeriesInstanceUID={SERIES}"),
    )
    assert result.code == 0, result.err
    assert [path.name for path in tmp_path.rglob("*.dcm")] == [f"{uid}.dcm"]


def test_move_to_ourselves(invoke: Invoke, series: Path, tmp_path: Path, closed_port: int) -> None:
    served = serve(tmp_path / "archive", "--destination", f"AIODICOM=127.0.0.1:{closed_port}")
    try:
        assert invoke("store", "127.0.0.1", served.port, series).code == 0
        result = invoke(
            *("move", "127.0.0.1", served.port, "--level", "SERIES", SERIES),
            *("--out", tmp_path / "out", "--listen-port", closed_port, "--json"),
        )
    finally:
        assert stop(served) == 0
    assert result.code == 0, result.err
    assert result.json()["service"] == "C-MOVE"
    assert datasets(tmp_path / "out") == datasets(series)


@pytest.mark.parametrize("named", [False, True])
def test_move_to_another(
    invoke: Invoke, series: Path, tmp_path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = serve(tmp_path / "other", "--ae-title", "OTHER")
    nodes = tmp_path / "nodes.toml"
    nodes.write_text(f'[nodes.there]\nhost = "127.0.0.1"\nport = {other.port}\n', "utf-8")
    monkeypatch.setenv("AIODICOM_CONFIG", str(nodes))
    where = "@there" if named else f"127.0.0.1:{other.port}"
    served = serve(tmp_path / "archive", "--destination", f"OTHER={where}")
    try:
        assert invoke("store", "127.0.0.1", served.port, series).code == 0
        moved = invoke("move", "127.0.0.1", served.port, "--level", "STUDY", STUDY, "--destination", "OTHER")
        unknown = invoke(
            "move", "127.0.0.1", served.port, "--level", "STUDY", STUDY, "--destination", "NOONE"
        )
        found = invoke("find", "127.0.0.1", other.port, "--level", "IMAGE", "--json")
    finally:
        assert (stop(served), stop(other)) == (0, 0)
    assert (moved.code, moved.out) == (0, "moved 4 objects\n")
    assert len(found.out.splitlines()) == 4
    assert unknown.code == 1
    assert "move destination unknown" in unknown.error


def test_volume_as_pairs_as_json_and_as_a_picture(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    shown = invoke("volume", series, "--png", tmp_path / "v.png")
    assert shown.code == 0, shown.err
    assert "32 x 32 x 4 (columns x rows x slices), int16" in shown.out
    assert (tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")
    found = invoke("volume", series, "--json").json()
    assert found["shape"] == [4, 32, 32]
    assert found["series_uid"] == SERIES
    assert found["orientation"] == "transverse"
    assert len(found["affine"]) == 4
    assert len(found["sources"]) == 4


def test_volume_as_a_table_and_exported(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    table = invoke("volume", series, "--table")
    assert table.code == 0, table.err
    assert "32 x 32 x 4" in table.out
    assert invoke("volume", series, "--table", "--json").json()["rows"][0]["shape"] == [4, 32, 32]
    made = invoke("volume", series, "--export", tmp_path / "v.npy", "--export", tmp_path / "v.nii")
    assert made.code == 0, made.err
    assert {"v.json", "v.nii", "v.npy"} <= {path.name for path in tmp_path.iterdir()}
    wrong = invoke("volume", series, "--export", tmp_path / "v.jpg")
    assert wrong.code != 0
    assert "names no format" in wrong.err
    assert "Traceback" not in wrong.err


@pytest.mark.parametrize(
    "options",
    [
        ("--export", "v.nii"),
        ("--png", "v.png"),
        ("--series", "1.2"),
        ("--keep-gaps",),
        ("--duplicates", "first"),
        ("--tolerance", "0"),
    ],
)
def test_a_table_takes_nothing_that_is_for_one_volume(
    invoke: Invoke, series: Path, options: tuple[str, ...]
) -> None:
    wrong = invoke("volume", series, "--table", *options)
    assert wrong.code == 2
    assert options[0] in wrong.err
    assert not wrong.out


def test_an_export_that_cannot_be_is_told_before_the_first_file(
    invoke: Invoke, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = invoke("volume", series, "--export", tmp_path / "v.npy", "--export", tmp_path / "v.jpg")
    assert wrong.code == 2
    assert not list(tmp_path.iterdir())

    def failing(*_: object) -> None:
        raise ValueError("what a library says")

    monkeypatch.setattr(volume_module, "write_numpy", failing)
    failed = invoke("volume", series, "--export", tmp_path / "v.npy")
    assert failed.code not in (0, 2)
    assert "v.npy cannot be written (ValueError: what a library says)" in failed.err


def test_the_members_of_volume_and_show_are_those_the_guide_names(
    invoke: Invoke, series: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    for path in series.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("`")[1]: line.split("|", 2)[2] for line in lines if line.startswith("| `")}
    volume = invoke("volume", tmp_path, "--json").json()
    table = invoke("volume", tmp_path, "--table", "--json").json()
    show = invoke("show", next(series.iterdir()), "--json").json()
    for told, row in ((volume, "volume"), (table, "volume"), (table["rows"][0], "volume"), (show, "show")):
        assert {name for name in told if f"`{name}`" not in rows[row]} == set()
    for left_out in (volume["left_out"], table["left_out"]):
        assert [sorted(one) for one in left_out] == [["name", "reason"]]


def test_broken_files_are_left_out_on_request(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    for path in series.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = next(tmp_path.iterdir()).read_bytes()
    (tmp_path / "torn.dcm").write_bytes(whole[:-9])
    assert invoke("volume", tmp_path).code != 0
    kept = invoke("volume", tmp_path, "--leave-out-broken")
    assert kept.code == 0, kept.err
    assert "torn.dcm" in kept.out


def test_show_one_image(invoke: Invoke, series: Path, tmp_path: Path) -> None:
    file = next(series.iterdir())
    shown = invoke("show", file, "--png", tmp_path / "i.png", "--cine", tmp_path / "i.gif")
    assert shown.code == 0, shown.err
    assert "32 x 32, 1 frames" in shown.out
    assert (tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "i.gif").read_bytes().startswith(b"GIF8")
    assert invoke("show", file, "--json").json()["shape"] == [32, 32, 1, 1]
    assert "none is 8" in invoke("show", file, "--frame", "9").err


def test_commands_run_on_either_loop(invoke: Invoke, archive: Served) -> None:
    for loop in ("asyncio", "uvloop"):
        assert invoke("echo", "127.0.0.1", archive.port, "--loop", loop).code == 0


def test_a_closed_pipe_is_no_traceback(archive: Served) -> None:
    process = start("find", "127.0.0.1", archive.port, "--level", "IMAGE", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(30)
    assert process.stderr is not None
    error = process.stderr.read()
    process.stderr.close()
    assert (process.returncode, error) == (1, "")


def test_silence_beside_the_result_in_a_pipe(archive: Served, tmp_path: Path) -> None:
    process = start(
        "get", "127.0.0.1", archive.port, "--level", "SERIES", SERIES, "--out", tmp_path, "--json"
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert json.loads(out)["ok"] is True


def test_progress_on_a_terminal(archive: Served, tmp_path: Path) -> None:
    """stderr on a pseudo terminal: the bar tells objects and bytes; stdout stays for the result."""
    pty = pytest.importorskip("pty")
    import os
    import subprocess

    from .conftest import COMMAND

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            *COMMAND,
            "get",
            "127.0.0.1",
            str(archive.port),
            "--level",
            "SERIES",
            SERIES,
            "--out",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"4/4 objects" in shown
    assert out.decode().startswith("received 4 objects")


def test_destinations_over_tls_take_the_key_s_password(
    invoke: Invoke, series: Path, tmp_path: Path, pem: Files
) -> None:
    key = serialization.load_pem_private_key(pem.server_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    tls = ("--key", locked, "--key-password", "secret", "--cert", pem.server_cert, "--trusted", pem.trusted)
    other = serve(tmp_path / "other", *tls, "--ae-title", "OTHER")
    there = f"OTHER=localhost:{other.port}"
    served = serve(tmp_path / "archive", *tls, "--destination", there, "--destination-tls")
    us = ("--key", pem.client_key, "--cert", pem.client_cert, "--trusted", pem.trusted)
    try:
        assert invoke("store", "localhost", served.port, series, *us).code == 0
        moved = invoke(
            *("move", "localhost", served.port, "--level", "STUDY", STUDY, "--destination", "OTHER"), *us
        )
    finally:
        assert (stop(served), stop(other)) == (0, 0)
    assert (moved.code, moved.out) == (0, "moved 4 objects\n")


def test_move_to_ourselves_over_tls(
    invoke: Invoke, series: Path, tmp_path: Path, pem: Files, closed_port: int
) -> None:
    tls = ("--key", pem.server_key, "--cert", pem.server_cert, "--trusted", pem.trusted)
    there = f"AIODICOM=localhost:{closed_port}"
    served = serve(tmp_path / "archive", *tls, "--destination", there, "--destination-tls")
    try:
        assert invoke("store", "localhost", served.port, series, *tls).code == 0
        result = invoke(
            *("move", "localhost", served.port, "--level", "SERIES", SERIES, *tls),
            *("--out", tmp_path / "out", "--listen-port", closed_port, "--listen-tls"),
        )
    finally:
        assert stop(served) == 0
    assert result.code == 0, result.err
    assert datasets(tmp_path / "out") == datasets(series)


def test_subjects_can_be_allowed_only_where_certificates_are_asked_for(
    invoke: Invoke, tmp_path: Path, pem: Files
) -> None:
    tls = ("--key", pem.server_key, "--cert", pem.server_cert)
    result = invoke("serve", tmp_path / "archive", *tls, "--allow-subject", "CN=scanner")
    assert result.code == 2
    assert "--trusted" in result.err


def test_limits_and_ports_that_cannot_be_had_are_named(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("serve", tmp_path / "archive", "--max-pdu-length", 7)
    assert result.code == 2
    assert "max_pdu_length" in result.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", tmp_path / "archive", "--host", "127.0.0.1", "--port", port)
    assert result.code == 1
    assert f"127.0.0.1 port {port}" in result.error
