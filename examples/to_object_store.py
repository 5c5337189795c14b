"""A storage SCP that streams each object to an object store (S3), in bounded memory.

    BUCKET=images AWS_ENDPOINT_URL=http://minio:9000 python to_object_store.py    # needs boto3
While a part is on its way the peer is held. Success is answered when the store has all of it.
"""

import asyncio
import os
from typing import Any

import aiodicom
import boto3

US = {"implementation_class_uid": "2.25.1", "implementation_version_name": "EXAMPLE"}
PART = 8 * 1024 * 1024  # S3 takes no smaller ones, but for the last


class ObjectSink:
    """One object on its way up: what `write` returns is awaited before more is read."""

    def __init__(self, s3: Any, where: dict[str, str], head: bytes) -> None:
        self._s3, self._where, self._buffer = s3, where, bytearray(head)
        self._parts: list[dict[str, Any]] = []

    def write(self, data: memoryview, /) -> Any:
        self._buffer += data
        if len(self._buffer) < PART:
            return None
        part, self._buffer = self._buffer, bytearray()
        return asyncio.to_thread(self._send, part)

    def _send(self, part: bytearray) -> None:
        if "UploadId" not in self._where:
            self._where["UploadId"] = self._s3.create_multipart_upload(**self._where)["UploadId"]
        number = {"PartNumber": len(self._parts) + 1}
        sent = self._s3.upload_part(**self._where, **number, Body=bytes(part))
        self._parts.append({**number, "ETag": sent["ETag"]})

    async def commit(self) -> aiodicom.StoreOutcome:
        if "UploadId" not in self._where:
            await asyncio.to_thread(self._s3.put_object, **self._where, Body=bytes(self._buffer))
            return aiodicom.StoreOutcome(0)
        await asyncio.to_thread(self._send, self._buffer)
        whole = {**self._where, "MultipartUpload": {"Parts": self._parts}}
        await asyncio.to_thread(self._s3.complete_multipart_upload, **whole)
        del self._where["UploadId"]
        return aiodicom.StoreOutcome(0)

    def discard(self) -> None:
        """The association broke off, or the store failed: nothing stays."""
        if "UploadId" in self._where:
            where, self._where = self._where, {}
            asyncio.get_running_loop().run_in_executor(None, lambda: self._s3.abort_multipart_upload(**where))


class ToObjectStore(aiodicom.Service):
    """Takes every storage class, in any transfer syntax; the key is the SOP Instance UID."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket

    def supported(self) -> aiodicom.Supported:
        return aiodicom.SUPPORTED_STORAGE

    def store(self, request: aiodicom.Request) -> ObjectSink:
        message: Any = request.message
        uid, syntax = message.affected_sop_instance_uid, request.context.transfer_syntax
        what = {"sop_class_uid": message.affected_sop_class_uid, "sop_instance_uid": uid}
        head = aiodicom.encode_file_meta(**what, **US, transfer_syntax_uid=syntax)
        return ObjectSink(self._s3, {"Bucket": self._bucket, "Key": f"{uid}.dcm"}, head)


async def main() -> None:
    service = ToObjectStore(boto3.client("s3"), os.environ["BUCKET"])
    await (await aiodicom.serve(service, host=None)).serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
