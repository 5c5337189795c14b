"""The DIMSE-N services with pynetdicom, in both roles: commitment, procedure steps, print, unified steps."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import aiodicom
import pytest
from aiodicom.association.association import Association
from aiodicom.association.performing import Provider, Request
from aiodicom.dataset.coding import decode_dataset, encode_dataset
from aiodicom.dimse import messages as m
from aiodicom.dimse.contexts import VERIFICATION, Proposal, Supported
from aiodicom.pdu.uids import UNCOMPRESSED
from aiodicom.server.service import Reply
from interop import inprocess
from interop.peers import HOST, require_peer
from interop.site import TIMEOUTS
from pydicom.dataset import Dataset
from pydicom.tag import Tag

pytestmark = [pytest.mark.peers, pytest.mark.timeout(60)]

COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
PRINT_META = "1.2.840.10008.5.1.1.9"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
PRINTER, PRINTER_INSTANCE = "1.2.840.10008.5.1.1.16", "1.2.840.10008.5.1.1.17"
CLASSES = [COMMITMENT, PROCEDURE_STEP, PRINT_META]


def dataset(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.fixture(autouse=True)
def _pynetdicom() -> None:
    require_peer("pynetdicom")


# --- We are the user


class Handlers:
    """What pynetdicom's handlers were given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.associations: list[Any] = []

    def bound(self) -> list[Any]:
        from pynetdicom import evt

        return [
            (evt.EVT_N_CREATE, self.create),
            (evt.EVT_N_SET, self.set),
            (evt.EVT_N_GET, self.get),
            (evt.EVT_N_ACTION, self.action),
            (evt.EVT_N_DELETE, self.delete),
            (evt.EVT_N_EVENT_REPORT, self.report),
        ]

    def create(self, event: Any) -> Any:
        request = event.request
        self.seen.append(("create", request.AffectedSOPClassUID, request.AffectedSOPInstanceUID))
        answer = Dataset()
        answer.update(event.attribute_list)
        if request.AffectedSOPInstanceUID is None:  # the provider chooses it (PS3.7 10.1.5.1.4)
            answer.AffectedSOPInstanceUID = "1.2.3.99"
        return 0x0000, answer

    def set(self, event: Any) -> Any:
        self.seen.append(("set", event.request.RequestedSOPInstanceUID, event.modification_list))
        return 0x0001, event.modification_list  # a warning: requested optional attributes not supported

    def get(self, event: Any) -> Any:
        request = event.request
        self.seen.append(("get", request.RequestedSOPClassUID, event.attribute_identifiers))
        if request.RequestedSOPInstanceUID != PRINTER_INSTANCE:
            return 0x0112, None
        return 0x0000, dataset(
            PrinterStatus="NORMAL", PrinterName="Müller", SpecificCharacterSet="ISO_IR 192"
        )

    def action(self, event: Any) -> Any:
        self.seen.append(("action", event.action_type, event.action_information))
        self.associations.append(event.assoc)
        return 0x0000, None

    def delete(self, event: Any) -> Any:
        self.seen.append(("delete", event.request.RequestedSOPInstanceUID))
        return 0x0000

    def report(self, event: Any) -> Any:
        self.seen.append(("report", event.event_type, event.event_information))
        return 0x0000, dataset(PatientID="seen")


def contexts(scp_role: bool | None = None, scu_role: bool | None = None) -> list[Any]:
    from pynetdicom.presentation import build_context

    made = [build_context(uid, list(UNCOMPRESSED)) for uid in CLASSES]
    for context in made:
        context.scu_role, context.scp_role = scu_role, scp_role
    return made


def proposals(*, scp_role: bool = False) -> list[Proposal]:
    return [Proposal(uid, scp_role=scp_role) for uid in CLASSES]


def client(port: int) -> aiodicom.Pacs:
    return aiodicom.connect(HOST, port, called_ae="PYNETDICOM", timeouts=TIMEOUTS)


async def ask(
    association: Association, abstract_syntax: str, request: Any, data: Dataset | None = None
) -> tuple[Any, Dataset | None]:
    """Invoke one operation on the context of an abstract syntax: its response and data set."""
    (context,) = (c for c in association.contexts.values() if c.abstract_syntax == abstract_syntax)
    encoded = None if data is None else encode_dataset(data, context.transfer_syntax)
    operation = await association.invoke(context, request, encoded)
    response, answer = await operation.next()
    return response, None if answer is None else decode_dataset(answer, context.transfer_syntax)


async def test_every_operation_as_user() -> None:
    handlers = Handlers()
    with inprocess.scp([*contexts(), *_verification()], handlers.bound()) as port:
        async with client(port) as pacs, pacs.association(proposals()) as association:
            step = dataset(PerformedProcedureStepStatus="IN PROGRESS", PatientName="Doe^Jane")
            response, answer = await ask(
                association,
                PROCEDURE_STEP,
                lambda n: m.NCreateRQ(
                    message_id=n,
                    affected_sop_class_uid=PROCEDURE_STEP,
                    affected_sop_instance_uid="1.2.3.4",
                    has_dataset=True,
                ),
                step,
            )
            assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.3.4")
            assert answer == step

            response, answer = await ask(
                association,
                PROCEDURE_STEP,
                lambda n: m.NSetRQ(
                    message_id=n,
                    requested_sop_class_uid=PROCEDURE_STEP,
                    requested_sop_instance_uid="1.2.3.4",
                ),
                dataset(PerformedProcedureStepStatus="COMPLETED"),
            )
            assert response.status == 0x0001
            assert answer == dataset(PerformedProcedureStepStatus="COMPLETED")

            # a SOP class of the meta SOP class that was negotiated, the instance UID left to the provider
            response, _ = await ask(
                association,
                PRINT_META,
                lambda n: m.NCreateRQ(message_id=n, affected_sop_class_uid=FILM_SESSION, has_dataset=True),
                dataset(NumberOfCopies="1"),
            )
            assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.3.99")

            response, _ = await ask(
                association,
                PRINT_META,
                lambda n: m.NDeleteRQ(
                    message_id=n,
                    requested_sop_class_uid=FILM_SESSION,
                    requested_sop_instance_uid="1.2.3.99",
                ),
            )
            assert response.status == 0

            response, answer = await ask(
                association,
                PRINT_META,
                lambda n: m.NGetRQ(
                    message_id=n,
                    requested_sop_class_uid=PRINTER,
                    requested_sop_instance_uid=PRINTER_INSTANCE,
                    attribute_identifier_list=(0x21100010, 0x21100030),
                ),
            )
            assert response.status == 0
            assert answer is not None
            assert (answer.PrinterStatus, answer.PrinterName) == ("NORMAL", "Müller")

            response, answer = await ask(
                association,
                PRINT_META,
                lambda n: m.NGetRQ(
                    message_id=n, requested_sop_class_uid=PRINTER, requested_sop_instance_uid="1.2.3"
                ),
            )
            assert (response.status, answer) == (0x0112, None)
    assert handlers.seen == [
        ("create", PROCEDURE_STEP, "1.2.3.4"),
        ("set", "1.2.3.4", dataset(PerformedProcedureStepStatus="COMPLETED")),
        ("create", FILM_SESSION, None),
        ("delete", "1.2.3.99"),
        ("get", PRINTER, [Tag(0x2110, 0x0010), Tag(0x2110, 0x0030)]),
        ("get", PRINTER, []),
    ]


def _verification() -> list[Any]:
    from pynetdicom.presentation import build_context

    return [build_context(VERIFICATION)]


class Reports(Provider):
    """Takes the N-EVENT-REPORTs that come to us as the user of a SOP class."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[tuple[Any, Dataset]] = asyncio.Queue()

    def store(self, request: Request) -> Any:
        raise AssertionError("nothing is stored")

    async def perform(self, request: Request, data: bytes | None) -> None:
        assert data is not None
        syntax = request.context.transfer_syntax
        self.seen.put_nowait((request.message, decode_dataset(data, syntax)))
        response = m.make_response(request.message, 0, event_type_id=1, has_dataset=True)
        await request.respond(response, encode_dataset(dataset(PatientID="thanks"), syntax))


async def test_storage_commitment_with_the_report_on_the_same_association() -> None:
    handlers, reports = Handlers(), Reports()
    item = dataset(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.3")
    request = dataset(TransactionUID="1.2.3.7", ReferencedSOPSequence=[item])
    with inprocess.scp([*contexts(), *_verification()], handlers.bound()) as port:
        async with (
            client(port) as pacs,
            pacs.association([Proposal(COMMITMENT)], provider=reports) as association,
        ):
            response, _ = await ask(
                association,
                COMMITMENT,
                lambda n: m.NActionRQ(
                    message_id=n,
                    requested_sop_class_uid=COMMITMENT,
                    requested_sop_instance_uid=COMMITMENT_INSTANCE,
                    action_type_id=1,
                    has_dataset=True,
                ),
                request,
            )
            assert response.status == 0
            assert handlers.seen == [("action", 1, request)]
            (theirs,) = handlers.associations
            status, answer = await asyncio.to_thread(
                theirs.send_n_event_report, request, 1, COMMITMENT, COMMITMENT_INSTANCE
            )
            assert status.Status == 0
            assert answer == dataset(PatientID="thanks")
            message, received = reports.seen.get_nowait()
            assert isinstance(message, m.NEventReportRQ)
            assert (message.event_type_id, message.affected_sop_instance_uid) == (1, COMMITMENT_INSTANCE)
            assert received == request


async def test_a_report_on_an_association_of_the_provider() -> None:
    """As a commitment's provider we connect to its user, who accepts us in the SCP role (PS3.4 J.3.3)."""
    handlers = Handlers()
    with inprocess.scp(
        [*contexts(scp_role=True, scu_role=False), *_verification()], handlers.bound()
    ) as port:
        async with client(port) as pacs:
            proposal = Proposal(COMMITMENT, scp_role=True, scu_role=False)
            async with pacs.association([proposal]) as association:
                (context,) = association.contexts.values()
                assert (context.scu, context.scp, context.roles_assumed) == (False, True, False)
                response, answer = await ask(
                    association,
                    COMMITMENT,
                    lambda n: m.NEventReportRQ(
                        message_id=n,
                        affected_sop_class_uid=COMMITMENT,
                        affected_sop_instance_uid=COMMITMENT_INSTANCE,
                        event_type_id=2,
                        has_dataset=True,
                    ),
                    dataset(TransactionUID="1.2.3.7"),
                )
    assert (response.status, response.event_type_id) == (0, 2)
    assert answer == dataset(PatientID="seen")
    assert handlers.seen == [("report", 2, dataset(TransactionUID="1.2.3.7"))]


async def test_a_role_we_have_not_is_not_used() -> None:
    with inprocess.scp([*contexts(), *_verification()], Handlers().bound()) as port:
        async with client(port) as pacs, pacs.association(proposals()) as association:
            with pytest.raises(aiodicom.LocalProtocolError, match="role"):
                await ask(
                    association,
                    COMMITMENT,
                    lambda n: m.NEventReportRQ(
                        message_id=n,
                        affected_sop_class_uid=COMMITMENT,
                        affected_sop_instance_uid=COMMITMENT_INSTANCE,
                        event_type_id=1,
                    ),
                )


# --- We are the provider


class Provided(aiodicom.Service):
    """Performs every DIMSE-N operation and notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, Dataset | None]] = []
        self.reporting: asyncio.Task[Any] | None = None
        self.reported = threading.Event()

    def supported(self) -> Supported:
        return Supported(dict.fromkeys((*CLASSES, VERIFICATION), UNCOMPRESSED), any_scp_role=True)

    async def perform(self, info: Request, dataset: Dataset | None) -> Reply:
        self.seen.append((info.message, dataset))
        match info.message:
            case m.NGetRQ(requested_sop_instance_uid=uid) if uid != PRINTER_INSTANCE:
                raise aiodicom.Refused(0x0112, "no such printer")
            case m.NGetRQ():
                answer = Dataset()
                answer.PrinterStatus = "NORMAL"
                return Reply(0, answer)
            case m.NSetRQ():
                return Reply(0x0116, dataset, "value out of range")
            case m.NActionRQ(action_type_id=9):
                raise ValueError("a defect of this service")
            case m.NActionRQ():
                self.reporting = asyncio.get_running_loop().create_task(report(info, dataset))
                self.reporting.add_done_callback(lambda _: self.reported.set())
                return Reply(0)
        return Reply(0, dataset)


async def report(info: Request, content: Dataset | None) -> Any:
    """Report back on the association the action came on."""
    assert isinstance(content, Dataset)
    operation = await info.association.invoke(
        info.context,
        lambda n: m.NEventReportRQ(
            message_id=n,
            affected_sop_class_uid=COMMITMENT,
            affected_sop_instance_uid=COMMITMENT_INSTANCE,
            event_type_id=1,
            has_dataset=True,
        ),
        encode_dataset(content, info.context.transfer_syntax),
    )
    response, _ = await operation.next()
    return response


async def test_every_operation_as_provider() -> None:
    service = Provided()

    def work(assoc: Any) -> list[Any]:
        step = dataset(PerformedProcedureStepStatus="IN PROGRESS")
        return [
            assoc.send_n_create(step, PROCEDURE_STEP, "1.2.3.4"),
            assoc.send_n_set(dataset(NumberOfCopies="900"), PROCEDURE_STEP, "1.2.3.4"),
            assoc.send_n_get([Tag(0x2110, 0x0010)], PRINTER, PRINTER_INSTANCE, meta_uid=PRINT_META),
            assoc.send_n_get([], PRINTER, "1.2.3", meta_uid=PRINT_META),
            assoc.send_n_action(dataset(PatientID="x"), 9, PROCEDURE_STEP, "1.2.3.4"),
            (assoc.send_n_delete(FILM_SESSION, "1.2.3.9", meta_uid=PRINT_META), None),
            (assoc.send_c_echo(), None),
        ]

    async with await aiodicom.serve(service, host=HOST, port=0) as server:
        answers = await inprocess.scu(server.port, [*contexts(), *_verification()], work)
    assert [status.Status for status, _ in answers] == [0, 0x0116, 0, 0x0112, 0x0110, 0, 0]
    assert answers[0][1] == dataset(PerformedProcedureStepStatus="IN PROGRESS")
    assert answers[1][0].ErrorComment == "value out of range"
    assert answers[1][1] == dataset(NumberOfCopies="900")
    assert answers[2][1] == dataset(PrinterStatus="NORMAL")
    assert answers[3][0].ErrorComment == "no such printer"
    assert [type(message) for message, _ in service.seen] == [
        m.NCreateRQ,
        m.NSetRQ,
        m.NGetRQ,
        m.NGetRQ,
        m.NActionRQ,
        m.NDeleteRQ,
    ]
    assert service.seen[2][0].attribute_identifier_list == (0x21100010,)
    assert service.seen[5][0].requested_sop_class_uid == FILM_SESSION


async def test_commitment_as_provider_with_the_report_on_the_same_association() -> None:
    from pynetdicom import evt

    service = Provided()
    seen: list[Any] = []

    def received(event: Any) -> Any:
        seen.append((event.event_type, event.event_information))
        return 0x0000, None

    def work(assoc: Any) -> Any:
        request = dataset(TransactionUID="1.2.3.7")
        status, _ = assoc.send_n_action(request, 1, COMMITMENT, COMMITMENT_INSTANCE)
        assert service.reported.wait(inprocess.ANSWER_TIME)
        return status

    async with await aiodicom.serve(service, host=HOST, port=0) as server:
        status = await inprocess.scu(
            server.port, contexts(), work, handlers=[(evt.EVT_N_EVENT_REPORT, received)]
        )
        assert service.reporting is not None
        response = await service.reporting
    assert status.Status == 0
    assert seen == [(1, dataset(TransactionUID="1.2.3.7"))]
    assert isinstance(response, m.NEventReportRSP)
    assert response.status == 0


async def test_a_report_comes_to_us_as_user() -> None:
    """pynetdicom connects in the SCP role and reports; our service performs it."""
    from pynetdicom import build_role

    service = Provided()

    def work(assoc: Any) -> Any:
        return assoc.send_n_event_report(
            dataset(TransactionUID="1.2.3.7"), 1, COMMITMENT, COMMITMENT_INSTANCE
        )

    async with await aiodicom.serve(service, host=HOST, port=0) as server:
        role = build_role(COMMITMENT, scu_role=False, scp_role=True)
        status, _ = await inprocess.scu(server.port, contexts()[:1], work, items=[role])
    assert status.Status == 0
    ((message, content),) = service.seen
    assert isinstance(message, m.NEventReportRQ)
    assert content == dataset(TransactionUID="1.2.3.7")


async def test_an_archive_refuses_what_it_does_not_offer(serving: Any, tmp_path: Any) -> None:
    """The contexts are refused; on one that is accepted the operation is."""
    server = await serving(tmp_path)
    storage = "1.2.840.10008.5.1.4.1.1.2"

    def work(assoc: Any) -> Any:
        from pynetdicom.presentation import build_context

        assert [c.abstract_syntax for c in assoc.accepted_contexts] == [storage]
        assert build_context(storage).abstract_syntax == storage
        return assoc.send_n_get([], storage, "1.2.3")

    from pynetdicom.presentation import build_context

    status, _ = await inprocess.scu(server.port, [*contexts(), build_context(storage)], work)
    assert status.Status == 0x0211
