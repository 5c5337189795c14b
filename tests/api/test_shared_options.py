"""What commands share: nodes in the place of HOST PORT, variables of the environment, help in sections."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from aiodicom.cli.app import cli

from .conftest import COMMAND, Files, Invoke, Served


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("AIODICOM_CONFIG", str(path))
    return path


def node(port: int, *lines: str) -> str:
    return "\n".join(["[nodes.here]", 'host = "127.0.0.1"', f"port = {port}", *lines, ""])


def test_every_command_that_connects_takes_a_node(
    invoke: Invoke, archive: Served, config: Path, series: Path, tmp_path: Path
) -> None:
    config.write_text(node(archive.port, 'called_ae = "ARCHIVE"'))
    assert invoke("echo", "@here").out.startswith(f"ARCHIVE at 127.0.0.1:{archive.port}")
    assert invoke("store", "@here", series).code == 0
    found = invoke("find", "--level", "STUDY", "@here", "PatientName=*", "--json")
    assert found.code == 0
    uid = json.loads(found.out.splitlines()[0])["StudyInstanceUID"]
    assert invoke("get", "@here", "--level", "STUDY", uid, "--out", tmp_path / "out").code == 0
    assert invoke("diagnose", "@here", "--json").json()["info"]["called_ae"] == "ARCHIVE"


def test_the_command_line_goes_before_the_environment_and_that_before_the_node(
    invoke: Invoke, archive: Served, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(node(archive.port, 'called_ae = "NODE"'))

    def called(*arguments: object) -> str:
        return str(invoke("echo", "@here", "--json", *arguments).json()["connection"]["called_ae"])

    assert called() == "NODE"
    monkeypatch.setenv("AIODICOM_CALLED", "SHARED")
    assert called() == "SHARED"
    monkeypatch.setenv("AIODICOM_ECHO_CALLED", "OWN")
    assert called() == "OWN"
    assert called("--called", "LINE") == "LINE"


def test_a_node_brings_its_certificates(
    invoke: Invoke, secure_archive: Served, config: Path, pem: Files
) -> None:
    text = node(
        secure_archive.port,
        'called_ae = "SECURE"',
        f'trusted = "{pem.trusted}"',
        f'cert = "{pem.client_cert}"',
        f'key = "{pem.client_key}"',
    ).replace("127.0.0.1", "localhost")
    config.write_text(text)
    assert invoke("echo", "@here", "--json").json()["connection"]["tls"]["verified"] is True


def test_a_limit_switched_off_by_a_node_is_off(invoke: Invoke, archive: Served, config: Path) -> None:
    config.write_text(node(archive.port, 'timeouts.inactivity = "off"', "timeouts.connect = 3"))
    assert invoke("echo", "@here").code == 0


@pytest.mark.parametrize("name", ["echo", "find", "diagnose"])
def test_a_node_nobody_knows_is_wrong_usage(invoke: Invoke, config: Path, name: str) -> None:
    config.write_text(node(104))
    result = invoke(name, "@her")
    assert result.code == 2
    assert "did you mean @here?" in result.err


def test_an_unusable_file_is_told_without_a_traceback(invoke: Invoke, config: Path) -> None:
    config.write_text("[nodes.here]\nhost = 3\nport = 1")
    for command in (("echo", "@here"), ("nodes",)):
        result = invoke(*command)
        assert result.code == 2
        assert "[nodes.here] host is 3" in result.err
        assert "Traceback" not in result.err


def test_nodes_are_listed(invoke: Invoke, config: Path) -> None:
    config.write_text(node(104, 'called_ae = "PACS"'))
    assert "@here" in invoke("nodes").out
    found = invoke("nodes", "--json").json()
    assert found["file"] == str(config)
    assert found["nodes"][0]["called_ae"] == "PACS"
    config.write_text("")
    assert invoke("nodes").out.startswith("no nodes: ")


def test_a_service_of_a_cluster_named_like_us_sets_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIODICOM_PORT", "tcp://10.0.0.1:104")
    serve = cli.get_command(click.Context(cli), "serve")
    assert serve is not None
    with serve.make_context("serve", ["folder"], parent=click.Context(cli, info_name="aiodicom")) as ctx:
        assert isinstance(ctx.params["port"], int)
    monkeypatch.setenv("AIODICOM_SERVE_PORT", "1234")
    with serve.make_context("serve", ["folder"], parent=click.Context(cli, info_name="aiodicom")) as ctx:
        assert ctx.params["port"] == 1234


def commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(path: str, group: click.Group) -> None:
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            if isinstance(command, click.Group):
                walk(f"{path} {name}", command)
            else:
                found.append((f"{path} {name}", command))

    walk("aiodicom", cli)
    return found


@pytest.mark.parametrize(("path", "command"), commands(), ids=[path for path, _ in commands()])
def test_help_names_every_option_once_and_own_options_first(
    invoke: Invoke, path: str, command: click.Command
) -> None:
    result = invoke(*path.split()[1:], "--help")
    assert result.code == 0
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            option = max(parameter.opts, key=len)
            lines = [line for line in result.out.splitlines() if line.startswith("  -")]
            heads = [line.strip().partition("  ")[0] for line in lines]
            shown = [head for head in heads if option in head.replace(",", " ").split()]
            assert len(shown) == 1, (option, shown)
    titles = [line for line in result.out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    known = ["Options:", "Connection:", "Security:", "Limits:", "General:"]
    assert titles == [one for one in known if one in titles]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(invoke: Invoke, shell: str) -> None:
    result = invoke("completion", shell)
    assert result.code == 0
    assert "_AIODICOM_COMPLETE" in result.out


def complete(line: str, config: Path) -> list[str]:
    """What bash would be offered for the last word of a line."""
    words = line.split(" ")
    environment = {
        "_AIODICOM_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "AIODICOM_CONFIG": str(config),
        "PATH": "/usr/bin:/bin",
    }
    code = "from aiodicom.__main__ import main; raise SystemExit(main())"
    run = subprocess.run(
        [COMMAND[0], "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return [one.partition(",")[2] for one in run.stdout.splitlines() if one]


def test_commands_and_nodes_are_completed(config: Path) -> None:
    config.write_text(node(104))
    assert complete("aiodicom di", config) == ["diagnose"]
    assert complete("aiodicom echo @h", config) == ["@here"]
    assert complete("aiodicom echo @x", config) == []
    config.write_text("no toml")
    assert complete("aiodicom echo @h", config) == []


def test_keywords_are_completed(config: Path) -> None:
    config.write_text(node(104))
    assert complete("aiodicom find @here StudyDat", config) == ["StudyDate"]
    assert complete("aiodicom find there 104 StudyDat", config) == ["StudyDate"]
    assert complete("aiodicom find @here --return PatientID,StudyDat", config) == ["PatientID,StudyDate"]


def every_command(group: click.Group, above: click.Context | None, name: str) -> Iterator[click.Context]:
    context = group.make_context(name, [], parent=above, resilient_parsing=True)
    for one in group.list_commands(context):
        command = group.get_command(context, one)
        assert command is not None
        if isinstance(command, click.Group):
            yield from every_command(command, context, one)
        else:
            yield command.make_context(one, [], parent=context, resilient_parsing=True)


def test_every_option_of_every_command_has_its_variable() -> None:
    contexts = {context.command_path: context for context in every_command(cli, None, "aiodicom")}
    assert {"aiodicom show", "aiodicom archive conflicts", "aiodicom conformance scp"} <= contexts.keys()
    for path, context in contexts.items():
        for option in context.command.params:
            if isinstance(option, click.Option):
                assert option.envvar, f"{path} {option.opts}"


def test_an_option_is_set_by_the_environment(
    invoke: Invoke, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIODICOM_SHOW_PNG", str(tmp_path / "shown.png"))
    assert invoke("show", next(series.iterdir())).code == 0
    assert (tmp_path / "shown.png").read_bytes().startswith(b"\x89PNG")
