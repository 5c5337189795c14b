"""A worklist for modalities, and their MPPS: what is scheduled comes from a coroutine.

python worklist.py                 # listens on port 11112
"""

import asyncio
from collections.abc import AsyncIterator

import aiodicom
from pydicom.dataset import Dataset

WORKLIST, MPPS = "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"
NO_SUCH_INSTANCE, DUPLICATE, NOT_IN_PROGRESS = 0x0112, 0x0111, 0x0110


class Department(aiodicom.Service):
    """Who is to be examined, and how far each examination is; a database would stand in its place."""

    def __init__(self) -> None:
        self.steps: dict[str, Dataset] = {}

    def supported(self) -> aiodicom.Supported:
        """Verification, Modality Worklist and MPPS."""
        classes = [*aiodicom.SUPPORTED_VERIFICATION.syntaxes, WORKLIST, MPPS]
        return aiodicom.Supported(dict.fromkeys(classes, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")))

    async def scheduled(self, modality: str) -> AsyncIterator[Dataset]:
        """What is planned for a modality; here two patients."""
        for number, name in ((1, "Doe^Jane"), (2, "Roe^Richard")):
            step = Dataset()
            step.Modality, step.ScheduledStationAETitle = modality, f"{modality}1"
            step.ScheduledProcedureStepID = f"SPS{number}"
            step.ScheduledProcedureStepStartDate = "20240131"
            entry = Dataset()
            entry.PatientName, entry.PatientID = name, f"P{number}"
            entry.AccessionNumber, entry.StudyInstanceUID = f"A{number}", f"2.25.4711{number}"
            entry.ScheduledProcedureStepSequence = [step]
            yield entry

    async def find_in_model(
        self, request: aiodicom.Request, identifier: Dataset
    ) -> AsyncIterator[aiodicom.Match]:
        """C-FIND of the worklist. A C-CANCEL ends it at the next await."""
        asked = identifier.get("ScheduledProcedureStepSequence") or [Dataset()]
        modality = str(asked[0].get("Modality", "") or "CT")
        async for entry in self.scheduled(modality):
            yield aiodicom.Match(entry)

    async def perform(self, request: aiodicom.Request, dataset: Dataset | None) -> aiodicom.Reply:
        """N-CREATE begins a step, N-SET goes on with it until it is COMPLETED or DISCONTINUED (PS3.4 F.7)."""
        message, said = request.message, dataset if dataset is not None else Dataset()
        if isinstance(message, aiodicom.NCreateRQ):
            uid = message.affected_sop_instance_uid or f"2.25.{len(self.steps) + 1}"
            if uid in self.steps:
                raise aiodicom.Refused(DUPLICATE, "there is one already")
            self.steps[uid] = said
            return aiodicom.Reply(fields={"affected_sop_instance_uid": uid})
        if isinstance(message, aiodicom.NSetRQ):
            step = self.steps.get(message.requested_sop_instance_uid)
            if step is None:
                raise aiodicom.Refused(NO_SUCH_INSTANCE, "no such step")
            if step.PerformedProcedureStepStatus != "IN PROGRESS":
                raise aiodicom.Refused(NOT_IN_PROGRESS, "it has ended")
            step.update(said)
            return aiodicom.Reply()
        return await super().perform(request, dataset)


async def main() -> None:
    """Serve until told to stop."""
    async with aiodicom.serve(Department(), host=None, port=11112) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
