"""pynetdicom in a process of its own, as server (`scp JSON`) or client (`scu JSON`); see `peers.py`."""

from __future__ import annotations

import fnmatch
import functools
import json
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, StoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

FIND = {
    "PATIENT": PatientRootQueryRetrieveInformationModelFind,
    "STUDY": StudyRootQueryRetrieveInformationModelFind,
}
GET = {
    "PATIENT": PatientRootQueryRetrieveInformationModelGet,
    "STUDY": StudyRootQueryRetrieveInformationModelGet,
}
MOVE = {
    "PATIENT": PatientRootQueryRetrieveInformationModelMove,
    "STUDY": StudyRootQueryRetrieveInformationModelMove,
}
UNCOMPRESSED = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"]
SYNTAXES = [*UNCOMPRESSED, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]
UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


def tls_context(files: dict[str, str] | None, *, server: bool, require: bool = True) -> ssl.SSLContext | None:
    """A plain context of the `ssl` module: what a user of pynetdicom would write."""
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(files["cert"], files["key"])
    context.load_verify_locations(files["trusted"])
    if server and require:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def mend_association() -> None:
    """Have pynetdicom's requests wait until its reactor thread rests.

    pynetdicom 3.0.4 asks a flag that may still be set from the rest before: the reactor then runs once more,
    and takes a quick answer for itself. The request waits 30 s for what has been thrown away, and aborts.
    """
    if hasattr(Association.send_c_store, "__wrapped__"):
        return

    def mended(send: Any) -> Any:
        @functools.wraps(send)
        def wrapper(self: Any, *args: Any, **options: Any) -> Any:
            checkpoint = self._reactor_checkpoint
            if self.is_alive() and threading.current_thread() is not self:
                checkpoint.clear()
                until = time.monotonic() + 10
                while not checkpoint._cond._waiters and self.is_alive() and time.monotonic() < until:
                    time.sleep(0.0005)
            return send(self, *args, **options)

        return wrapper

    for name in [name for name in vars(Association) if name.startswith(("send_c_", "send_n_"))]:
        if name != "send_c_cancel":
            setattr(Association, name, mended(getattr(Association, name)))


# --- Server ------------------------------------------------------------------------------------


class Archive:
    """Files in a folder and their data sets, kept in memory."""

    def __init__(self, directory: Path, store_status: int) -> None:
        self.directory = directory
        self.store_status = store_status
        self.lock = threading.Lock()
        self.paths: dict[str, Path] = {}
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.paths[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = path

    def store(self, event: Any) -> int:
        """Write a received object as it came."""
        uid = str(UID(event.request.AffectedSOPInstanceUID))
        if self.store_status not in (0x0000, 0xB000, 0xB006, 0xB007):
            return self.store_status
        with self.lock:
            path = self.directory / f"{uid}.dcm"
            path.write_bytes(event.encoded_dataset())
            self.paths[uid] = path
        return self.store_status

    def selected(self, identifier: Dataset) -> list[Dataset]:
        """The data sets (without pixels) that match every key."""
        with self.lock:
            paths = list(self.paths.values())
        found = (dcmread(path, stop_before_pixels=True) for path in paths)
        return [dataset for dataset in found if matches(dataset, identifier)]

    def load(self, dataset: Dataset) -> Dataset:
        """The whole object of a data set `selected` gave."""
        return dcmread(self.paths[str(dataset.SOPInstanceUID)])


def matches(dataset: Dataset, identifier: Dataset) -> bool:
    """PS3.4 C.2.2.2, as far as tests need: single value, list of UIDs, wildcard, range, universal."""
    for element in identifier:
        if element.keyword in ("QueryRetrieveLevel", "SpecificCharacterSet", "") or element.VR == "SQ":
            continue
        wanted = element.value
        if wanted in (None, "") or (hasattr(wanted, "__len__") and len(wanted) == 0):
            continue
        if element.keyword not in dataset:
            return False
        value = str(dataset[element.keyword].value)
        if element.VR == "UI":
            if value not in ([str(wanted)] if isinstance(wanted, str) else [str(one) for one in wanted]):
                return False
        elif element.VR in ("DA", "TM") and "-" in str(wanted):
            low, _, high = str(wanted).partition("-")
            if (low and value < low) or (high and value > high):
                return False
        elif not fnmatch.fnmatchcase(value, str(wanted)):
            return False
    return True


def handle_find(event: Any, archive: Archive) -> Any:
    """Answer a C-FIND with one response an entity of the level."""
    identifier = event.identifier
    level = str(identifier.get("QueryRetrieveLevel", "")).strip()
    if level not in UNIQUE_KEYS:
        yield 0xA900, None
        return
    unique = UNIQUE_KEYS[level]
    seen: set[str] = set()
    for dataset in archive.selected(identifier):
        key = str(dataset.get(unique, ""))
        if key in seen:
            continue
        seen.add(key)
        if event.is_cancelled:
            yield 0xFE00, None
            return
        answer = Dataset()
        answer.QueryRetrieveLevel = level
        answer.RetrieveAETitle = str(event.assoc.ae.ae_title)
        for element in identifier:
            if element.keyword == "QueryRetrieveLevel":
                continue
            if element.tag in dataset:
                answer[element.tag] = dataset[element.tag]
            else:
                answer.add_new(element.tag, element.VR, None)
        if "SpecificCharacterSet" in dataset:
            answer.SpecificCharacterSet = dataset.SpecificCharacterSet
        yield 0xFF00, answer


def handle_get(event: Any, archive: Archive) -> Any:
    """Answer a C-GET: the number of sub-operations, then each object."""
    found = archive.selected(event.identifier)
    yield len(found)
    for dataset in found:
        if event.is_cancelled:
            yield 0xFE00, None
            return
        yield 0xFF00, archive.load(dataset)


def handle_move(event: Any, archive: Archive, destinations: dict[str, int], host: str) -> Any:
    """Answer a C-MOVE: where to, the number of sub-operations, then each object."""
    port = destinations.get(str(event.move_destination).strip())
    if port is None:
        yield None, None
        return
    found = archive.selected(event.identifier)
    contexts = [
        build_context(uid, syntax)
        for uid, syntax in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in found})
    ]
    yield host, port, {"contexts": contexts}
    yield len(found)
    for dataset in found:
        if event.is_cancelled:
            yield 0xFE00, None
            return
        yield 0xFF00, archive.load(dataset)


def serve(job: dict[str, Any]) -> None:
    """Run the server until the process is ended."""
    archive = Archive(Path(job["directory"]), job["store_status"])
    ae = AE(ae_title=job["ae_title"])
    ae.require_called_aet = job["check_called"]
    ae.maximum_pdu_size = job["max_pdu"]
    ae.maximum_associations = 64
    ae.add_supported_context(Verification)
    for table in (FIND, GET, MOVE):
        for uid in table.values():
            ae.add_supported_context(uid, UNCOMPRESSED)
    for context in StoragePresentationContexts:
        assert context.abstract_syntax is not None
        ae.add_supported_context(context.abstract_syntax, SYNTAXES, scu_role=True, scp_role=True)
    handlers: list[Any] = [
        (evt.EVT_C_ECHO, lambda event: 0x0000),
        (evt.EVT_C_STORE, archive.store),
        (evt.EVT_C_FIND, handle_find, [archive]),
        (evt.EVT_C_GET, handle_get, [archive]),
        (evt.EVT_C_MOVE, handle_move, [archive, job["destinations"], job["host"]]),
    ]
    secure = tls_context(job["tls"], server=True, require=job["require_client_certificate"])
    ae.start_server((job["host"], job["port"]), block=True, evt_handlers=handlers, ssl_context=secure)


# --- Pacs ------------------------------------------------------------------------------------


def identifier_of(keys: dict[str, str]) -> Dataset:
    """A data set of text values; a backslash separates values."""
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value.split("\\") if "\\" in value else value)
    return identifier


def plain(value: Any) -> Any:
    """An element's value as JSON can have it."""
    if value is None:
        return ""
    return (
        [str(one) for one in value]
        if isinstance(value, (list, tuple)) or hasattr(value, "append")
        else str(value)
    )


def request_contexts(ae: AE, job: dict[str, Any]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Propose what the operation needs; returns the roles a C-GET asks for."""
    operation = job["operation"]
    roles: list[SCP_SCU_RoleSelectionNegotiation] = []
    if operation == "echo":
        ae.add_requested_context(Verification)
    elif operation == "store":
        pairs = set()
        for path in job["paths"]:
            meta = dcmread(path, stop_before_pixels=True).file_meta
            pairs.add((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID))
        for uid, syntax in sorted(pairs):
            ae.add_requested_context(uid, syntax)
    elif operation == "find":
        ae.add_requested_context(FIND[job["root"]])
    elif operation == "move":
        ae.add_requested_context(MOVE[job["root"]])
    elif operation == "get":
        ae.add_requested_context(GET[job["root"]])
        for context in StoragePresentationContexts[:120]:
            assert context.abstract_syntax is not None
            ae.add_requested_context(context.abstract_syntax, SYNTAXES)
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid = context.abstract_syntax
            role.scp_role = True
            role.scu_role = False
            roles.append(role)
    return roles


def run(job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Do one operation: an exit code and what came of it."""
    result: dict[str, Any] = {
        "established": False,
        "statuses": [],
        "matches": [],
        "counters": None,
        "files": [],
    }
    ae = AE(ae_title=job["calling"])
    roles = request_contexts(ae, job)
    directory = None if job["directory"] is None else Path(job["directory"])

    def keep(event: Any) -> int:
        assert directory is not None
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{UID(event.request.AffectedSOPInstanceUID)}.dcm"
        path.write_bytes(event.encoded_dataset())
        result["files"].append(str(path))
        return 0x0000

    handlers: list[Any] = [(evt.EVT_C_STORE, keep)] if directory is not None else []
    listener = None
    if job["receive"] is not None:
        receiving = AE(ae_title=job["destination"])
        receiving.supported_contexts = storage_contexts()
        listener = receiving.start_server(
            (job["host"], job["receive"]), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
        )
    context = tls_context(job["tls"], server=False)
    assoc = ae.associate(
        job["host"],
        job["port"],
        ae_title=job["called"],
        ext_neg=roles,  # type: ignore[arg-type]
        evt_handlers=handlers,
        tls_args=None if context is None else (context, "localhost"),
    )
    if not assoc.is_established:
        return 1, result
    result["established"] = True
    try:
        operate(assoc, job, result)
        assoc.release()
        released = bool(assoc.is_released)
    finally:
        if assoc.is_established:
            assoc.abort()
        if listener is not None:
            listener.shutdown()
    return (0 if released else 2), result


def storage_contexts() -> list[PresentationContext]:
    """Every storage class in every transfer syntax we know."""
    return [build_context(c.abstract_syntax, SYNTAXES) for c in StoragePresentationContexts]  # type: ignore[arg-type]


def operate(assoc: Any, job: dict[str, Any], result: dict[str, Any]) -> None:
    """Send the requests and note the responses."""
    operation = job["operation"]
    if operation == "echo":
        result["statuses"].append(assoc.send_c_echo().get("Status"))
        return
    if operation == "store":
        for path in job["paths"]:
            result["statuses"].append(assoc.send_c_store(dcmread(path)).get("Status"))
        return
    identifier = identifier_of(job["keys"])
    if operation == "find":
        model = FIND[job["root"]]
        responses = assoc.send_c_find(identifier, model, msg_id=1)
    elif operation == "get":
        model = GET[job["root"]]
        responses = assoc.send_c_get(identifier, model, msg_id=1)
    else:
        model = MOVE[job["root"]]
        responses = assoc.send_c_move(identifier, job["destination"], model, msg_id=1)
    for number, (status, answer) in enumerate(responses, 1):
        result["statuses"].append(status.get("Status"))
        if operation == "find" and answer is not None:
            result["matches"].append({e.keyword: plain(e.value) for e in answer if e.keyword})
        if "NumberOfCompletedSuboperations" in status:
            result["counters"] = {
                name: status.get(f"NumberOf{name.title()}Suboperations")
                for name in ("remaining", "completed", "failed", "warning")
            }
        if number == job["cancel_after"]:
            assoc.send_c_cancel(1, query_model=model)


def main() -> int:
    """Run as server or client; a client given a list of jobs does one after the other."""
    mend_association()
    job = json.loads(sys.argv[2])
    if sys.argv[1] == "scp":
        serve(job)
        return 0
    done = [run(one) for one in (job if isinstance(job, list) else [job])]
    results = [result for _, result in done]
    print(json.dumps(results if isinstance(job, list) else results[0]))
    return max(code for code, _ in done)


if __name__ == "__main__":
    raise SystemExit(main())
