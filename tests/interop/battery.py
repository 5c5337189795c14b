"""A hundred queries against an archive of real headers, and the answers that PS3.4 has for them.

An archive holds fourteen studies, one letter each. A query's answer is written as the letters of what it
found, one for each answer in order (patients by the letter of their first study): ``AAW`` are two series or
images of A and one of W. A refusal is its status, as ``A900``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

STUDIES: dict[str, tuple[str, int]] = {
    "A": ("ct_axial_head", 2),
    "C": ("img_float", 1),
    "D": ("charsets/chrJapMulti.dcm", 1),
    "E": ("mr_4d_fmri_ge", 2),
    "F": ("charsets/chrFren.dcm", 1),
    "G": ("charsets/chrGerm.dcm", 1),
    "H": ("mr_sagittal", 2),
    "J": ("charsets/chrH31.dcm", 1),
    "K": ("mr_uncompressed_same", 2),
    "N": ("mr_multi_echo", 2),
    "R": ("rtdose_multiframe", 1),
    "S": ("mr_survey_three_planes", 2),
    "V": ("img_overlay", 1),
    "W": ("mr_coronal", 2),
}
"""Letter: folder or file below the real data, and how many of its objects. E and K are of one patient."""

KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


@dataclass(slots=True)
class Holdings:
    """The objects, and the letter of every unique key."""

    files: list[Path] = field(default_factory=list)
    letters: dict[str, dict[str, str]] = field(default_factory=lambda: {level: {} for level in KEYS})
    headers: dict[str, list[Dataset]] = field(default_factory=dict)

    def key(self, level: str, letter: str, number: int = 0) -> str:
        """The unique key of an object of a study."""
        return str(self.headers[letter][number][KEYS[level]].value)


def hold(data: Path) -> Holdings:
    """What is taken of the real data."""
    found = Holdings()
    for letter, (name, count) in STUDIES.items():
        place = data / name
        files = [place] if place.is_file() else sorted(place.glob("*.dcm"))[:count]
        found.files += files
        found.headers[letter] = [dcmread(file, stop_before_pixels=True) for file in files]
        for header in found.headers[letter]:
            for level, keyword in KEYS.items():
                found.letters[level].setdefault(str(header[keyword].value), letter)
    return found


@dataclass(frozen=True, slots=True)
class Query:
    """One of the hundred. In a value, ``{A}`` is the unique key of the level's keyword of study A, ``{A1}``
    that of its second object; ``A.B`` is B in an item of A. `charset`: what the identifier is written in."""

    root: str
    level: str
    match: Mapping[str, str]
    want: str
    charset: str = ""

    @property
    def name(self) -> str:
        keys = " ".join(f"{key}={value}" for key, value in self.match.items()) or "everything"
        charset = f" in {self.charset}" if self.charset else ""
        return f"{self.root[0]}/{self.level} {keys}{charset}"


def _of(root: str, level: str, rows: list[tuple[dict[str, str], str]], **more: str) -> Iterator[Query]:
    for match, want in rows:
        yield Query(root, level, match, want, **more)


SERIES_A = {"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{A}"}
SERIES_W = {"StudyInstanceUID": "{W}", "SeriesInstanceUID": "{W}"}
REQUEST = "RequestAttributesSequence"
ALL = "ACDEFGHJKNRSVW"
PATIENTS = "ACDEFGHJNRSVW"

TOP_PATIENT: list[tuple[dict[str, str], str]] = [
    ({}, PATIENTS),
    ({"PatientID": "8775070"}, "A"),
    ({"PatientID": "*"}, PATIENTS),
    ({"PatientID": "SCS*"}, "FG"),
    ({"PatientID": "SCSGERM*"}, "G"),
    ({"PatientID": "*11111"}, "R"),
    ({"PatientID": "?CSGERM"}, "G"),
    ({"PatientID": "583???"}, "W"),
    ({"PatientID": "583??"}, ""),
    ({"PatientName": "DOE^J1"}, "W"),
    ({"PatientName": "DOE*"}, "W"),
    ({"PatientName": "*Firstname"}, "R"),
    ({"PatientName": "Last????^First*"}, "R"),
    ({"PatientSex": "F"}, ""),
    ({"PatientSex": "O"}, "CNR"),
    ({"PatientBirthDate": "19700930"}, "S"),
    ({"PatientBirthDate": "19700101-19701231"}, "HS"),
    ({"PatientBirthDate": "20140101-"}, "E"),
    ({"PatientBirthDate": "-19691231"}, "DV"),
    ({"PatientName": "doe^j1"}, "W"),
]
TOP_STUDY: list[tuple[dict[str, str], str]] = [
    ({}, ALL),
    ({"PatientID": "dicom2nifti"}, "EK"),
    ({"PatientName": "*a*"}, "ACGJNRS"),
    ({"AccessionNumber": "MOF5026"}, "W"),
    ({"AccessionNumber": "2008050417172310"}, "D"),
    ({"AccessionNumber": "mof5026"}, ""),
    ({"AccessionNumber": "MOF*"}, "W"),
    ({"AccessionNumber": "*0"}, "D"),
    ({"AccessionNumber": "?"}, "A"),
    ({"StudyDate": "20170716"}, "W"),
    ({"StudyDate": "20000101-20051231"}, "CRSV"),
    ({"StudyDate": "20160309-20160309"}, "EK"),
    ({"StudyDate": "20170716-"}, "HW"),
    ({"StudyDate": "-20031231"}, "RS"),
    ({"StudyDate": "*"}, ALL),
    ({"StudyTime": "154736"}, "W"),
    ({"StudyTime": "150000-160000"}, "HW"),
    ({"StudyTime": "190000-"}, "N"),
    ({"StudyTime": "-020000"}, "A"),
    ({"StudyTime": "171715"}, "D"),
    ({"StudyTime": "1504"}, ""),
    ({"StudyDate": "20160309", "StudyTime": "1430-1431"}, "EK"),
    ({"StudyDate": "20170101-20221231", "StudyTime": "150000-160000"}, "HW"),
    ({"StudyInstanceUID": "{A}"}, "A"),
    ({"StudyInstanceUID": "{A}\\{W}\\1.2.3"}, "AW"),
    ({"StudyInstanceUID": "1.2.3"}, ""),
    ({"StudyDescription": "LEFT WRIST"}, "W"),
    ({"StudyDescription": "left wrist"}, ""),
    ({"StudyDescription": "*W?IST"}, "W"),
    ({"StudyDescription": "*^*"}, "HV"),
    ({"ModalitiesInStudy": "CT"}, "A"),
    ({"ModalitiesInStudy": "R*"}, "R"),
    ({"ModalitiesInStudy": "CT\\CR"}, "AD"),
    ({"AccessionNumber": '""'}, ""),
    ({"PatientID": "DICOM2NIFTI"}, ""),
    ({"PatientName": "ABDOMEN"}, "S"),
]
CHARSETS = [
    Query("STUDY", "STUDY", {"PatientName": "Äneas*"}, "G", "ISO_IR 100"),
    Query("STUDY", "STUDY", {"PatientName": "Äneas*"}, "G", "ISO_IR 192"),
    Query("STUDY", "STUDY", {"PatientName": "Buc^Jérôme"}, "F", "ISO_IR 192"),
    Query("STUDY", "STUDY", {"PatientName": "?neas*"}, "G"),
    Query("STUDY", "STUDY", {"PatientName": "Yamada*"}, "J"),
    Query("STUDY", "STUDY", {"PatientName": "*=山田*"}, "J", "ISO_IR 192"),
    Query("STUDY", "STUDY", {"PatientName": "山田*"}, "J", "ISO_IR 192"),
    Query("STUDY", "STUDY", {"PatientName": "äneas*"}, "G", "ISO_IR 192"),
]
BELOW: list[Query] = [
    *_of("PATIENT", "STUDY", [
        ({"PatientID": "{E}"}, "EK"),
        ({"PatientID": "{E}", "StudyTime": "143043"}, "EK"),
        ({"PatientID": "{E}", "StudyInstanceUID": "{K}"}, "K"),
        ({"PatientID": "{W}", "StudyDate": "20180101-"}, ""),
        ({"PatientID": "{W}", "AccessionNumber": "MOF50?6"}, "W"),
        ({"PatientID": "{W}", "ModalitiesInStudy": "MR"}, "W"),
    ]),
    *_of("PATIENT", "SERIES", [
        ({"PatientID": "{E}", "StudyInstanceUID": "{E}"}, "E"),
        ({"PatientID": "{W}", "StudyInstanceUID": "{W}", "Modality": "MR"}, "W"),
        ({"PatientID": "{W}", "StudyInstanceUID": "{W}", "Modality": "CT"}, ""),
        ({"PatientID": "{W}", "StudyInstanceUID": "{E}"}, ""),
    ]),
    *_of("STUDY", "SERIES", [
        ({"StudyInstanceUID": "{S}"}, "S"),
        ({"StudyInstanceUID": "{S}", "SeriesNumber": "1001"}, "S"),
        ({"StudyInstanceUID": "{S}", "SeriesNumber": "+1001"}, "S"),
        ({"StudyInstanceUID": "{S}", "SeriesNumber": "1"}, ""),
        ({"StudyInstanceUID": "{S}", "Modality": "M?"}, "S"),
        ({"StudyInstanceUID": "{S}", "SeriesDescription": "Breath*"}, "S"),
        ({"StudyInstanceUID": "{S}", "SeriesInstanceUID": "{S}\\{A}"}, "S"),
        ({"StudyInstanceUID": "{V}", f"{REQUEST}.ScheduledProcedureStepID": "8000000000330109"}, "V"),
        ({"StudyInstanceUID": "{V}", f"{REQUEST}.ScheduledProcedureStepID": "1"}, ""),
        ({"StudyInstanceUID": "{W}", f"{REQUEST}.RequestedProcedureID": "RP10*"}, "W"),
    ]),
    *_of("PATIENT", "IMAGE", [
        ({"PatientID": "{W}", **SERIES_W}, "WW"),
        ({"PatientID": "{W}", **SERIES_W, "InstanceNumber": "9"}, "W"),
    ]),
    *_of("STUDY", "IMAGE", [
        ({"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{A}"}, "AA"),
        ({"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{A}", "SOPInstanceUID": "{A}\\{A1}"}, "AA"),
        ({"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{A}", "SOPInstanceUID": "{A1}"}, "A"),
        ({"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{A}", "InstanceNumber": "999"}, ""),
        ({**SERIES_A, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "AA"),
        ({"StudyInstanceUID": "{A}", "SeriesInstanceUID": "{W}"}, ""),
    ]),
]  # fmt: skip
AGAINST: list[Query] = [
    Query("STUDY", "PATIENT", {}, "A900"),
    Query("STUDY", "NONE", {}, "A900"),
    Query("PATIENT", "STUDY", {}, "A900"),
    Query("PATIENT", "SERIES", {"PatientID": "{W}"}, "A900"),
    Query("STUDY", "SERIES", {}, "A900"),
    Query("STUDY", "IMAGE", {"StudyInstanceUID": "{A}"}, "A900"),
    Query("STUDY", "SERIES", {"StudyInstanceUID": "{A}\\{W}"}, "A900"),
    Query("STUDY", "STUDY", {"Modality": "CT"}, "A900"),
]
QUERIES: list[Query] = [
    *_of("PATIENT", "PATIENT", TOP_PATIENT),
    *_of("STUDY", "STUDY", TOP_STUDY),
    *CHARSETS,
    *BELOW,
    *AGAINST,
]
