"""Read the whole log and believe nothing: bytes, index columns, tree, head, checkpoints, marks.

This finds every change by whoever lacks the key. Who has it can sign another history; that shows
only against a checkpoint kept elsewhere (`audit.proof.consistency`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, events, store
from audit.errors import CheckpointInvalid, EventInvalid, LogTampered
from audit.events import Entry
from audit.merkle import Frontier, leaf_hash
from audit.proof import (
    Consistency,
    Proved,
    consistency,
    prove,
    verify_consistency,
    verify_proof,
)
from audit.writer import mark_rows

__all__ = [
    "Consistency",
    "LogReport",
    "Proved",
    "consistency",
    "prove",
    "verify_consistency",
    "verify_log",
    "verify_proof",
]

CHUNK = 1024


@dataclass(frozen=True, slots=True)
class LogReport:
    """A log that verified.

    root: hex. phases: entries of each phase. checkpoints: how many, each verified. dangling:
    requests with an intent and no outcome, oldest first; in a gateway that serves they are under
    way. first_ms, last_ms: smallest and largest time of an entry, or None of an empty log.
    note: the newest checkpoint, to be kept elsewhere; empty for an empty log.
    """

    size: int
    root: str
    checkpoints: int
    phases: Mapping[str, int]
    dangling: tuple[str, ...]
    first_ms: int | None
    last_ms: int | None
    note: str

    @property
    def events(self) -> int:
        """Entries that were read and verified."""
        return self.size


@dataclass(slots=True)
class _Seen:
    """What the walk has met so far."""

    frontier: Frontier = field(default_factory=Frontier)
    phases: Counter[str] = field(default_factory=Counter)
    open: dict[str, None] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, entry: Entry) -> None:
        self.phases[entry.phase] += 1
        request_id = entry.request_id or ""
        if entry.phase == "intent":
            self.open[request_id] = None
        elif entry.phase in ("outcome", "recovered"):
            self.open.pop(request_id, None)
        self.first_ms = min(entry.time_ms, self.first_ms or entry.time_ms)
        self.last_ms = max(entry.time_ms, self.last_ms or entry.time_ms)


def verify_log(
    engine: sa.Engine, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> LogReport:
    """Verify the log as it stands, all of it, and return what it holds.

    earlier: keys that checkpoints were signed with before the log's key was rotated.

    Raises:
        LogTampered: The first entry or checkpoint that is wrong; `index` names the entry.
        LogUnavailable: The log cannot be read.
    """
    with store.reading(engine) as connection:
        # 1. Each entry: its place, its bytes, its columns, its marks.
        # 2. Each checkpoint, as the tree reaches its size: signature and root.
        seen = _Seen()
        checkpoints = _Checkpoints(
            connection, origin=origin, public_key=public_key, earlier=earlier
        )
        for entry, hashed in _entries(connection):
            seen.frontier.append(hashed)
            seen.add(entry)
            checkpoints.check(seen.frontier)
        # 3. Nothing is signed, and no mark is indexed, beyond the last entry.
        checkpoints.finish(seen.frontier.size)
        _require_no_marks_beyond(connection, seen.frontier.size)
        # 4. The head is this tree's.
        _check_head(connection, seen.frontier)
    return LogReport(
        size=seen.frontier.size,
        root=seen.frontier.root().hex(),
        checkpoints=checkpoints.verified,
        phases=dict(sorted(seen.phases.items())),
        dangling=tuple(seen.open),
        first_ms=seen.first_ms,
        last_ms=seen.last_ms,
        note=checkpoints.newest,
    )


class _Checkpoints:
    """Walks the stored checkpoints beside the growing tree."""

    def __init__(
        self,
        connection: sa.Connection,
        *,
        origin: str,
        public_key: bytes,
        earlier: Sequence[bytes],
    ) -> None:
        table = store.checkpoint
        query = sa.select(table.c.size, table.c.note).order_by(table.c.size)
        rows = connection.execution_options(yield_per=CHUNK).execute(query)
        self._rows: Iterator[Any] = iter(rows)
        self._next = next(self._rows, None)
        self._origin = origin
        self._public_key = public_key
        self._earlier = earlier
        self._covered = 0
        self.verified = 0
        self.newest = ""

    def check(self, frontier: Frontier) -> None:
        """Verify the checkpoint of the tree's present size, if one is stored."""
        if self._next is None or self._next.size > frontier.size:
            return
        size, note = self._next
        try:
            told = checkpoint.verify(
                note, origin=self._origin, public_key=self._public_key, earlier=self._earlier
            )
        except CheckpointInvalid as error:
            raise LogTampered(
                f"The checkpoint of {size} entries does not hold. {error}", index=self._covered
            ) from error
        if told.size != size or size != frontier.size:
            raise LogTampered(
                f"A checkpoint of {told.size} entries is stored as one of {size}.",
                index=self._covered,
            )
        if told.root != frontier.root():
            raise LogTampered(
                f"An entry from {self._covered} to {size - 1} is not the one that was signed.",
                index=self._covered,
            )
        self._covered, self.newest = size, note
        self.verified += 1
        self._next = next(self._rows, None)

    def finish(self, size: int) -> None:
        """Require that the newest checkpoint covers all `size` entries and no more."""
        if self._next is not None:
            raise LogTampered(
                f"Entry {size} is missing: a checkpoint covers {self._next.size} entries.",
                index=size,
            )
        if self._covered != size:
            raise LogTampered(
                f"No checkpoint covers the entries from {self._covered} on.", index=self._covered
            )


def _entries(connection: sa.Connection) -> Iterator[tuple[Entry, bytes]]:
    """Yield each entry and its leaf hash, having checked everything but the tree."""
    query = sa.select(store.leaf).order_by(store.leaf.c.idx)
    rows = connection.execution_options(yield_per=CHUNK).execute(query)
    expected = 0
    for chunk in rows.partitions(CHUNK):
        marks = _marks(connection, expected, expected + len(chunk))
        for row in chunk:
            if row.idx != expected:
                raise LogTampered(f"Entry {expected} is missing.", index=expected)
            yield _entry(row, marks.get(expected, [])), row.leaf_hash
            expected += 1


def _entry(row: Any, marks: list[dict[str, object]]) -> Entry:
    """Check one row: stored hash, canonical bytes, columns, marks."""
    index = row.idx
    # A damaged file can hold any type in any column.
    if type(row.body) is not bytes or leaf_hash(row.body) != row.leaf_hash:
        raise LogTampered(f"Entry {index} was changed: its bytes do not hash to it.", index=index)
    try:
        entry = events.decode(row.body)
    except EventInvalid as error:
        raise LogTampered(f"Entry {index} is no event. {error}", index=index) from error
    columns = (row.uid, row.time_ms, row.phase, row.tenant, row.request_id, row.operation)
    fields = (
        entry.uid,
        entry.time_ms,
        entry.phase,
        entry.tenant,
        entry.request_id,
        entry.operation,
    )
    if columns != fields:
        raise LogTampered(f"The index columns of entry {index} were changed.", index=index)
    if marks != mark_rows(entry, index):
        raise LogTampered(f"The marks of entry {index} were changed.", index=index)
    return entry


def _marks(connection: sa.Connection, start: int, end: int) -> dict[int, list[dict[str, object]]]:
    """Return the mark index's rows of entries `start` to `end`, by entry and trace id."""
    mark = store.mark
    query = (
        mark.select()
        .where(mark.c.leaf_idx >= start, mark.c.leaf_idx < end)
        .order_by(mark.c.leaf_idx, mark.c.trace_id)
    )
    found: dict[int, list[dict[str, object]]] = {}
    rows: Iterable[Any] = connection.execute(query).mappings()
    for row in rows:
        found.setdefault(row["leaf_idx"], []).append(dict(row))
    return found


def _require_no_marks_beyond(connection: sa.Connection, size: int) -> None:
    leaf_idx = store.mark.c.leaf_idx
    query = sa.select(leaf_idx).where((leaf_idx < 0) | (leaf_idx >= size)).limit(1)
    stray = connection.execute(query).scalar_one_or_none()
    if stray is not None:
        raise LogTampered(f"A mark names entry {stray}, which does not exist.", index=stray)


def _check_head(connection: sa.Connection, frontier: Frontier) -> None:
    row = connection.execute(sa.select(store.head)).one_or_none()
    ours = (frontier.size, frontier.root(), frontier.encode())
    if row is None or (row.size, row.root, row.frontier) != ours:
        raise LogTampered(f"The head is not that of the log's {frontier.size} entries.")
