"""The same hundred queries to our archive, Orthanc and dcmqrscp with and without `--check-find`.

Every cell of the table is tested: an archive answers as PS3.4 has it, or as `OTHERWISE` says, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiodicom
import pytest
from aiodicom.client.asking import answers
from aiodicom.client.identifier import Query as Asked
from aiodicom.dataset.coding import decode_dataset
from aiodicom.dimse.levels import Level, Root, find_model
from interop.battery import ALL, KEYS, QUERIES, REQUEST, STUDIES, Holdings, Query, hold
from interop.peers import HOST, dcmqrscp, orthanc, require_peer
from interop.site import TIMEOUTS, run_apart
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from wire import free_port

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

ARCHIVES = ("ours", "orthanc", "dcmqrscp", "dcmqrscp --check-find")
RETURNED = {
    "PATIENT": ["PatientName"],
    "STUDY": ["StudyDate"],
    "SERIES": ["Modality"],
    "IMAGE": ["InstanceNumber"],
    "NONE": [],
}


def identifier(query: Query, holdings: Holdings) -> Dataset:
    """What is sent: nothing of it is judged here."""
    values = {KEYS.get(query.level, ""): "", **dict.fromkeys(RETURNED[query.level], "")}
    values |= {"SpecificCharacterSet": query.charset} if query.charset else {}
    found = Dataset()
    for keyword, value in {**values, **query.match, "QueryRetrieveLevel": query.level}.items():
        if not keyword:
            continue
        level = next((one for one, key in KEYS.items() if key == keyword), None)
        if level is not None:
            for letter in STUDIES:
                for number, name in enumerate((f"{{{letter}}}", f"{{{letter}1}}")):
                    if name in value:
                        value = value.replace(name, holdings.key(level, letter, number))
        outer, _, inner = keyword.rpartition(".")
        element = text_element(inner, value)
        found.add(element) if not outer else setattr(found, outer, [Dataset({element.tag: element})])
    return found


def text_element(keyword: str, value: str) -> DataElement:
    """An element with this text, whatever its VR allows."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    parts = value.split("\\") if "\\" in value else value
    return DataElement(tag, dictionary_VR(tag), parts, validation_mode=config.IGNORE)


async def ask(port: int, title: str, query: Query, holdings: Holdings) -> str:
    """The answer as letters, or the status of a refusal."""
    letters = holdings.letters.get(query.level, {})
    keyword = KEYS.get(query.level, "PatientID")
    root = Root[query.root]
    asked = Asked(find_model(root), Level.STUDY, root, identifier(query, holdings))
    found: list[str] = []
    async with aiodicom.connect(HOST, port, called_ae=title, timeouts=TIMEOUTS) as pacs:
        try:
            async for _, data, syntax in answers(pacs._associations, asked):
                answer = decode_dataset(data, syntax)
                found.append(letters.get(str(answer.get(keyword, "")).strip(), "?"))
        except aiodicom.OperationFailed as error:
            return f"{error.status:04X}"
        except (aiodicom.AssociationAborted, aiodicom.ConnectionClosed):
            return "aborted"
    return "".join(sorted(found))


@pytest.fixture(scope="module")
def holdings(data: Path) -> Holdings:
    return hold(data)


@pytest.fixture(scope="module", params=ARCHIVES)
def table(
    request: pytest.FixtureRequest, holdings: Holdings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """An archive, and what it answers to each of the hundred."""
    folder = tmp_path_factory.mktemp("hundred") / "archive"
    program, *extra = request.param.split()
    with ExitStack() as stack:
        if program == "ours":
            port, title = free_port(), "OURS"
        else:
            require_peer({"orthanc": "Orthanc"}.get(program, program))
            started = orthanc(folder) if program == "orthanc" else dcmqrscp(folder, extra=extra)
            peer = stack.enter_context(started)
            port, title = peer.port, peer.ae_title
        yield request.param, run_apart(lambda: fill_and_ask(program, folder, port, title, holdings))


async def fill_and_ask(
    program: str, folder: Path, port: int, title: str, holdings: Holdings
) -> dict[str, str]:
    async def run() -> dict[str, str]:
        async with aiodicom.connect(HOST, port, called_ae=title, timeouts=TIMEOUTS) as pacs:
            report = await pacs.store(holdings.files)
            assert report.ok, [str(item) for item in report.items if not item.ok]
        return {query.name: await ask(port, title, query, holdings) for query in QUERIES}

    if program != "ours":
        return await run()
    how: dict[str, Any] = {"host": HOST, "port": port, "ae_title": title, "durability": "rename"}
    async with aiodicom.serve_archive(folder, **how):
        return await run()


AGAINST, FREE = "against PS3.4", "PS3.4 leaves it"
"""Who answers otherwise than the table does so against the standard, or where that says nothing."""

DCMTK = ("dcmqrscp", "dcmqrscp --check-find")
OTHERS = ("orthanc", *DCMTK)
_ROWS: list[tuple[str, str, dict[tuple[str, ...], dict[str, str]]]] = [
    (
        AGAINST,
        "a value that is absent lies in no range (C.2.2.2.5); here it lies before every end",
        {
            ("orthanc",): {
                "P/PATIENT PatientBirthDate=-19691231": "CDFGJRVW",
                "S/STUDY StudyDate=-20031231": "FGJRS",
                "S/STUDY StudyTime=-020000": "AFGJ",
            }
        },
    ),
    (
        AGAINST,
        "single values are compared by meaning, as times and numbers (C.2.2.2.1); here as text",
        {
            ("orthanc",): {"P/STUDY PatientID={E} StudyTime=143043": ""},
            OTHERS: {"S/SERIES StudyInstanceUID={S} SeriesNumber=+1001": ""},
        },
    ),
    (
        AGAINST,
        "a question mark is any one character (C.2.2.2.4); here none beyond ASCII",
        {OTHERS: {"S/STUDY PatientName=?neas*": ""}},
    ),
    (
        AGAINST,
        "text is compared across character sets (C.2.2.2); here not with code extensions",
        {DCMTK: {"S/STUDY PatientName=*=山田* in ISO_IR 192": ""}},
    ),
    (
        FREE,
        "whether names are compared with regard to case (C.2.2.2.1)",
        {
            DCMTK: {
                "P/PATIENT PatientName=doe^j1": "",
                "S/STUDY PatientName=ABDOMEN": "",
                "S/STUDY PatientName=äneas* in ISO_IR 192": "",
            }
        },
    ),
    (
        FREE,
        "whether a key of one component group is compared with the others (C.2.2.2.1)",
        {OTHERS: {"S/STUDY PatientName=山田* in ISO_IR 192": ""}},
    ),
    (
        FREE,
        "a star is no key for a date (C.2.2.2.4): refused, or found in no date, or any as for text",
        {("orthanc",): {"S/STUDY StudyDate=*": "C000"}, DCMTK: {"S/STUDY StudyDate=*": ""}},
    ),
    (
        FREE,
        "an optional key that is not supported is universal (C.2.2.1.3)",
        {
            OTHERS: {f"S/SERIES StudyInstanceUID={{V}} {REQUEST}.ScheduledProcedureStepID=1": "V"},
            DCMTK: {
                "S/STUDY ModalitiesInStudy=CT": ALL,
                "S/STUDY ModalitiesInStudy=R*": ALL,
                "S/STUDY ModalitiesInStudy=CT\\CR": ALL,
            },
        },
    ),
    (
        FREE,
        "empty value matching is to be negotiated (C.2.2.2.7); here it is done without",
        {("ours",): {'S/STUDY AccessionNumber=""': "CEFGHJKNRS"}},
    ),
    (
        AGAINST,
        "a level outside the root is refused (C.4.1.3.1.1), as an identifier that does not match the class",
        {
            ("orthanc",): {"S/PATIENT everything": "ACDEFGHJNRSVW", "S/NONE everything": "C000"},
            ("dcmqrscp",): {"S/PATIENT everything": "C000"},
            DCMTK: {"S/NONE everything": "C000"},
        },
    ),
    (
        AGAINST,
        "without negotiation every unique key above has a single value (C.4.1.2.1); here it is relational",
        {
            ("ours", "orthanc"): {
                "P/STUDY everything": ALL,
                "P/SERIES PatientID={W}": "W",
                "S/SERIES everything": ALL,
                "S/IMAGE StudyInstanceUID={A}": "AA",
            },
            ARCHIVES: {"S/SERIES StudyInstanceUID={A}\\{W}": "AW"},
        },
    ),
    (
        AGAINST,
        "such an identifier does not match the class, A900H; here it is another failure",
        {
            ("dcmqrscp",): {
                "P/STUDY everything": "C000",
                "P/SERIES PatientID={W}": "C000",
                "S/SERIES everything": "C000",
                "S/IMAGE StudyInstanceUID={A}": "C000",
            }
        },
    ),
    (
        AGAINST,
        "a key of a level below is no key of the query (C.4.1.2.1); here it counts for nothing",
        {
            ("ours", "dcmqrscp"): {"S/STUDY Modality=CT": ALL},
            ("orthanc",): {"S/STUDY Modality=CT": ""},
        },
    ),
]
OTHERWISE: dict[tuple[str, str], tuple[str, str]] = {
    (archive, name): (got, f"{verdict}: {why}")
    for verdict, why, cells in _ROWS
    for archives, answered in cells.items()
    for archive in archives
    for name, got in answered.items()
}
"""Archive and query: what it answers otherwise, and by what right."""


def test_there_are_a_hundred_and_each_is_another() -> None:
    assert len({query.name for query in QUERIES}) == len(QUERIES) == 100


def test_the_exceptions_are_of_the_table() -> None:
    names = {query.name for query in QUERIES}
    assert all(name in names and archive in ARCHIVES for archive, name in OTHERWISE)
    wants = {query.name: query.want for query in QUERIES}
    assert [key for key, (got, _) in OTHERWISE.items() if got == wants[key[1]]] == []
    assert sum(len(archives) * len(found) for *_, cells in _ROWS for archives, found in cells.items()) == len(
        OTHERWISE
    )


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_every_cell(table: tuple[str, dict[str, str]], query: Query) -> None:
    archive, found = table
    want, why = OTHERWISE.get((archive, query.name), (query.want, "as PS3.4 has it"))
    assert found[query.name] == want, why
