"""A bucket with object lock in compliance mode: until the date, not even its owner can delete.

Needs the extra `anchors` (boto3), whose own chain of settings finds the credentials.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.anchors.kinds import ProofFrom
from audit.errors import AnchorFailed

_KEY = re.compile(r"checkpoint-[0-9]{20}\.note")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects under `prefix` of a bucket made with object lock. client: boto3's S3 client."""

    client: Any = field(repr=False)
    bucket: str
    prefix: str = ""
    retention_days: int = 2192
    kind: str = "s3"
    gives_back: bool = True

    @property
    def place(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self.bucket}/{self.prefix}"

    def keep(self, note: str, *, since: int, proof_from: ProofFrom, now_ms: int) -> bytes:  # noqa: ARG002 - A bucket asks for no proof.
        """Put the checkpoint under a lock; see `Anchor.keep`."""
        until = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(days=self.retention_days)
        key = f"{self.prefix}checkpoint-{int(note.split(chr(10))[1]):020}.note"
        try:
            put = self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=note.encode(),
                ContentType="text/plain; charset=utf-8",
                ChecksumAlgorithm="SHA256",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
            )
            self._require_lock(key, put["VersionId"])
        except AnchorFailed:
            raise
        except Exception as error:  # noqa: BLE001 - boto's errors have no common root.
            raise AnchorFailed(f"{self.place} did not take the checkpoint: {error}.") from None
        return f"{key}\n{put['VersionId']}\n".encode()

    def kept(self) -> Iterator[str]:
        """Yield the bucket's checkpoints, every version of each; see `Anchor.kept`."""
        try:
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.prefix
            )
            for page in pages:
                # The newest version comes first; what was there first counts.
                for version in sorted(page.get("Versions", ()), key=lambda each: each["Key"]):
                    if _KEY.fullmatch(version["Key"].removeprefix(self.prefix)):
                        yield self._read(version["Key"], version["VersionId"])
        except Exception as error:  # noqa: BLE001 - As above.
            raise AnchorFailed(f"{self.place} cannot be read: {error}.") from None

    def check(self, note: str, receipt: bytes) -> None:
        """Check that the locked object is the checkpoint; see `Anchor.check`."""
        try:
            key, version, _ = receipt.decode().split("\n")
            found = self._read(key, version)
            self._require_lock(key, version)
        except AnchorFailed:
            raise
        except Exception as error:  # noqa: BLE001 - As above.
            raise AnchorFailed(f"{self.place} has lost the checkpoint: {error}.") from None
        if found != note:
            raise AnchorFailed(f"{self.place} holds another checkpoint under {key}.")

    def _read(self, key: str, version: str) -> str:
        found = self.client.get_object(Bucket=self.bucket, Key=key, VersionId=version)
        text: str = found["Body"].read().decode()
        return text

    def _require_lock(self, key: str, version: str) -> None:
        found = self.client.head_object(Bucket=self.bucket, Key=key, VersionId=version)
        if found.get("ObjectLockMode") != "COMPLIANCE":
            raise AnchorFailed(f"{self.place} does not lock objects in compliance mode.")
