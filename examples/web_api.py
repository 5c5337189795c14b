"""A web API over a PACS: FastAPI, one pool of associations, and requests that end when their client leaves.

pip install aiodicom fastapi uvicorn
PACS_HOST=pacs PACS_PORT=104 uvicorn web_api:app
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiodicom
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

KEYS = ["PatientID", "StudyDate", "StudyDescription", "StudyInstanceUID"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Whatever is asked at once, the PACS sees four associations at most."""
    host, port = os.environ["PACS_HOST"], int(os.environ["PACS_PORT"])
    async with aiodicom.create_pool(host, port, max_size=4) as app.state.pacs:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(aiodicom.AiodicomError)
async def failed(request: Request, error: aiodicom.AiodicomError) -> JSONResponse:
    """The PACS is to blame, not this server: 504 for what took too long, else 502."""
    late = isinstance(error, aiodicom.TimeoutExpired)
    return JSONResponse({"error": type(error).__name__, "detail": str(error)}, 504 if late else 502)


@app.get("/health")
async def health(request: Request) -> dict[str, bool]:
    """C-ECHO, for a probe."""
    await request.app.state.pacs.echo()
    return {"ok": True}


@app.get("/studies")
async def studies(request: Request, patient_id: str = "", date: str = "") -> StreamingResponse:
    """One JSON object a line, as matches come. Who leaves early has a C-CANCEL sent."""
    match = {key: value for key, value in (("PatientID", patient_id), ("StudyDate", date)) if value}
    if not match:
        raise HTTPException(400, "give patient_id or date (2024-01-31, 2024-01-01..2024-03-31)")
    try:
        found = request.app.state.pacs.find("STUDY", match, KEYS)
    except aiodicom.QueryError as error:  # nothing was sent
        raise HTTPException(400, str(error)) from None

    async def lines() -> AsyncIterator[str]:
        async with found:
            async for study in found:
                yield json.dumps({key: str(study.get(key, "")) for key in KEYS}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.post("/instances", status_code=201)
async def store(request: Request) -> dict[str, str]:
    """Store the DICOM file that is the body."""
    report = await request.app.state.pacs.store(await request.body())
    [item] = report.items
    if not item.stored:
        raise HTTPException(422 if item.status is None else 502, str(item))
    return {"SOPInstanceUID": item.sop_instance_uid}
