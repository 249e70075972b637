"""Read the whole log and believe nothing: bytes, index columns, tree, head, checkpoints, marks.

This finds every change by whoever lacks the key. Who has it can sign another history; that shows
only against a checkpoint kept elsewhere (`audit.proof.consistency`).
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, store, walk
from audit.errors import CheckpointInvalid, LogTampered
from audit.events import Entry
from audit.merkle import Frontier
from audit.proof import (
    Consistency,
    Proved,
    consistency,
    is_consistency,
    prove,
    verify_consistency,
    verify_proof,
)
from audit.walk import CHUNK

__all__ = [
    "Consistency",
    "LogReport",
    "Proved",
    "consistency",
    "is_consistency",
    "prove",
    "verify_consistency",
    "verify_log",
    "verify_proof",
]

# The entry that says up to where entries were pruned; without it, none may be missing.
PRUNED = "log.pruned"


@dataclass(frozen=True, slots=True)
class LogReport:
    """A log that verified.

    root: hex. phases: entries of each phase. checkpoints: how many, each verified. dangling:
    requests with an intent and no outcome, oldest first; in a gateway that serves they are under
    way. first_ms, last_ms: smallest and largest time of an entry, or None of an empty log.
    note: the newest checkpoint, to be kept elsewhere; empty for an empty log. pruned: how many
    of the first entries are here as hashes only.
    """

    size: int
    root: str
    checkpoints: int
    phases: Mapping[str, int]
    dangling: tuple[str, ...]
    first_ms: int | None
    last_ms: int | None
    note: str
    pruned: int = 0

    @property
    def events(self) -> int:
        """Entries that were read and verified."""
        return self.size - self.pruned


@dataclass(slots=True)
class _Seen:
    """What the walk has met so far."""

    frontier: Frontier = field(default_factory=Frontier)
    phases: Counter[str] = field(default_factory=Counter)
    open: dict[str, None] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    may_be_pruned: int = 0

    def add(self, entry: Entry) -> None:
        self.phases[entry.phase] += 1
        if entry.operation == PRUNED and entry.phase == "system":
            end = json.loads(entry.body)["sealgate"]["detail"].get("end")
            self.may_be_pruned = max(self.may_be_pruned, end if isinstance(end, int) else 0)
        request_id = entry.request_id or ""
        if entry.phase == "intent":
            self.open[request_id] = None
        elif entry.phase in ("outcome", "recovered"):
            self.open.pop(request_id, None)
        if self.first_ms is None or entry.time_ms < self.first_ms:
            self.first_ms = entry.time_ms
        if self.last_ms is None or entry.time_ms > self.last_ms:
            self.last_ms = entry.time_ms


def verify_log(
    engine: sa.Engine,
    *,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
    told: Callable[[int], object] = lambda _: None,
) -> LogReport:
    """Verify the log as it stands, all of it, and return what it holds.

    earlier: keys that checkpoints were signed with before the log's key was rotated. told: hears
    now and then how many entries were read.

    Raises:
        LogTampered: The first entry or checkpoint that is wrong; `index` names the entry.
        LogUnavailable: The log cannot be read.
    """
    with store.reading(engine) as connection, _notes(connection) as rows:
        seen = _Seen()
        nodes = _Nodes(connection)
        checkpoints = _Checkpoints(rows, origin=origin, public_key=public_key, earlier=earlier)
        # 1. Each entry: its place, its bytes, its columns, its index rows.
        # 2. Each inner node as the tree completes it.
        # 3. Each checkpoint, as the tree reaches its size: signature and root.
        with closing(walk.pruned(connection)) as hashes:
            for hashed in hashes:
                nodes.check(seen.frontier, hashed)
                checkpoints.check(seen.frontier)
        pruned = seen.frontier.size
        with closing(walk.entries(connection, pruned)) as entries:
            for entry, hashed in entries:
                nodes.check(seen.frontier, hashed)
                seen.add(entry)
                checkpoints.check(seen.frontier)
                if seen.frontier.size % CHUNK == 0:
                    told(seen.frontier.size)
        # 4. Nothing is signed, stored or indexed beyond the last entry.
        nodes.finish()
        checkpoints.finish(seen.frontier.size)
        walk.require_no_rows_outside(connection, pruned, seen.frontier.size)
        # 5. What is pruned, the log says it is. 6. The head is this tree's.
        _check_pruning(pruned, seen.may_be_pruned)
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
        pruned=pruned,
    )


class _Nodes:
    """The stored inner nodes, taken off one by one as the growing tree completes them."""

    def __init__(self, connection: sa.Connection) -> None:
        table = store.node.c
        query = sa.select(table.level, table.idx, table.hash).where(table.level != 0)
        self._left = {(level, index): hashed for level, index, hashed in connection.execute(query)}

    def check(self, frontier: Frontier, hashed: bytes) -> None:
        """Grow the tree by a leaf and compare what it completes."""
        for level, index, node in frontier.grow(hashed):
            if self._left.pop((level, index), None) != node:
                raise LogTampered(
                    f"The tree's node {index} at level {level} is missing or was changed."
                )

    def finish(self) -> None:
        """Require that no node is left that the tree does not have."""
        for level, index in self._left:
            raise LogTampered(f"The tree's node {index} at level {level} does not exist.")


class _Checkpoints:
    """Walks the stored checkpoints beside the growing tree."""

    def __init__(
        self,
        rows: Iterable[Any],
        *,
        origin: str,
        public_key: bytes,
        earlier: Sequence[bytes],
    ) -> None:
        self._rows = iter(rows)
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


def _notes(connection: sa.Connection) -> sa.CursorResult[Any]:
    table = store.checkpoint.c
    query = sa.select(table.size, table.note).order_by(table.size)
    return connection.execute(query, execution_options={"yield_per": CHUNK})


def _check_pruning(pruned: int, may_be_pruned: int) -> None:
    if pruned > may_be_pruned:
        raise LogTampered(
            f"The first {pruned} entries are gone; the log says so of {may_be_pruned}.",
            index=may_be_pruned,
        )


def _check_head(connection: sa.Connection, frontier: Frontier) -> None:
    row = connection.execute(sa.select(store.head)).one_or_none()
    ours = (frontier.size, frontier.root(), frontier.encode())
    if row is None or (row.size, row.root, row.frontier) != ours:
        raise LogTampered(f"The head is not that of the log's {frontier.size} entries.")
