"""Read the whole log and believe nothing: bytes, index columns, tree, head, checkpoints, marks.

This finds every change by whoever lacks the key. Who has it can sign another history; that shows
only against a checkpoint kept elsewhere (`audit.proof.consistency`).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import sqlalchemy as sa

from audit import store, walk
from audit.errors import LogTampered
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
from audit.regrowth import regrowing

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

    phases: Counter[str] = field(default_factory=Counter)
    open: dict[str, None] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    may_be_pruned: int = 0

    def add(self, entries: Sequence[Entry]) -> None:
        self.phases.update([entry.phase for entry in entries])
        for entry in entries:
            if entry.phase == "intent":
                self.open[entry.request_id or ""] = None
            elif entry.phase in ("outcome", "recovered"):
                self.open.pop(entry.request_id or "", None)
            elif entry.operation == PRUNED and entry.phase == "system":
                end = json.loads(entry.body)["sealgate"]["detail"].get("end")
                self.may_be_pruned = max(self.may_be_pruned, end if isinstance(end, int) else 0)
        times = [entry.time_ms for entry in entries]
        if times:
            self.first_ms = min(times if self.first_ms is None else [self.first_ms, *times])
            self.last_ms = max(times if self.last_ms is None else [self.last_ms, *times])


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
    with (
        store.reading(engine) as connection,
        regrowing(connection, origin=origin, public_key=public_key, earlier=earlier) as tree,
    ):
        seen = _Seen()
        # 1. Each entry: its place, its bytes, its columns, its index rows.
        # 2. Each inner node as the tree completes it.
        # 3. Each checkpoint, as the tree reaches its size: signature and root.
        with closing(walk.pruned(connection)) as chunks:
            for hashes in chunks:
                tree.grow(hashes)
        pruned = tree.frontier.size
        with closing(walk.entries(connection, pruned)) as checked:
            for chunk in checked:
                tree.grow([hashed for _, hashed in chunk])
                seen.add([entry for entry, _ in chunk])
                told(tree.frontier.size)
        # 4. Nothing is signed, stored or indexed beyond the last entry.
        tree.finish()
        walk.require_no_rows_outside(connection, pruned, tree.frontier.size)
        # 5. What is pruned, the log says it is. 6. The head is this tree's.
        _check_pruning(pruned, seen.may_be_pruned)
        _check_head(connection, tree.frontier)
    return LogReport(
        size=tree.frontier.size,
        root=tree.frontier.root().hex(),
        checkpoints=tree.checkpoints,
        phases=dict(sorted(seen.phases.items())),
        dangling=tuple(seen.open),
        first_ms=seen.first_ms,
        last_ms=seen.last_ms,
        note=tree.newest,
        pruned=pruned,
    )


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
