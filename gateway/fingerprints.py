"""Fingerprints of answers whose mark says little, kept beside the log: formats/fingerprint-v1.md.

The table holds numbers under a key and the request each belongs to; no word and no digest of an
answer. It is an aid to an officer's search and proves nothing: what proves is the log.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

_log = logging.getLogger("sealgate")
_metadata = sa.MetaData()
_table = sa.Table(
    "fingerprint",
    _metadata,
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("choice", sa.Integer, primary_key=True),
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
        _metadata.create_all(engine)

    def remember_untraceable(
        self, question: Question, choices: Sequence[Choice], *, epoch: int
    ) -> None:
        """Keep what a complete answer's marks would not lead back to, as `remember` does."""
        if question.inputs:
            # Vectors are no text that anyone could be looking for.
            return
        weak = {
            index: "".join(choice.text)
            for index, choice in enumerate(choices)
            if (choice.evidence or {}).get("status") != TRACEABLE
        }
        self.remember(question.principal.tenant, question.request_id, weak, epoch=epoch)

    def remember(
        self, tenant: str, request_id: str, texts: Mapping[int, str], *, epoch: int
    ) -> None:
        """Keep the fingerprints of an answer's choices. epoch: of the key for digests.

        A table that cannot be written costs a later search, not the answer: it is said and no more.
        """
        key = self._key(tenant, epoch)
        rows = [
            {
                "number": number,
                "request_id": request_id,
                "choice": choice,
                "tenant": tenant,
                "size": len(numbers),
            }
            for choice, text in texts.items()
            for numbers in [fingerprint(text, key=key)]
            for number in numbers
        ]
        if not rows:
            return
        try:
            with store.writing(self._engine).begin() as connection:
                connection.execute(_table.insert(), rows)
        except sa.exc.SQLAlchemyError as error:
            _log.warning("%s has no fingerprint: %s", request_id, type(error).__name__)

    def search(self, text: str, *, tenants: Iterable[str]) -> list[Similar]:
        """Return the requests whose answers share enough with a text, the most first."""
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
        return self._keys.derive(AUDIT_PURPOSE, tenant.encode(), b"fingerprint", epoch=epoch)
