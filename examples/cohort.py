"""Retrieve a cohort: a list of accession numbers, a folder of files, and a report of what is there.

    python cohort.py PACS 104 accessions.txt images report.csv

Run again it asks only for what is missing; the exit code is 0 when all of it is there.
"""

import asyncio
import csv
import sys
from pathlib import Path

import aiodicom

COLUMNS = ["AccessionNumber", "StudyInstanceUID", "found", "here", "missing", "outcome", "why"]


async def retrieve(pacs: aiodicom.Pacs, accession: str, folder: Path) -> list[dict[str, object]]:
    """The studies of one accession number, a row each; an error is a row too."""
    rows: list[dict[str, object]] = []
    try:
        studies = await pacs.find("STUDY", {"AccessionNumber": aiodicom.literal(accession)})
        for study in studies:
            uid = str(study.StudyInstanceUID)
            result = await pacs.get("STUDY", uid, directory=folder, via="get")
            rows.append(
                {
                    "StudyInstanceUID": uid,
                    "found": result.found,
                    "here": result.received + result.present,
                    "missing": " ".join(result.missing or []),
                    "outcome": result.outcome,
                    "why": result.error or result.advice or "",
                }
            )
    except aiodicom.AiodicomError as error:
        rows.append({"outcome": "failed", "why": str(error)})
    rows = rows or [{"found": 0, "outcome": "nothing"}]
    return [{"AccessionNumber": accession, **row} for row in rows]


async def main(host: str, port: str, listed: str, folder: str, report: str) -> int:
    """Three at a time; the report is in the order of the list."""
    numbers = [line.strip() for line in Path(listed).read_text("utf-8").splitlines() if line.strip()]
    timeouts = aiodicom.Timeouts(total=3600)
    async with aiodicom.create_pool(host, int(port), max_size=3, timeouts=timeouts) as pool:
        limit = asyncio.Semaphore(6)

        async def one(accession: str) -> list[dict[str, object]]:
            async with limit:
                return await retrieve(pool, accession, Path(folder))

        rows = [row for rows in await asyncio.gather(*map(one, numbers)) for row in rows]
    with Path(report).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    complete = sum(row["outcome"] == "complete" for row in rows)
    print(f"{complete} of {len(rows)} studies complete, {report}")
    return 0 if complete == len(rows) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(*sys.argv[1:])))
