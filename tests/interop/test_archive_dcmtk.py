"""DCMTK's echoscu, storescu, findscu, getscu and movescu with our archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.dataset.convert import convert
from interop.peers import (
    HOST,
    Command,
    Outcome,
    Peers,
    dicom_files,
    echoscu,
    findscu,
    getscu,
    movescu,
    require_peer,
    storescu,
)
from interop.samples import (
    LEVEL_KEYS,
    ROOT_AND_LEVEL,
    Sample,
    Samples,
    bodies,
    identifier,
    make_object,
    syntaxes,
)
from interop.site import Site, reserved_port
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]

PLAIN_AND_TLS = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])


async def succeed(command: Command) -> Outcome:
    """Run a command that must end well, without an error or a warning among what it says."""
    outcome = await command.start(timeout=30)
    assert outcome.code == 0, outcome.text
    assert not [line for line in outcome.stderr.splitlines() if line.startswith(("E:", "W:"))], outcome.text
    return outcome


@PLAIN_AND_TLS
async def test_echoscu(secure: bool, serving: Any, site: Site, tmp_path: Path) -> None:
    server = await serving(tmp_path, tls=site.server_context() if secure else None)
    tls = site.pki.client if secure else None
    await succeed(echoscu(server.port, tls=tls, extra=["--repeat", "5"]))
    await succeed(echoscu(server.port, tls=tls, extra=["--propose-ts", "38", "--propose-pc", "128"]))
    aborting = await echoscu(server.port, tls=tls, extra=["--abort"]).start()
    assert aborting.code == 0, aborting.text
    await succeed(echoscu(server.port, tls=tls))


@PLAIN_AND_TLS
async def test_storescu(secure: bool, serving: Any, site: Site, samples: Samples, tmp_path: Path) -> None:
    """storescu proposes each file's own transfer syntax first, and sends in what was accepted."""
    server = await serving(tmp_path, tls=site.server_context() if secure else None)
    tls = site.pki.client if secure else None
    explicit = [one.path for one in samples.all if one.syntax == ExplicitVRLittleEndian]
    implicit = [one.path for one in samples.all if one.syntax == ImplicitVRLittleEndian]
    await succeed(storescu(server.port, explicit, called="OURS", tls=tls))
    await succeed(storescu(server.port, implicit, called="OURS", tls=tls, extra=["-xi"]))
    stored = bodies(dicom_files(tmp_path))
    assert set(stored) == {one.uid for one in samples.all}
    for one in samples.all:
        if one.undefined_lengths:  # DCMTK writes explicit ones
            found = next(p for p in dicom_files(tmp_path) if one.uid in p.name)
            assert dcmread(found) == dcmread(one.path)
        else:
            assert stored[one.uid] == one.body


async def test_storescu_with_other_syntaxes(serving: Any, tmp_path: Path) -> None:
    server = await serving(tmp_path / "archive")
    made = {
        "-xb": make_object(tmp_path / "big.dcm", syntax=ExplicitVRBigEndian),
        "-xr": make_object(tmp_path / "rle.dcm", syntax=RLELossless),
        "-xi": make_object(tmp_path / "implicit.dcm", syntax=ImplicitVRLittleEndian),
    }
    for option, sample in made.items():
        await succeed(storescu(server.port, [sample.path], called="OURS", extra=[option]))
    files = dicom_files(tmp_path / "archive")
    assert syntaxes(files) == {one.uid: one.syntax for one in made.values()}
    assert bodies(files) == {one.uid: one.body for one in made.values()}


async def test_storescu_proposing_everything(serving: Any, samples: Samples, tmp_path: Path) -> None:
    """Without -R every storage class is proposed, 128 contexts; the same object twice is stored once."""
    server = await serving(tmp_path)
    command = storescu(server.port, [samples.all[0].path], called="OURS")
    everything = Command(tuple(word for word in command.argv if word != "-R"), command.env)
    await succeed(everything)
    await succeed(everything)
    assert bodies(dicom_files(tmp_path)) == {samples.all[0].uid: samples.all[0].body}


@PLAIN_AND_TLS
@ROOT_AND_LEVEL
async def test_findscu(
    secure: bool,
    root: str,
    level: str,
    serving: Any,
    site: Site,
    filled: Path,
    samples: Samples,
    tmp_path: Path,
) -> None:
    server = await serving(filled, tls=site.server_context() if secure else None)
    keys = identifier(samples.all[0], root, level) | {LEVEL_KEYS[level]: ""}
    command = findscu(
        server.port,
        keys,
        root=root,
        called="OURS",
        tls=site.pki.client if secure else None,
        extra=["-X", "-od", str(tmp_path)],
    )
    await succeed(command)
    found = [dcmread(path, force=True) for path in tmp_path.glob("rsp*")]
    above = {keyword: value for keyword, value in keys.items() if value and keyword in LEVEL_KEYS.values()}
    assert sorted(str(one[LEVEL_KEYS[level]].value) for one in found) == sorted(samples.keys(level, above))
    assert {str(one.QueryRetrieveLevel).strip() for one in found} == {level}
    assert {str(one.RetrieveAETitle).strip() for one in found} == {"OURS"}


async def test_findscu_matching(serving: Any, filled: Path, tmp_path: Path) -> None:
    server = await serving(filled)
    asked = [
        ({"PatientName": "M*"}, {"A1", "A2"}),
        ({"StudyDate": "-20210304"}, {"A1", "A2"}),
        ({"PatientID": "P2", "StudyDate": "20220506"}, {"A3"}),
        ({"AccessionNumber": "A?"}, {"A1", "A2", "A3"}),
        ({"PatientID": "nobody"}, set()),
    ]
    for number, (match, wanted) in enumerate(asked):
        folder = tmp_path / str(number)
        folder.mkdir()
        keys = {"QueryRetrieveLevel": "STUDY", "AccessionNumber": ""} | match
        await succeed(findscu(server.port, keys, called="OURS", extra=["-X", "-od", str(folder)]))
        found = {dcmread(path, force=True).AccessionNumber for path in folder.glob("rsp*")}
        assert found == wanted, match


async def test_findscu_cancelling(serving: Any, filled: Path) -> None:
    server = await serving(filled)
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
    outcome = await findscu(server.port, keys, called="OURS", extra=["--cancel", "1"]).start(timeout=30)
    # the cancel may come when the last match has been sent already: both ends are right (PS3.7 9.3.2.3)
    assert outcome.code == 0, outcome.text
    assert "Cancel" in outcome.text


@ROOT_AND_LEVEL
async def test_getscu(
    root: str, level: str, serving: Any, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    server = await serving(filled)
    sample = samples.all[0] if level in ("SERIES", "IMAGE") else samples.all[-1]
    keys = identifier(sample, root, level)
    outcome = await succeed(getscu(server.port, keys, tmp_path, root=root, called="OURS", extra=["-d"]))
    assert bodies(dicom_files(tmp_path)) == samples.bodies(level, sample.key(level))
    wanted = str(len(samples.below(level, sample.key(level))))
    assert counters(outcome)[-1] == {"Completed": wanted, "Failed": "0", "Warning": "0"}


async def test_getscu_of_what_is_stored_in_implicit_vr(
    serving: Any, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    """getscu proposes the three uncompressed syntaxes in one context for each class."""
    server = await serving(filled)
    sample = samples.all[3]
    keys = identifier(sample, "STUDY", "SERIES")
    outcome = await getscu(server.port, keys, tmp_path, called="OURS", extra=["-d"]).start(timeout=30)
    assert set(bodies(dicom_files(tmp_path))) == {
        one.uid for one in samples.below("SERIES", sample.key("SERIES"))
    }
    assert "0x0000" in outcome.text


@ROOT_AND_LEVEL
async def test_movescu_to_storescp(
    root: str, level: str, serving: Any, filled: Path, site: Site, samples: Samples
) -> None:
    destination = site.storescp()
    server = await serving(filled, destinations={"STORESCP": (HOST, destination.port)})
    sample = samples.all[0]
    await succeed(movescu(server.port, identifier(sample, root, level), "STORESCP", root=root, called="OURS"))
    wanted = samples.below(level, sample.key(level))
    assert bodies(destination.stored_files()) == {one.uid: one.body for one in wanted}


async def test_movescu_to_itself(serving: Any, filled: Path, samples: Samples, tmp_path: Path) -> None:
    port = reserved_port()
    server = await serving(filled, destinations={"MOVESCU": (HOST, port)})
    command = movescu(
        server.port,
        {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"},
        "MOVESCU",
        root="PATIENT",
        called="OURS",
        receive=(port, tmp_path),
        extra=["+xa"],
    )
    await succeed(command)
    assert bodies(dicom_files(tmp_path)) == samples.bodies("PATIENT", "P1")


async def test_movescu_from_our_archive_to_another_of_ours(
    serving: Any, filled: Path, samples: Samples, tmp_path: Path
) -> None:
    other = await serving(tmp_path, ae_title="OTHER")
    server = await serving(filled, destinations={"OTHER": (HOST, other.port)})
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}
    await succeed(movescu(server.port, keys, "OTHER", root="PATIENT", called="OURS"))
    assert bodies(dicom_files(tmp_path)) == samples.bodies("PATIENT", "P1")


async def test_a_move_over_tls(
    serving: Any, filled: Path, site: Site, samples: Samples, tmp_path: Path
) -> None:
    """Our archive as C-STORE user behind TLS; movescu 3.6.7 has none, so the order comes in plain."""
    other = await serving(tmp_path, ae_title="OTHER", tls=site.server_context())
    destination = aiodicom.Destination(HOST, other.port, site.client_context())
    server = await serving(filled, destinations={"OTHER": destination})
    keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}
    await succeed(movescu(server.port, keys, "OTHER", root="PATIENT", called="OURS"))
    assert bodies(dicom_files(tmp_path)) == samples.bodies("PATIENT", "P1")


async def test_a_move_to_a_stranger(serving: Any, filled: Path, samples: Samples) -> None:
    server = await serving(filled)
    keys = identifier(samples.all[0], "STUDY", "STUDY")
    outcome = await movescu(server.port, keys, "STRANGER", called="OURS", extra=["-d"]).start(timeout=30)
    assert outcome.code != 0
    assert "MoveDestinationUnknown" in outcome.text
    assert "0xa801" in outcome.text


async def test_a_move_to_nobody_listening(serving: Any, filled: Path, samples: Samples) -> None:
    server = await serving(filled, destinations={"GONE": (HOST, reserved_port())})
    keys = identifier(samples.all[0], "STUDY", "STUDY")
    outcome = await movescu(server.port, keys, "GONE", called="OURS", extra=["-d"]).start(timeout=30)
    wanted = len(samples.below("STUDY", samples.all[0].key("STUDY")))
    assert "0xa702" in outcome.text, outcome.text
    assert counters(outcome)[-1] == {"Completed": "0", "Failed": str(wanted), "Warning": "0"}


async def test_a_move_to_one_who_takes_the_default_alone(
    serving: Any, filled: Path, samples: Samples, peers: Peers
) -> None:
    """The receiver refuses explicit little endian (PS3.5 10.1): what is stored so is converted for it."""
    require_peer("storescp")
    picky = peers.storescp(accept="+xi")
    server = await serving(filled, destinations={"PICKY": (HOST, picky.port)})
    keys = identifier(samples.all[0], "STUDY", "STUDY")
    outcome = await movescu(server.port, keys, "PICKY", called="OURS", extra=["-d"]).start(timeout=30)
    wanted = samples.below("STUDY", samples.all[0].key("STUDY"))
    assert len({one.syntax for one in wanted}) > 1
    assert bodies(picky.stored_files()) == {one.uid: implicit_body(one) for one in wanted}
    assert counters(outcome)[-1] == {"Completed": str(len(wanted)), "Failed": "0", "Warning": "0"}


def implicit_body(sample: Sample) -> bytes:
    """Its data set in implicit VR, as it is or converted."""
    if sample.syntax == ImplicitVRLittleEndian:
        return sample.body
    done = convert(sample.body, sample.syntax, ImplicitVRLittleEndian)
    return b"".join(part for part, _ in done.parts(memoryview(sample.body), 1 << 20))


def counters(outcome: Outcome) -> list[dict[str, str]]:
    """The sub-operation counters of each response as DCMTK's debug log shows them."""
    found: list[dict[str, str]] = []
    for line in outcome.text.splitlines():
        words = line.removeprefix("D:").split()
        if len(words) >= 4 and words[0] in ("Completed", "Failed", "Warning") and "Suboperations" in words[1]:
            if words[0] == "Completed":
                found.append({})
            found[-1][words[0]] = words[-1]
    return found


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--user", "ann"], (1, b"ann", b"")),
        (["--user", "ann", "--password", "secret"], (2, b"ann", b"secret")),
        (["--jwt", "FILE"], (5, b"a.b.c", b"")),
    ],
    ids=["name", "passcode", "jwt"],
)
@pytest.mark.parametrize("respond", [False, True], ids=["silent", "response"])
async def test_storescus_user_identity(
    options: list[str],
    wanted: tuple[int, bytes, bytes],
    respond: bool,
    serving: Any,
    samples: Samples,
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"a.b.c")
    options = [str(token) if word == "FILE" else word for word in options]
    seen: list[aiodicom.UserIdentityRQ] = []

    async def judge(identity: aiodicom.UserIdentityRQ, caller: Any) -> aiodicom.UserIdentityAC | None:
        seen.append(identity)
        return aiodicom.UserIdentityAC(b"welcome")

    server = await serving(tmp_path / "archive", access=aiodicom.Access(identity=judge))
    if respond:
        options.append("--pos-response")
    await succeed(storescu(server.port, [samples.all[0].path], called="OURS", extra=options))
    (identity,) = seen
    assert (identity.identity_type, identity.primary_field, identity.secondary_field) == wanted
    assert identity.positive_response_requested is respond


async def test_one_client_after_another_and_together(
    serving: Any, site: Site, samples: Samples, tmp_path: Path
) -> None:
    """What storescu stored our client finds and gets, and the archive still has it when served again."""
    server = await serving(tmp_path / "archive")
    await succeed(storescu(server.port, [samples.all[0].path, samples.all[1].path], called="OURS"))
    await server.close()
    again = await serving(tmp_path / "archive")
    async with aiodicom.connect(HOST, again.port) as pacs:
        result = await pacs.get("PATIENT", "P1", directory=tmp_path / "got")
    assert result.ok
    assert bodies(result.files) == {one.uid: one.body for one in samples.all[:2]}
