"""The file of nodes: what it may say, and that whatever else it says is refused by name."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import aiodicom
import pytest
from aiodicom.client import nodes as module
from aiodicom.client.nodes import Node, NodeError, find_node, nodes_file, read_nodes

HEAD = '[nodes.pacs]\nhost = "pacs.example.org"\nport = 104\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is read without a path."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv(module.CONFIG_VARIABLE, str(path))
    return path


def test_a_node_has_defaults_and_knows_what_was_given(write: Path) -> None:
    write.write_text(HEAD)
    node = read_nodes()["pacs"]
    assert (node.name, node.host, node.port, node.protected) == ("pacs", "pacs.example.org", 104, False)
    assert node.given == {"host", "port"}
    assert node.peer() == aiodicom.connect("pacs.example.org", 104).peer


def test_every_member_is_read(write: Path) -> None:
    (write.parent / "authority.pem").touch()
    (write.parent / "own.pem").touch()
    limits = dataclasses.fields(aiodicom.Timeouts)
    write.write_text(
        HEAD + 'called_ae = " PACS "\ncalling_ae = "WS"\ntls = true\ntrusted = "authority.pem"\n'
        'cert = "own.pem"\nkey = "own.pem"\ntls_profile = "bcp195-modified"\nverify_host = false\n'
        'user = "me"\ndicomweb = "https://pacs.example.org/rs"\ndicomweb_authorization = "PACS_TOKEN"\n'
        'dicomweb_trusted = "authority.pem"\n'
        '[nodes.pacs.timeouts]\ninactivity = "off"\nassociation = 1.5\n'
        + "".join(
            f"{field.name} = 7\n" for field in limits if field.name not in ("inactivity", "association")
        )
    )
    with write.open("a") as file:
        file.write('[nodes.pacs.quirks]\ncharacter_set = "ISO_IR 192"\ncancel = false\ncap = 200\n')
        file.write('roots = ["STUDY"]\nmethods = ["move", "web"]\nrelational = false\n')
        file.write("roles = true\nwindow = false\n")
    node = find_node("@pacs")
    fields = {field.name for field in dataclasses.fields(Node)} - {"name", "given", "timeouts", "quirks"}
    quirks = {f"quirks.{field.name}" for field in dataclasses.fields(aiodicom.Quirks)}
    assert node.given == fields | quirks | {f"timeouts.{field.name}" for field in limits}  # none is forgotten
    assert node.quirks == aiodicom.Quirks(
        "ISO_IR 192",
        cancel=False,
        cap=200,
        roots=(aiodicom.Root.STUDY,),
        methods=("move", "web"),
        relational=False,
        roles=True,
        window=False,
    )
    assert (node.called_ae, node.calling_ae, node.user, node.verify_host) == ("PACS", "WS", "me", False)
    assert node.trusted == write.parent / "authority.pem"  # beside the file, not where we stand
    sevens = {field.name: 7.0 for field in limits}
    assert node.timeouts == aiodicom.Timeouts(**{**sevens, "inactivity": None, "association": 1.5})
    assert node.protected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no host"),
        ('host = "a"', "has no port"),
        ('host = "a"\nport = 0', "port is 0"),
        ('host = "a"\nport = 65536', "65536, which is no port"),
        ('host = "a"\nport = "104"', "'104', which is no port"),
        ('host = "a"\nport = true', "True, which is no port"),
        ('host = ""\nport = 1', "host is ''"),
        ("host = 7\nport = 1", "host is 7"),
        ('host = "a"\nport = 1\ncaled_ae = "X"', "did you mean called_ae?"),
        ('host = "a"\nport = 1\nxyz = "X"', "xyz is nothing a node has"),
        ('host = "a"\nport = 1\ncalled_ae = "TITLE LONGER THAN 16"', "is no AE title"),
        ('host = "a"\nport = 1\ncalling_ae = "Ä"', "is no AE title"),
        ('host = "a"\nport = 1\ntls = "yes"', "neither true nor false"),
        ('host = "a"\nport = 1\ntrusted = "absent.pem"', "which does not exist"),
        ('host = "a"\nport = 1\ntls_profile = "none"', "none of bcp195"),
        ('host = "a"\nport = 1\ntls = false\nverify_host = false', "tls is false beside"),
        ('host = "a"\nport = 1\nkey = "config.toml"', "key needs a cert"),
        ('host = "a"\nport = 1\nquirks.cap = 0', "no number from 1 up"),
        ('host = "a"\nport = 1\nquirks.cap = true', "no number from 1 up"),
        ('host = "a"\nport = 1\nquirks.cancel = 1', "neither true nor false"),
        ('host = "a"\nport = 1\nquirks.caps = 1', "did you mean cap?"),
        ('host = "a"\nport = 1\nquirks.roots = "STUDY"', "no list of PATIENT, STUDY"),
        ('host = "a"\nport = 1\nquirks.roots = ["study"]', "no list of PATIENT, STUDY"),
        ('host = "a"\nport = 1\nquirks.roots = []', "no list of PATIENT, STUDY"),
        ('host = "a"\nport = 1\nquirks.methods = ["get", "get"]', "no list of get, move, web"),
        ('host = "a"\nport = 1\nquirks.methods = [1]', "no list of get, move, web"),
        ('host = "a"\nport = 1\nquirks.methods = [["get"]]', "no list of get, move, web"),
        ('host = "a"\nport = 1\nquirks.window = 1', "neither true nor false"),
        ('host = "a"\nport = 1\ndicomweb = "pacs"', "dicomweb is no address"),
        ('host = "a"\nport = 1\ndicomweb = 3', "dicomweb is 3"),
        ('host = "a"\nport = 1\ndicomweb_authorization = "TOKEN"', "needs a dicomweb address"),
        ('host = "a"\nport = 1\ndicomweb_trusted = "config.toml"', "needs a dicomweb address"),
        ('host = "a"\nport = 1\ntimeouts = 3', "timeouts is no table"),
        ('host = "a"\nport = 1\ntimeouts.conect = 3', "did you mean connect?"),
        ('host = "a"\nport = 1\ntimeouts.connect = "soon"', "no number of seconds"),
        ('host = "a"\nport = 1\ntimeouts.connect = -1', "no number of seconds"),
        ('host = "a"\nport = 1\ntimeouts.connect = nan', "no number of seconds"),
        ('host = "a"\nport = 1\ntimeouts.connect = true', "no number of seconds"),
        ('host = "a"\nport = 1\ntimeouts.artim = "off"', "no number of seconds"),
    ],
)
def test_what_a_node_cannot_mean_is_named(write: Path, text: str, words: str) -> None:
    write.write_text("[nodes.pacs]\n" + text)
    with pytest.raises(NodeError) as caught:
        read_nodes()
    assert words in str(caught.value)
    assert "[nodes.pacs]" in str(caught.value)
    assert str(write) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[nodes", "no TOML"),
        (b"\xff\xfe", "no TOML"),
        (b"nodes = 3", "nodes is no table"),
        (b"nodes.pacs = 3", "is no table"),
        (b"#" * (module.MAXIMUM_FILE + 1), "larger than"),
    ],
)
def test_a_file_that_is_none_is_told(write: Path, content: bytes, words: str) -> None:
    write.write_bytes(content)
    with pytest.raises(NodeError, match=words):
        read_nodes()


@pytest.mark.parametrize(
    "lines",
    [
        'dicomweb = "https://me:SECRET@pacs/rs"',
        'dicomweb = "https://pacs/rs?token=SECRET"',
        'dicomweb = "https://pacs/rs"\ndicomweb_authorization = "Bearer SECRET"',
    ],
)
def test_a_secret_has_no_place_in_the_file_and_is_not_repeated(write: Path, lines: str) -> None:
    write.write_text(HEAD + lines)
    with pytest.raises(NodeError, match="dicomweb") as caught:
        read_nodes()
    assert "SECRET" not in str(caught.value)


def test_where_a_node_offers_dicomweb(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.write_text(HEAD)
    assert find_node("pacs").web() is None
    lines = 'dicomweb = "http://pacs/rs"\ndicomweb_authorization = "PACS_TOKEN"\n'
    write.write_text(HEAD + lines)
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    web = aiodicom.connect("@pacs").dicomweb  # what else is asked of the peer needs no secret
    assert web is not None
    assert web.url == "http://pacs/rs"
    with pytest.raises(aiodicom.QueryError, match="no PACS_TOKEN"):
        web.header()
    monkeypatch.setenv("PACS_TOKEN", "Bearer x")
    assert web.header() == {"Authorization": "Bearer x"}
    write.write_text(HEAD + 'dicomweb = "https://pacs/rs"\n')
    web = find_node("pacs").web()
    assert web is not None
    assert web.tls is not None
    assert not find_node("pacs").protected  # the DICOM port is another matter
    other = aiodicom.connect("@pacs", dicomweb="https://other/rs").dicomweb
    assert other is not None
    assert other.url == "https://other/rs"


def test_other_tables_are_for_others(write: Path) -> None:
    write.write_text("[defaults]\nx = 1\n" + HEAD)
    assert list(read_nodes()) == ["pacs"]


def test_an_absent_file_is_no_nodes_unless_it_was_named(
    write: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NodeError, match="no such file"):
        read_nodes()
    with pytest.raises(NodeError, match="no such file"):
        read_nodes(tmp_path / "other.toml")
    monkeypatch.delenv(module.CONFIG_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "empty"))
    assert read_nodes() == {}
    assert nodes_file() == tmp_path / "empty" / "aiodicom" / "config.toml"
    with pytest.raises(NodeError, match=r"holds no \[nodes\.pacs\]"):
        find_node("@pacs")


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(NodeError):
        read_nodes(tmp_path)


def test_a_name_nearly_right_is_guessed(write: Path) -> None:
    write.write_text(HEAD)
    with pytest.raises(NodeError, match="did you mean @pacs"):
        find_node("pac")
    with pytest.raises(NodeError, match="there are @pacs"):
        find_node("orthanc")


@pytest.mark.skipif(sys.platform == "win32", reason="no HOME there")
def test_without_a_variable_it_is_where_such_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.CONFIG_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert nodes_file() == Path("/home/me/.config/aiodicom/config.toml")


def test_connect_takes_a_node_and_what_is_given_beside_it_counts(write: Path) -> None:
    write.write_text(HEAD + 'called_ae = "PACS"\ncalling_ae = "WS"\nuser = "me"\ntimeouts.connect = 5\n')
    peer = aiodicom.connect("@pacs").peer
    assert peer == find_node("pacs").peer()
    assert peer.timeouts.connect == 5
    other = aiodicom.connect("@pacs", 11112, called_ae="OTHER", timeouts=aiodicom.Timeouts()).peer
    assert (other.port, other.called_ae, other.calling_ae) == (11112, "OTHER", "WS")
    assert other.timeouts == aiodicom.Timeouts()


def test_quirks_come_with_a_node(write: Path) -> None:
    write.write_text(HEAD + "quirks.cap = 200\n")
    assert aiodicom.connect("@pacs").quirks == aiodicom.Quirks(cap=200)
    assert aiodicom.create_pool("@pacs").quirks == aiodicom.Quirks(cap=200)
    assert aiodicom.connect("@pacs", quirks=aiodicom.Quirks()).quirks == aiodicom.Quirks()


def test_connect_without_a_port_or_with_an_unknown_node_is_refused_at_once(write: Path) -> None:
    write.write_text(HEAD)
    with pytest.raises(TypeError, match="needs a port"):
        aiodicom.connect("pacs")
    with pytest.raises(NodeError):
        aiodicom.connect("@other")


def test_an_address_in_brackets_is_one() -> None:
    assert aiodicom.connect("[::1]", 104).peer.host == "::1"
