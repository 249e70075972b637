"""Whose report is this: its signature, and the log's entry of its making.

The figures are not made again here: `sealgate report verify` does that, over the whole log.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audit.report.errors import ReportError
from audit.search import Query, search_back

_SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Checked:
    """A report that was looked at.

    signed: the deployment's report key of today signed the whole file. entry: the log's entry of
    the making of exactly this file, None if there is none. problem: what is wrong with the
    signature. summary: what the report says of itself, where its signature holds.
    """

    signed: bool
    signed_at: datetime | None
    entry: int | None
    problem: str | None
    sha256: str
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether it is one of ours, unchanged: the log's own digest says no less."""
        return self.signed and self.entry is not None


def checked(pdf: bytes, *, log: sa.Engine, public_keys: Sequence[bytes]) -> Checked:
    """Look at a report. public_keys: P-256 points that reports are signed with.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    # pyHanko takes most of a second to import; a gateway that never checks does without.
    from audit.report.signature import verify_signature  # noqa: PLC0415

    sha256 = hashlib.sha256(pdf).hexdigest()
    entry = _entry(log, sha256)
    try:
        found = verify_signature(pdf, public_keys=public_keys)
    except ReportError as error:
        return Checked(False, None, entry, str(error), sha256)
    summary = json.loads(found.attachments.get(_SUMMARY, b"{}"))
    return Checked(True, found.signed_at, entry, None, sha256, summary)


def _entry(log: sa.Engine, sha256: str) -> int | None:
    """Return the entry that says this very file was made."""
    before: int | None = None
    while True:
        query = Query(operation="report.generated", limit=1000)
        found = search_back(log, query, before=before)
        for index, event in found.entries:
            if event["sealgate"].get("detail", {}).get("sha256") == sha256:
                return index
        if found.more is None:
            return None
        before = found.more
