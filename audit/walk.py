"""Walk the stored log and believe nothing: each entry's place, bytes, columns and index rows.

What `audit.verify` reads with. The tree's own hashes and checkpoints are checked there.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from audit import events, store
from audit.errors import EventInvalid, LogTampered
from audit.events import Entry
from audit.merkle import leaf_hash

CHUNK = 1024
_NOTHING: list[tuple[Any, ...]] = []
_LEAVES = sa.select(
    store.leaf.c.idx,
    store.leaf.c.leaf_hash,
    store.leaf.c.body,
    store.leaf.c.uid,
    store.leaf.c.time_ms,
    store.leaf.c.phase,
    store.leaf.c.tenant,
    store.leaf.c.request_id,
    store.leaf.c.operation,
).order_by(store.leaf.c.idx)
_Rows = dict[int, list[tuple[Any, ...]]]


def pruned(connection: sa.Connection) -> Generator[bytes, None, None]:
    """Yield the leaf hash of each entry that was pruned.

    Raises:
        LogTampered: They are not the log's first, without gaps.
    """
    table = store.node
    query = sa.select(table.c.idx, table.c.hash).where(table.c.level == 0).order_by(table.c.idx)
    with connection.execute(query, execution_options={"yield_per": CHUNK}) as rows:
        for expected, (index, hashed) in enumerate(rows):
            if index != expected:
                raise LogTampered(f"Entry {expected} is missing.", index=expected)
            yield hashed


def entries(connection: sa.Connection, start: int) -> Generator[tuple[Entry, bytes], None, None]:
    """Yield each entry from `start` on and its leaf hash, having checked all but the tree.

    Raises:
        LogTampered: The first entry that is not as it was written.
    """
    with connection.execute(_LEAVES, execution_options={"yield_per": CHUNK}) as rows:
        for chunk in rows.partitions(CHUNK):
            yield from _checked(connection, chunk, start)
            start += len(chunk)


def _checked(
    connection: sa.Connection, chunk: Sequence[Any], start: int
) -> Iterator[tuple[Entry, bytes]]:
    end = start + len(chunk)
    marks, subjects = _marks(connection, start, end), _subjects(connection, start, end)
    for expected, (index, hashed, body, *columns) in enumerate(chunk, start):
        if index != expected:
            raise LogTampered(f"Entry {expected} is missing.", index=expected)
        entry = _entry(index, hashed, body, columns)
        if marks.get(index, _NOTHING) != _marks_of(entry):
            raise LogTampered(f"The marks of entry {index} were changed.", index=index)
        if subjects.get(index, _NOTHING) != _subjects_of(entry):
            raise LogTampered(f"The pseudonym of entry {index} was changed.", index=index)
        yield entry, hashed


def require_no_rows_outside(connection: sa.Connection, start: int, size: int) -> None:
    """Require that no index row names an entry that is not there.

    Raises:
        LogTampered: One does.
    """
    for column in (store.mark.c.leaf_idx, store.subject.c.leaf_idx):
        query = sa.select(column).where((column < start) | (column >= size)).limit(1)
        stray = connection.execute(query).scalar_one_or_none()
        if stray is not None:
            raise LogTampered(
                f"The index {column.table.name!r} names entry {stray}, which does not exist.",
                index=stray,
            )


def _entry(index: int, hashed: bytes, body: bytes, columns: list[Any]) -> Entry:
    """Check one row: stored hash, canonical bytes, copied columns."""
    # A damaged file can hold any type in any column.
    if type(body) is not bytes or leaf_hash(body) != hashed:
        raise LogTampered(f"Entry {index} was changed: its bytes do not hash to it.", index=index)
    try:
        entry = events.decode(body)
    except EventInvalid as error:
        raise LogTampered(f"Entry {index} is no event. {error}", index=index) from error
    if columns != [
        entry.uid,
        entry.time_ms,
        entry.phase,
        entry.tenant,
        entry.request_id,
        entry.operation,
    ]:
        raise LogTampered(f"The index columns of entry {index} were changed.", index=index)
    return entry


def _marks(connection: sa.Connection, start: int, end: int) -> _Rows:
    """Return the mark index's rows of entries `start` to `end`, by entry and trace id."""
    mark = store.mark.c
    query = (
        sa.select(mark.leaf_idx, mark.trace_id, mark.tenant, mark.epoch, mark.request_id)
        .where(mark.leaf_idx >= start, mark.leaf_idx < end)
        .order_by(mark.leaf_idx, mark.trace_id)
    )
    return _by_entry(connection, query)


def _marks_of(entry: Entry) -> list[tuple[Any, ...]]:
    if entry.mark is None:
        return _NOTHING
    epoch = entry.mark.epoch
    return [(each, entry.tenant, epoch, entry.request_id) for each in entry.mark.trace_ids]


def _subjects(connection: sa.Connection, start: int, end: int) -> _Rows:
    subject = store.subject.c
    query = (
        sa.select(subject.leaf_idx, subject.pseudonym)
        .where(subject.leaf_idx >= start, subject.leaf_idx < end)
        .order_by(subject.leaf_idx, subject.pseudonym)
    )
    return _by_entry(connection, query)


def _subjects_of(entry: Entry) -> list[tuple[Any, ...]]:
    return _NOTHING if entry.pseudonym is None else [(entry.pseudonym,)]


def _by_entry(connection: sa.Connection, query: "sa.Select[Any]") -> _Rows:
    found: _Rows = {}
    for index, *values in connection.execute(query):
        found.setdefault(index, []).append(tuple(values))
    return found
