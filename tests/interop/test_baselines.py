"""Runs over the real peers with the baselines that come with the kit are clean."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiodicom.conformance import Effect, Profile, baseline, cases, run_scp
from aiodicom.conformance.caller import CommandCaller
from aiodicom.conformance.calling import run_scu
from interop import peers

EVERYTHING = frozenset(Effect)
# A part of the cases: whole runs wait for every answer that does not come (`judge.py` makes them).
PART = (
    "group:sanity,group:accept,group:reject,group:transport,ps3.8/9.2.3/sta6-*,ps3.8/9.3.2.2/*"
    ",!ps3.8/9.3.2.2/no-*"
)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("dcmtk-3.6.7-storescp", peers.storescp),
        ("dcmtk-3.6.7-dcmqrscp", peers.dcmqrscp),
        ("orthanc-1.10.1", peers.orthanc),
    ],
)
def test_a_server(name: str, start: object, tmp_path: Path) -> None:
    assert callable(start)
    with start(tmp_path / "peer") as peer:
        profile = Profile(port=peer.port, called_ae=peer.ae_title, allow=EVERYTHING)
        run = asyncio.run(run_scp(profile, cases(PART)))
    baseline.apply(run, baseline.load(name))
    assert [(r.case.id, r.verdict, r.outcome, r.repeats) for r in run.findings()] == []
    assert run.exit_code == 0, run.gone


@pytest.mark.peers
def test_a_client() -> None:
    peers.require_peer("echoscu")
    caller = CommandCaller("echoscu {host} {port}")
    chosen = cases("group:sanity,group:reject,ps3.8/9.2.3/sta7-*", role="scu")
    run = asyncio.run(run_scu(Profile(allow=EVERYTHING), caller, chosen))
    baseline.apply(run, baseline.load("dcmtk-3.6.7-echoscu"))
    assert [(r.case.id, r.verdict, r.outcome, r.repeats) for r in run.findings()] == []
    assert run.exit_code == 0, run.gone
