"""Query/Retrieve information models as data: levels, roots, SOP classes and the keys of every level.

PS3.4 C.3 (the hierarchy), C.6.1 (Patient Root), C.6.2 (Study Root), C.6.3 (Patient/Study Only, retired).
Both sides use this table: the user checks a query against it before sending, the archive before answering.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Collection, Iterable

from ..pdu.errors import AiodicomError


class QueryError(AiodicomError, ValueError):
    """A query that PS3.4 C.4.1.1.3 does not allow; the text says which key and why."""


class Level(enum.Enum):
    """A level of the query/retrieve hierarchy; the value is what (0008,0052) carries.

    Levels order from the top: ``Level.PATIENT < Level.IMAGE``.

    >>> aiodicom.Level("SERIES") > aiodicom.Level.STUDY
    True
    """

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        """How far below the patient: 0 for PATIENT to 3 for IMAGE."""
        return _DEPTH[self]

    def __lt__(self, other: Level) -> bool:
        return self.depth < other.depth

    def __le__(self, other: Level) -> bool:
        return self.depth <= other.depth

    def __gt__(self, other: Level) -> bool:
        return self.depth > other.depth

    def __ge__(self, other: Level) -> bool:
        return self.depth >= other.depth

    @classmethod
    def parse(cls, text: Level | str) -> Level:
        """The level of that name in any case, ``INSTANCE`` being another word for ``IMAGE``.

        Raises QueryError (for any other word).
        """
        if isinstance(text, Level):
            return text
        word = text.strip(" \0").upper()
        found = _LEVEL_WORDS.get(word)
        if found is None:
            raise QueryError(f"no such level: {word[:16]!r}; one of PATIENT, STUDY, SERIES, IMAGE")
        return found


_DEPTH = {level: depth for depth, level in enumerate(Level)}
_LEVEL_WORDS = {level.value: level for level in Level} | {"INSTANCE": Level.IMAGE}


class Root(enum.Enum):
    """An information model, named by its topmost level; PATIENT_STUDY_ONLY is retired (PS3.4 C.6.3).

    >>> async with aiodicom.connect(HOST, PORT) as pacs:
    ...     [study] = await pacs.find("STUDY", {"PatientID": "*"}, root=aiodicom.Root.PATIENT)
    """

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    PATIENT_STUDY_ONLY = "PATIENT_STUDY_ONLY"


class QueryService(enum.Enum):
    """Which of the three services a model's SOP class stands for."""

    FIND = "FIND"
    MOVE = "MOVE"
    GET = "GET"


_MODELS: dict[str, tuple[Root, QueryService]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": (Root.PATIENT, QueryService.FIND),
    "1.2.840.10008.5.1.4.1.2.1.2": (Root.PATIENT, QueryService.MOVE),
    "1.2.840.10008.5.1.4.1.2.1.3": (Root.PATIENT, QueryService.GET),
    "1.2.840.10008.5.1.4.1.2.2.1": (Root.STUDY, QueryService.FIND),
    "1.2.840.10008.5.1.4.1.2.2.2": (Root.STUDY, QueryService.MOVE),
    "1.2.840.10008.5.1.4.1.2.2.3": (Root.STUDY, QueryService.GET),
    "1.2.840.10008.5.1.4.1.2.3.1": (Root.PATIENT_STUDY_ONLY, QueryService.FIND),
    "1.2.840.10008.5.1.4.1.2.3.2": (Root.PATIENT_STUDY_ONLY, QueryService.MOVE),
    "1.2.840.10008.5.1.4.1.2.3.3": (Root.PATIENT_STUDY_ONLY, QueryService.GET),
}
_UID_OF = {model: uid for uid, model in _MODELS.items()}

_LEVELS: dict[Root, tuple[Level, ...]] = {
    Root.PATIENT: tuple(Level),
    Root.STUDY: (Level.STUDY, Level.SERIES, Level.IMAGE),
    Root.PATIENT_STUDY_ONLY: (Level.PATIENT, Level.STUDY),
}

UNIQUE_KEYS: dict[Level, str] = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

# PS3.4 tables C.6-1 to C.6-4, and attributes of the same entity in PS3.3 C.7 that users ask for.
KEYWORDS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime",
        "PatientSex", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName",
        "PatientMotherBirthName", "EthnicGroup", "PatientComments", "PatientSpeciesDescription",
        "ResponsiblePerson", "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: (
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
        "StudyDescription", "ReferringPhysicianName", "PhysiciansOfRecord",
        "NameOfPhysiciansReadingStudy", "RequestingPhysician", "AdmittingDiagnosesDescription",
        "PatientAge", "PatientSize", "PatientWeight", "PatientState", "MedicalAlerts", "Allergies",
        "SmokingStatus", "PregnancyStatus", "Occupation", "AdditionalPatientHistory",
        "OtherStudyNumbers", "StudyComments", "StudyStatusID", "ReasonForStudy",
        "RequestedProcedureDescription", "ProcedureCodeSequence", "IssuerOfAccessionNumberSequence",
        "ReferencedStudySequence", "ModalitiesInStudy", "SOPClassesInStudy",
        "AnatomicRegionsInStudyCodeSequence", "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate",
        "SeriesTime", "BodyPartExamined", "Laterality", "ProtocolName", "PatientPosition",
        "PerformingPhysicianName", "OperatorsName", "Manufacturer", "ManufacturerModelName",
        "StationName", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
        "DeviceSerialNumber", "SoftwareVersions", "FrameOfReferenceUID",
        "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
        "PerformedProcedureStepID", "PerformedProcedureStepDescription",
        "RequestAttributesSequence", "NumberOfSeriesRelatedInstances",
    ),
    Level.IMAGE: (
        "SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ImageType", "ContentDate", "ContentTime",
        "InstanceCreationDate", "InstanceCreationTime", "AcquisitionDate", "AcquisitionTime",
        "AcquisitionDateTime", "AcquisitionNumber", "ObservationDateTime", "Rows", "Columns",
        "NumberOfFrames", "BitsAllocated", "PhotometricInterpretation", "LossyImageCompression",
        "PresentationIntentType", "ImageComments", "ContentLabel", "ContentDescription",
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
        "SliceLocation", "SpacingBetweenSlices", "EchoTime", "EchoNumbers", "TemporalPositionIndex",
        "CompletionFlag", "VerificationFlag", "DocumentTitle", "MIMETypeOfEncapsulatedDocument",
        "ConceptNameCodeSequence", "RelatedGeneralSOPClassUID", "AvailableTransferSyntaxUID",
    ),
}  # fmt: skip

# Of no entity: they steer or describe the answer itself (PS3.4 C.4.1.1.3).
GENERAL_KEYWORDS = frozenset(
    {
        "QueryRetrieveLevel",
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "RetrieveAETitle",
        "InstanceAvailability",
        "StorageMediaFileSetID",
        "StorageMediaFileSetUID",
    }
)

_LEVEL_OF = {keyword: level for level, keywords in KEYWORDS.items() for keyword in keywords}


def find_model(root: Root) -> str:
    """UID of the root's C-FIND SOP class."""
    return _UID_OF[root, QueryService.FIND]


def get_model(root: Root) -> str:
    """UID of the root's C-GET SOP class."""
    return _UID_OF[root, QueryService.GET]


def move_model(root: Root) -> str:
    """UID of the root's C-MOVE SOP class."""
    return _UID_OF[root, QueryService.MOVE]


def model_of(uid: str) -> tuple[Root, QueryService]:
    """Root and service of a query/retrieve SOP class UID.

    Raises QueryError (the UID is not one of a query/retrieve information model).
    """
    try:
        return _MODELS[uid]
    except KeyError:
        raise QueryError(f"not a query/retrieve information model: {uid[:64]!r}") from None


def levels(root: Root) -> tuple[Level, ...]:
    """The root's levels from the top (PS3.4 C.6.1.1, C.6.2.1)."""
    return _LEVELS[root]


def unique_key(level: Level) -> str:
    """Keyword of the level's unique key (PS3.4 C.6.1.1.2 to C.6.1.1.5)."""
    return UNIQUE_KEYS[level]


def keys_above(level: Level, root: Root) -> tuple[str, ...]:
    """The unique keys of the levels above one, the topmost first."""
    return tuple(unique_key(one) for one in levels(root) if one < level)


def level_of_keyword(keyword: str, root: Root) -> Level | None:
    """The level a key belongs to; ``None`` for keys of no level and attributes outside the table.

    Below the Study Root the attributes of the patient are keys of the study (PS3.4 C.6.2.1.2).
    """
    level = _LEVEL_OF.get(keyword)
    if level is None:
        return None
    top = _LEVELS[root][0]
    return level if level >= top else top


def check_query(
    level: Level | str,
    root: Root,
    match_keywords: Iterable[str],
    return_keywords: Iterable[str] = (),
    *,
    known: Collection[str] | None = None,
    relational: bool = True,
) -> Level:
    """Check a query's level and keys against the model; gives the level parsed (PS3.4 C.4.1.1.3, C.4.1.2).

    match_keywords: keywords that carry a value to match.
    return_keywords: keywords asked for with a zero-length value.
    known: the keywords that exist; pydicom's data dictionary unless given.
    relational: when false, every level above must have its unique key among the match keys.

    Raises QueryError (the level is outside the root, a keyword does not exist or lies below the level, or a
    unique key is missing).
    """
    wanted = Level.parse(level)
    if wanted not in _LEVELS[root]:
        names = ", ".join(one.value for one in _LEVELS[root])
        raise QueryError(f"level {wanted.value} is not in the {root.value} root; its levels are {names}")
    matched = list(match_keywords)
    for keyword in [*matched, *return_keywords]:
        _check_keyword(keyword, wanted, root, known)
    if not relational:
        _check_unique_keys(wanted, root, set(matched))
    return wanted


def _check_keyword(keyword: str, level: Level, root: Root, known: Collection[str] | None) -> None:
    if keyword in GENERAL_KEYWORDS:
        return
    own = level_of_keyword(keyword, root)
    if own is not None:
        if own > level:
            raise QueryError(
                f"{keyword} is a key of the {own.value} level, below the query's {level.value} level"
            )
        return
    names = _dictionary() if known is None else known
    if keyword in names:
        return
    near = difflib.get_close_matches(keyword, [*names, *_LEVEL_OF], n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    raise QueryError(f"unknown keyword {keyword[:64]!r}{hint}")


def _check_unique_keys(level: Level, root: Root, matched: set[str]) -> None:
    missing = [
        f"{UNIQUE_KEYS[above]} ({above.value} level)"
        for above in _LEVELS[root]
        if above < level and UNIQUE_KEYS[above] not in matched
    ]
    if missing:
        raise QueryError(
            f"a {level.value} query needs the unique keys of the levels above: {', '.join(missing)}"
        )


def _dictionary() -> Collection[str]:
    # imported late: the table itself must not cost the load of pydicom
    from pydicom.datadict import keyword_dict

    return keyword_dict
