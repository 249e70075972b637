"""Entries pruned once they are in sealed files that verify (audit.segments).

What is pruned leaves its hash: proofs made before still hold, and new ones of what stays can be
made. A legal hold, a request without an outcome or a young month stops it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from audit import holds, schema, store, tree
from audit.errors import LogTampered, PruningRefused
from audit.merkle import TILE_WIDTH
from audit.segments import end_of, sealed, verify_segment

CHUNK = 32 * TILE_WIDTH
_leaf, _segment = store.leaf, schema.segment


def prune(
    engine: sa.Engine,
    month: str,
    *,
    directory: Path,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
    kept_from_ms: int,
    record: Callable[[int], None],
    now_ms: int,
) -> int:
    """Drop the entries up to the end of a sealed month; return the first index that stays.

    directory: where the months' files lie; each is verified first. kept_from_ms: what is younger
    must stay. record: writes the entry `log.pruned` with that index, before anything is dropped.

    Raises:
        PruningRefused: A month is not sealed, too young, or has a request without an outcome.
        HoldInForce: A legal hold covers one of the entries.
        LogTampered: A month's files are not what was sealed.
        LogUnavailable: The log or the files cannot be used.
    """
    if end_of(month) > kept_from_ms:
        raise PruningRefused(f"{month} is younger than the retention period.")
    segments = [each for each in sealed(engine) if each.month <= month]
    if not segments or segments[-1].month != month:
        raise PruningRefused(f"{month} is not sealed. Seal it first.")
    # 1. Everything that goes is in files that verify.
    for each in segments:
        found = verify_segment(
            directory, each.month, origin=origin, public_key=public_key, earlier=earlier
        )
        if (found.start, found.end, found.sha256) != (each.start, each.end, each.sha256):
            raise LogTampered(f"The files of {each.month} are not those that were sealed.")
    # 2. Whole tiles go, so that the tree above them stays complete.
    end = segments[-1].end // TILE_WIDTH * TILE_WIDTH
    with store.reading(engine) as connection:
        _require_prunable(connection, end)
        first = tree.pruned_end(connection)
    # 3. The log says so first: a gap without such an entry counts as tampering.
    record(end)
    # 4. A few tiles a transaction, so that gateways write in between.
    for start in range(first, end, CHUNK):
        with store.told(), store.writing(engine).begin() as connection:
            _require_prunable(connection, end)
            _drop(connection, min(start + CHUNK, end))
    statement = _segment.update().where(_segment.c.month <= month, _segment.c.pruned_ms.is_(None))
    with store.told(), store.writing(engine).begin() as connection:
        connection.execute(statement.values(pruned_ms=now_ms))
    return end


def _require_prunable(connection: sa.Connection, end: int) -> None:
    holds.require_none_before(connection, end)
    ending = _leaf.alias("ending")
    closed = sa.exists().where(ending.c.uid == _leaf.c.request_id + "/outcome")
    query = sa.select(_leaf.c.request_id).where(
        _leaf.c.idx < end, _leaf.c.phase == "intent", ~closed
    )
    open_request = connection.execute(query.limit(1)).scalar_one_or_none()
    if open_request is not None:
        raise PruningRefused(f"The request {open_request!r} has no outcome yet.")


def _drop(connection: sa.Connection, end: int) -> None:
    """Leave the hashes of the entries below `end`, and nothing else of them."""
    kept = sa.select(sa.literal(0), _leaf.c.idx, _leaf.c.leaf_hash).where(_leaf.c.idx < end)
    connection.execute(store.node.insert().from_select(["level", "idx", "hash"], kept))
    for column in (store.mark.c.leaf_idx, store.subject.c.leaf_idx, _leaf.c.idx):
        connection.execute(sa.delete(column.table).where(column < end))
