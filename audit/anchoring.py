"""Checkpoints handed to other places, and the log held against what those places kept.

An anchor that fails leaves the log as it is: the report says from when on it was not anchored.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from audit import checkpoint, merkle, schema, store, tiles, tree
from audit.anchors.kinds import Anchor, ProofFrom
from audit.checkpoint import Checkpoint
from audit.errors import AnchorFailed, CheckpointInvalid, LogTampered

# Several gateways append to one place; the newest that we know of is among so many.
KEPT_AT_START = 1000
# The entry that says so. It is no news itself: an idle log would never come to rest.
ANCHORED = "log.anchored"
_table = schema.anchor


@dataclass(frozen=True, slots=True)
class Anchored:
    """The newest checkpoint that a place took. behind: entries since, but those of anchoring."""

    kind: str
    place: str
    size: int
    time_ms: int
    behind: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of handing over a checkpoint. problem: None if the place took it.

    lag_ms: age of the oldest entry that no earlier checkpoint there covers. news: whether any of
    those tells of anything but anchoring.
    """

    kind: str
    place: str
    size: int
    problem: str | None
    lag_ms: int = 0
    news: bool = True


def anchor(engine: sa.Engine, anchors: Iterable[Anchor], *, now_ms: int) -> list[Attempt]:
    """Hand the newest checkpoint to every place that has not got it yet.

    Raises:
        TileUnknown: The log is empty.
        LogUnavailable: The log cannot be read, or the receipt not be kept.
        LogTampered: The stored tree has gaps.
    """
    attempts = []
    for place in anchors:
        with store.reading(engine) as connection:
            size, note = tiles.newest(connection)
            since = _newest(connection, place)
            if since == size:
                continue
            problem = None
            lag_ms, news = _uncovered(connection, since, now_ms)
            try:
                receipt = place.keep(
                    note, since=since, proof_from=_proofs(connection, size), now_ms=now_ms
                )
            except AnchorFailed as error:
                problem = str(error)
        if problem is None:
            _keep_receipt(engine, place, size, note, receipt, now_ms)
        attempts.append(Attempt(place.kind, place.place, size, problem, lag_ms, news))
    return attempts


def anchored(engine: sa.Engine) -> list[Anchored]:
    """Return for each place the newest checkpoint that it took; empty for an unanchored log.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    newest = sa.select(_table.c.kind, _table.c.place, sa.func.max(_table.c.size).label("size"))
    each = newest.group_by(_table.c.kind, _table.c.place).subquery()
    query = (
        sa.select(_table.c.kind, _table.c.place, _table.c.size, _table.c.time_ms)
        .join(
            each,
            (_table.c.kind == each.c.kind)
            & (_table.c.place == each.c.place)
            & (_table.c.size == each.c.size),
        )
        .order_by(_table.c.kind, _table.c.place)
    )
    with store.reading(engine) as connection:
        return [
            Anchored(row.kind, row.place, row.size, row.time_ms, _behind(connection, row.size))
            for row in connection.execute(query).all()
        ]


def check(
    engine: sa.Engine,
    anchors: Iterable[Anchor],
    *,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
) -> list[Checkpoint]:
    """Hold the log against everything that each place kept; return the newest checkpoint of each.

    Raises:
        LogTampered: The log does not extend what was anchored, or a place has lost what it took.
        AnchorFailed: A place cannot be read.
        LogUnavailable: The log cannot be read.
    """
    trust = _Trust(engine, origin, public_key, earlier)
    newest = []
    for place in anchors:
        # 1. What we know a place took, it still has.
        kept, receipts = dict.fromkeys(place.kept()), _receipts(engine, place)
        for note, receipt in receipts:
            _require_kept(place, note, receipt, kept)
        # 2. The log extends every checkpoint that was kept: of two histories, the shorter may be
        # the true one.
        heads = [trust.check(place, note) for note in dict.fromkeys([*kept, *_notes(receipts)])]
        newest += [max(heads, key=lambda each: each.size)] if heads else []
    return newest


def check_newest(
    engine: sa.Engine,
    anchors: Iterable[Anchor],
    *,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
) -> None:
    """Hold the log against the newest checkpoint of each place, as a start does.

    Raises:
        LogTampered, AnchorFailed, LogUnavailable: As `check` does.
    """
    trust = _Trust(engine, origin, public_key, earlier)
    for place in anchors:
        receipts = _receipts(engine, place)[-1:]
        kept = deque(place.kept(), maxlen=KEPT_AT_START)
        for note, receipt in receipts:
            _require_kept(place, note, receipt, kept)
        for note in dict.fromkeys([*list(kept)[-1:], *_notes(receipts)]):
            trust.check(place, note)


@dataclass(frozen=True, slots=True)
class _Trust:
    """The log, and whose checkpoints of it count."""

    engine: sa.Engine
    origin: str
    public_key: bytes
    earlier: Sequence[bytes]

    def check(self, place: Anchor, note: str) -> Checkpoint:
        """Return the checkpoint that a place kept, once the log turned out to extend it.

        Where its root is that of our first entries, its signature adds nothing: its key may have
        been revoked since. Where it is not, the signature tells a rewritten log from a stray note.
        """
        try:
            head = checkpoint.unverified(note)
            if head.origin == self.origin and head.root == _root(self.engine, head.size):
                return head
            checkpoint.verify(
                note, origin=self.origin, public_key=self.public_key, earlier=self.earlier
            )
        except CheckpointInvalid as error:
            raise LogTampered(f"{place.place} kept what this log never signed. {error}") from error
        raise LogTampered(
            f"{place.place} kept a checkpoint of {head.size} entries that the log does not extend: "
            "it was cut, restored from an older copy, or rewritten."
        )


def _notes(receipts: Iterable[tuple[str, bytes]]) -> list[str]:
    return [note for note, _ in receipts]


def _require_kept(place: Anchor, note: str, receipt: bytes, kept: Collection[str]) -> None:
    try:
        place.check(note, receipt)
    except AnchorFailed as error:
        raise LogTampered(f"An anchor was removed or changed. {error}") from error
    # A place that gives checkpoints back gives all of them back.
    if place.gives_back and note not in kept:
        size = note.split("\n")[1]
        raise LogTampered(f"{place.place} took a checkpoint of {size} entries and lost it.")


def _proofs(connection: sa.Connection, size: int) -> ProofFrom:
    root = tree.roots(connection)

    def proof_from(old: int) -> list[bytes]:
        if old > size:
            raise AnchorFailed(f"The place knows {old} entries; the log has {size}.")
        return [root(each) for each in merkle.consistency_ranges(old, size)]

    return proof_from


def _behind(connection: sa.Connection, size: int) -> int:
    leaf = store.leaf.c
    query = sa.select(sa.func.count()).where(leaf.idx >= size, leaf.operation != ANCHORED)
    return int(connection.execute(query).scalar_one())


def _uncovered(connection: sa.Connection, since: int, now_ms: int) -> tuple[int, bool]:
    """Return how long the oldest entry from `since` on waits, and whether one is news."""
    leaf = store.leaf.c
    oldest = sa.select(leaf.time_ms).where(leaf.idx >= since).order_by(leaf.idx).limit(1)
    written_ms = connection.execute(oldest).scalar_one_or_none()
    other = sa.select(leaf.idx).where(leaf.idx >= since, leaf.operation != ANCHORED).limit(1)
    news = connection.execute(other).first() is not None
    return (0 if written_ms is None else max(0, now_ms - written_ms)), news


def _newest(connection: sa.Connection, place: Anchor) -> int:
    query = sa.select(sa.func.max(_table.c.size)).where(
        _table.c.kind == place.kind, _table.c.place == place.place
    )
    return connection.execute(query).scalar_one() or 0


def _keep_receipt(
    engine: sa.Engine, place: Anchor, size: int, note: str, receipt: bytes, now_ms: int
) -> None:
    row = {"kind": place.kind, "place": place.place, "size": size}
    with store.told(), store.writing(engine).begin() as connection:
        known = sa.select(_table.c.size).filter_by(**row)
        # Another gateway may have handed over the same checkpoint meanwhile.
        if connection.execute(known).first() is None:
            values = {"time_ms": now_ms, "note": note, "receipt": receipt}
            connection.execute(_table.insert().values(row | values))


def _root(engine: sa.Engine, size: int) -> bytes | None:
    """Return the root of the first `size` entries, None if there are not so many."""
    with store.reading(engine) as connection:
        held: int = connection.execute(sa.select(store.head.c.size)).scalar_one()
        return tree.frontier(connection, size).root() if size <= held else None


def _receipts(engine: sa.Engine, place: Anchor) -> list[tuple[str, bytes]]:
    query = (
        sa.select(_table.c.note, _table.c.receipt)
        .where(_table.c.kind == place.kind, _table.c.place == place.place)
        .order_by(_table.c.size)
    )
    with store.reading(engine) as connection:
        return [(note, receipt) for note, receipt in connection.execute(query)]
