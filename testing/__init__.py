"""For tests of one's own: a PACS with scripted faults, a peer that follows a script, a proxy that breaks.

`dicom_pacs` is a pytest fixture that is there when aiodicom is installed; the rest is imported from here.
"""

from __future__ import annotations

from .fake_pacs import FakePacs, ct
from .faults import CATALOGUE, Fault, on
from .proxy import PASS, Direction, FaultProxy, Faults, Plan, ProxiedConnection, chaos
from .scripted import Message, ScriptedListener, ScriptedPeer
from .values import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    ScriptError,
    announces_data,
    associate_accept,
    associate_request,
    command_set,
    message_pdvs,
)

__all__ = [
    "CATALOGUE",
    "IMPLICIT_VR_LITTLE_ENDIAN",
    "PASS",
    "Direction",
    "FakePacs",
    "Fault",
    "FaultProxy",
    "Faults",
    "Message",
    "Plan",
    "ProxiedConnection",
    "ScriptError",
    "ScriptedListener",
    "ScriptedPeer",
    "announces_data",
    "associate_accept",
    "associate_request",
    "chaos",
    "command_set",
    "ct",
    "message_pdvs",
    "on",
]
