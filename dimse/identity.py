"""Who we are on the wire and in file meta information (PS3.7 D.3.3.2, PS3.10 7.1)."""

from __future__ import annotations

IMPLEMENTATION_CLASS_UID = "2.25.92551082286868134914473324713250467599"
IMPLEMENTATION_VERSION_NAME = "AIODICOM_0_1"
