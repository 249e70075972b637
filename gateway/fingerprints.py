"""Fingerprints of answers whose mark says little, kept beside the log: formats/fingerprint-v1.md.

The table holds numbers under a key and the request each belongs to; no word and no digest of an
answer. It is an aid to an officer's search and proves nothing: what proves is the log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import sqlalchemy as sa

from audit import store
from gateway.choice import Choice
from gateway.marking import TRACEABLE
from gateway.question import Question
from gateway.receipts import AUDIT_PURPOSE
from watermark.fingerprint import fingerprint, matches

# Of a longer text only this much is held against the table.
LIMIT_CHARACTERS = 200_000
_AT_A_TIME = 500
# Answers that wait for the next flush, at most.
WAITING_LIMIT = 1024

_log = logging.getLogger("sealgate")
metadata = sa.MetaData()
_table = sa.Table(
    "fingerprint",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("choice", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
)


class Keys(Protocol):
    """What fingerprints need of the key broker, or of an open keyring."""

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive 32 bytes."""
        ...

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs that can be derived from."""
        ...


@dataclass(frozen=True, slots=True)
class Similar:
    """A request whose answer shares passages with a text. share: of the answer's numbers."""

    request_id: str
    tenant: str
    shared: int
    share: float

    def shown(self) -> dict[str, Any]:
        """Return what whoever asked is told, as JSON."""
        return {
            "request_id": self.request_id,
            "tenant": self.tenant,
            "shared": self.shared,
            "share": round(self.share, 3),
        }


class Fingerprints:
    """The table and its keys. Makes the table where it is missing."""

    def __init__(self, engine: sa.Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys
        self._waiting: deque[_Kept] = deque()
        self._lock = Lock()
        # Under the log's lock: two gateways that start at once would both find it missing.
        with store.writing(engine).begin() as connection:
            metadata.create_all(connection)

    async def keep_untraceable(
        self, question: Question, choices: Sequence[Choice], *, key: bytes
    ) -> None:
        """Keep what a complete answer's marks would not lead back to, with the next `flush`.

        key: the tenant's, of `context`. Waits only where too much waits already.
        """
        if question.inputs:
            # Vectors are no text that anyone could be looking for.
            return
        weak = {
            index: "".join(choice.text)
            for index, choice in enumerate(choices)
            if (choice.evidence or {}).get("status") != TRACEABLE
        }
        if any(weak.values()):
            tenant = question.principal.tenant
            self._waiting.append(_Kept(tenant, question.request_id, weak, key))
        if len(self._waiting) > WAITING_LIMIT:
            await asyncio.to_thread(self.flush)

    def remember(
        self, tenant: str, request_id: str, texts: Mapping[int, str], *, epoch: int
    ) -> None:
        """Keep the fingerprints of an answer's choices. epoch: of the key for digests."""
        self._waiting.append(_Kept(tenant, request_id, texts, self._key(tenant, epoch)))
        self.flush()

    def flush(self) -> None:
        """Write down what waits, in one transaction. Blocks; for a thread.

        A table that cannot be written costs a later search, not the answer: it is said and no more.
        """
        with self._lock:
            kept = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self._write(kept)
            except sa.exc.IntegrityError:
                # One that is there already must not take the others with it.
                for each in kept:
                    self._write_or_say([each])
            except sa.exc.SQLAlchemyError as error:
                _say(kept, error)

    def _write_or_say(self, kept: "Sequence[_Kept]") -> None:
        try:
            self._write(kept)
        except sa.exc.SQLAlchemyError as error:
            _say(kept, error)

    def _write(self, kept: "Sequence[_Kept]") -> None:
        rows = [row for each in kept for row in each.rows()]
        if rows:
            with store.writing(self._engine).begin() as connection:
                connection.execute(_table.insert(), rows)

    def search(self, text: str, *, tenants: Iterable[str]) -> list[Similar]:
        """Return the requests whose answers share enough with a text, the most first."""
        self.flush()
        found: list[str] = []
        sizes: dict[str, int] = {}
        for tenant in tenants:
            for epoch in self._keys.epochs(AUDIT_PURPOSE):
                numbers = fingerprint(text[:LIMIT_CHARACTERS], key=self._key(tenant, epoch))
                for label, size in self._stored(tenant, sorted(numbers)):
                    found.append(label)
                    sizes[label] = size
        best: dict[str, Similar] = {}
        for match in matches(found, sizes):
            request_id, tenant, _ = match.label.split("\n")
            best.setdefault(request_id, Similar(request_id, tenant, match.shared, match.share))
        return list(best.values())

    def _stored(self, tenant: str, numbers: Sequence[int]) -> list[tuple[str, int]]:
        column = _table.c
        rows: list[tuple[str, int]] = []
        with store.reading(self._engine) as connection:
            for begin in range(0, len(numbers), _AT_A_TIME):
                query = sa.select(column.request_id, column.choice, column.size).where(
                    column.tenant == tenant,
                    column.number.in_(numbers[begin : begin + _AT_A_TIME]),
                )
                rows += [(f"{r}\n{tenant}\n{c}", s) for r, c, s in connection.execute(query)]
        return rows

    def _key(self, tenant: str, epoch: int) -> bytes:
        return self._keys.derive(AUDIT_PURPOSE, *context(tenant), epoch=epoch)


def _say(kept: "Sequence[_Kept]", error: Exception) -> None:
    for each in kept:
        _log.warning("%s has no fingerprint: %s", each.request_id, type(error).__name__)


def context(tenant: str) -> tuple[bytes, bytes]:
    """Name a tenant's key for fingerprints, within `AUDIT_PURPOSE`."""
    return tenant.encode(), b"fingerprint"


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer whose choices are to be found again by their wording."""

    tenant: str
    request_id: str
    texts: Mapping[int, str] = field(repr=False)
    key: bytes = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "number": number,
                "request_id": self.request_id,
                "choice": choice,
                "tenant": self.tenant,
                "size": len(numbers),
            }
            for choice, text in self.texts.items()
            for numbers in [fingerprint(text, key=self.key)]
            for number in numbers
        ]
