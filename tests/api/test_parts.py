"""Flags of dataclass fields, what reaches the terminal, and the way in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import click
import pytest
from aiodicom import __main__ as door
from aiodicom.association.timeouts import Timeouts
from aiodicom.cli.app import cli
from aiodicom.cli.exits import MEANINGS, Code
from aiodicom.cli.fields import Amount, field_options, flags_of, take_fields
from aiodicom.cli.find import split_keys
from aiodicom.cli.output import dataset as dataset_json
from aiodicom.cli.terminal import clean, size
from aiodicom.pdu.types import UserInformation
from aiodicom.server.limits import ServerLimits
from aiodicom.testing import ScriptedListener
from pydicom.dataset import Dataset
from wire import accepted, hear, reply

from .conftest import Invoke
from .test_exit_codes import against

CLIENT_COMMANDS = ("echo", "store", "find", "get", "move", "diagnose")


JUDGE = "conformance"
"""The judge of others has exit codes of its own (findings, not an association's end) and tells those."""

COMMANDS = [name for name in cli.list_commands(click.Context(cli)) if name != JUDGE]


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(command: str) -> dict[str, click.Parameter]:
    return {name: parameter for parameter in command_of(command).params for name in parameter.opts}


@pytest.mark.parametrize("command", CLIENT_COMMANDS)
def test_every_timeout_is_a_flag_of_every_client_command(command: str) -> None:
    found = options(command)
    for one in dataclasses.fields(Timeouts):
        flag = found[f"--{one.name.replace('_', '-')}-timeout"]
        assert isinstance(flag, click.Option)
        assert flag.default == one.default
        assert flag.help
        assert not flag.help.startswith(" [default")


def test_every_limit_is_a_flag_of_serve() -> None:
    found = options("serve")
    for one in dataclasses.fields(ServerLimits):
        flag = found[f"--{one.name.replace('_', '-')}"]
        assert isinstance(flag, click.Option)
        assert flag.help
        assert not flag.help.startswith(" [default")


@pytest.mark.parametrize("command", CLIENT_COMMANDS)
def test_every_client_command_has_tls_titles_and_json(command: str) -> None:
    wanted = {"--tls", "--key", "--cert", "--trusted", "--no-verify-host", "--calling", "--called", "--json"}
    assert wanted <= options(command).keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_the_exit_codes(invoke: Invoke, command: str) -> None:
    result = invoke(command, "--help")
    assert result.code == 0
    shown = " ".join(result.out.split())
    for code in Code:
        assert f"{int(code)} {MEANINGS[code]}" in shown


def test_the_judge_tells_its_own_exit_codes(invoke: Invoke) -> None:
    shown = " ".join(invoke(JUDGE, "--help").out.split())
    for code in (
        "0 nothing unexpected",
        "2 usage",
        "3 not reachable",
        "4 the sanity case failed",
        "70 a case of ours",
    ):
        assert code in shown


@dataclass(frozen=True)
class _Inner:
    depth: int | None = 3


@dataclass(frozen=True)
class _Outer:
    """wait: how long.
    size: how much.
    """

    wait: float | None = 1.5
    size: int = 10
    strict: bool = True
    inner: _Inner = field(default_factory=_Inner)


def test_flags_give_the_dataclass_back() -> None:
    assert {flag.option: flag.help for flag in flags_of(_Outer)} == {
        "--wait": "How long.",
        "--size": "How much.",
        "--strict": "",
        "--depth": "",
    }
    made: list[_Outer] = []

    @click.command()
    @field_options(_Outer)
    def command(**values: object) -> None:
        made.append(take_fields(_Outer, values))
        assert values == {}

    command.main([], standalone_mode=False)
    command.main(["--wait", "off", "--size", "2 MiB", "--no-strict", "--depth", "7"], standalone_mode=False)
    assert made == [_Outer(), _Outer(None, 2 * 1024 * 1024, False, _Inner(7))]


@pytest.mark.parametrize(
    ("amount", "text", "value"),
    [
        (Amount(float, True, "seconds"), "2.5", 2.5),
        (Amount(float, True, "seconds"), "off", None),
        (Amount(int, False, "bytes"), "64kB", 64_000),
        (Amount(int, False, "bytes"), "1GiB", 1 << 30),
        (Amount(int, False, "count"), "12", 12),
    ],
)
def test_amounts(amount: Amount, text: str, value: float | None) -> None:
    assert amount.parse(text) == value


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(float, False, "seconds"), "off"),
        (Amount(float, True, "seconds"), "nan"),
        (Amount(float, True, "seconds"), "inf"),
        (Amount(float, True, "seconds"), "-1"),
        (Amount(int, False, "count"), "1k"),
        (Amount(int, False, "bytes"), "1.5"),
        (Amount(int, False, "bytes"), ""),
    ],
)
def test_amounts_that_are_none(amount: Amount, text: str) -> None:
    with pytest.raises(click.BadParameter):
        amount.parse(text)


# --- what reaches the terminal


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Müller^Jörg", "Müller^Jörg"),
        ("山田^太郎", "山田^太郎"),
        ("山田\u3000太郎", "山田\u3000太郎"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff.dcm", "\\udcff.dcm"),
    ],
)
def test_clean(raw: str, shown: str) -> None:
    assert clean(raw) == shown


async def test_a_peer_cannot_write_to_the_terminal(invoke: Invoke) -> None:
    found = Dataset()
    found.PatientName = "Evil^\x1b]0;owned\x07\x1b[2J"
    found.PatientID = "1\r\n2"

    async def script(listener: ScriptedListener) -> None:
        peer, _ = await accepted(
            listener, user_information=UserInformation(implementation_version_name="\x1b[2JX")
        )
        heard = await hear(peer)
        await reply(peer, heard, 0xFF00, found)
        await reply(peer, heard, 0)
        await peer.answer_release()

    for arguments in ((), ("--json",), ("-v",)):
        result = await against(script, invoke, "find", "--return", "PatientName,PatientID", *arguments)
        assert result.code == 0, result.err
        assert "Evil" in result.out
        assert not {"\x1b", "\x07", "\r"} & set(result.out + result.err)


def test_values_as_json() -> None:
    found = Dataset()
    found.PatientName = "A^B"
    found.ImageType = ["ORIGINAL", "PRIMARY"]
    found.Rows = 5
    found.PixelSpacing = ["0.5", "0.25"]
    found.InstanceNumber = "7"
    found.StudyDate = ""
    item = Dataset()
    item.CodeValue = "T-1"
    found.ProcedureCodeSequence = [item]
    found.add_new(0x00091001, "UN", b"\1\2")
    assert dataset_json(found) == {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "StudyDate": None,
        "ProcedureCodeSequence": [{"CodeValue": "T-1"}],
        "00091001": {"base64": "AQI="},
        "PatientName": "A^B",
        "InstanceNumber": 7,
        "Rows": 5,
        "PixelSpacing": [0.5, 0.25],
    }


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (11_557_562, "11.6 MB"), (2e9, "2.00 GB")]
)
def test_sizes(count: float, shown: str) -> None:
    assert size(count) == shown


# --- the way in


def test_without_click_the_command_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(door, "find_spec", lambda name: None)
    assert door.main() == 2
    assert capsys.readouterr().err == "the command line needs: pip install 'aiodicom[cli]'\n"


def test_no_command_and_an_unknown_one(invoke: Invoke) -> None:
    assert invoke("--version").out.startswith("aiodicom, version ")
    result = invoke("ecco")
    assert result.code == 2
    assert "No such command 'ecco'" in result.err


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("StudyDate,StudyTime", ["StudyDate", "StudyTime"]),
        ("0008,0050", ["0008,0050"]),
        ("StudyDate, 0008,0050,0010,0010 ,PatientID", ["StudyDate", "0008,0050", "0010,0010", "PatientID"]),
        ("(0008,0050),A.0040,0009,B.C", ["(0008,0050)", "A.0040,0009", "B.C"]),
        ("xface,0008,0050", ["xface", "0008,0050"]),
        (",, ", []),
    ],
)
def test_keys_with_commas_between_and_inside(text: str, keys: list[str]) -> None:
    assert split_keys(text) == keys
