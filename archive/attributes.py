"""The attributes the archive keeps, level by level: what of PS3.4 C.6 is indexed, computed or not supported.

The levels, roots and keys themselves are in `dimse.qr`, which the client reads too.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword

from ..dimse.levels import KEYWORDS, Level, Root, level_of_keyword

SPECIFIC_CHARACTER_SET = 0x00080005

COMPUTED = frozenset(
    {
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "NumberOfSeriesRelatedInstances",
        "AvailableTransferSyntaxUID",
    }
)
"""Keys answered from the other rows of the index rather than from an object's own data set."""

_UNSUPPORTED = frozenset({"AnatomicRegionsInStudyCodeSequence"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """One key the archive supports; `level` is that of the Patient Root."""

    keyword: str
    tag: int
    vr: str
    level: Level

    @property
    def computed(self) -> bool:
        """True when the value is counted or collected by the index."""
        return self.keyword in COMPUTED


def _attributes() -> dict[int, Attribute]:
    table = {}
    for level, keywords in KEYWORDS.items():
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            if tag is None or keyword in _UNSUPPORTED:
                continue
            table[int(tag)] = Attribute(keyword, int(tag), dictionary_VR(tag), level)
    return table


ATTRIBUTES: dict[int, Attribute] = _attributes()
"""Every supported key by tag."""

STORED_TEXT: dict[Level, tuple[Attribute, ...]] = {
    level: tuple(one for one in ATTRIBUTES.values() if one.level is level and not one.computed)
    for level in Level
}
"""The attributes taken from an object's data set, by the level whose row carries them."""

STORED_TAGS: frozenset[int] = frozenset(
    [one.tag for kept in STORED_TEXT.values() for one in kept] + [SPECIFIC_CHARACTER_SET]
)
"""What the scan of an incoming object has to return."""


def attribute(tag: int, root: Root, level: Level) -> Attribute | None:
    """The supported key of that tag in a query at `level`; `None` when unknown or below the level."""
    found = ATTRIBUTES.get(tag)
    if found is None:
        return None
    own = level_of_keyword(found.keyword, root)
    return found if own is not None and own <= level else None
