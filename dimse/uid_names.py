"""The names of the UIDs that every association shows (PS3.6 Annex A).

pydicom has all of them, and takes 0.2 s to load.
"""

from __future__ import annotations

UID_NAMES = {
    "1.2.840.10008.1.1": "Verification SOP Class",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.5.1.4.1.2.1.1": "Patient Root Query/Retrieve Information Model - FIND",
    "1.2.840.10008.5.1.4.1.2.1.2": "Patient Root Query/Retrieve Information Model - MOVE",
    "1.2.840.10008.5.1.4.1.2.1.3": "Patient Root Query/Retrieve Information Model - GET",
    "1.2.840.10008.5.1.4.1.2.2.1": "Study Root Query/Retrieve Information Model - FIND",
    "1.2.840.10008.5.1.4.1.2.2.2": "Study Root Query/Retrieve Information Model - MOVE",
    "1.2.840.10008.5.1.4.1.2.2.3": "Study Root Query/Retrieve Information Model - GET",
}


def uid_name(uid: str) -> str:
    """The name the standard gives a UID; the UID itself when it gives none."""
    name = UID_NAMES.get(uid)
    if name is None:
        from pydicom.uid import UID

        name = str(UID(uid).name)
    return name
