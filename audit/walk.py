"""Walk the stored log and believe nothing: each entry's place, bytes, columns and index rows.

What `audit.verify` reads with. The tree's own hashes and checkpoints are checked there.
"""

from collections.abc import Generator, Sequence
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


def pruned(connection: sa.Connection) -> Generator[list[bytes], None, None]:
    """Yield the leaf hashes of the entries that were pruned, in chunks.

    Raises:
        LogTampered: They are not the log's first, without gaps.
    """
    table = store.node
    query = sa.select(table.c.idx, table.c.hash).where(table.c.level == 0).order_by(table.c.idx)
    expected = 0
    with connection.execute(query, execution_options={"yield_per": CHUNK}) as rows:
        for chunk in rows.partitions(CHUNK):
            hashes: list[bytes] = []
            for index, hashed in chunk:
                if index != expected:
                    yield hashes
                    raise LogTampered(f"Entry {expected} is missing.", index=expected)
                hashes.append(hashed)
                expected += 1
            yield hashes


def entries(
    connection: sa.Connection, start: int
) -> Generator[list[tuple[Entry, bytes]], None, None]:
    """Yield each entry from `start` on and its leaf hash, having checked all but the tree.

    They come in chunks; whatever is before an entry that fails comes before the error.

    Raises:
        LogTampered: The first entry that is not as it was written.
    """
    with connection.execute(_LEAVES, execution_options={"yield_per": CHUNK}) as rows:
        for chunk in rows.partitions(CHUNK):
            checked: list[tuple[Entry, bytes]] = []
            try:
                _check(connection, chunk, start, checked)
            except LogTampered:
                yield checked
                raise
            yield checked
            start += len(chunk)


def _check(
    connection: sa.Connection, chunk: Sequence[Any], start: int, checked: list[tuple[Entry, bytes]]
) -> None:
    """Check a chunk's entries one by one, and add each that is as it was written."""
    end = start + len(chunk)
    marks, subjects = _marks(connection, start, end), _subjects(connection, start, end)
    for expected, row in enumerate(chunk, start):
        index, hashed, body = row[:3]
        if index != expected:
            raise LogTampered(f"Entry {expected} is missing.", index=expected)
        entry = _entry(index, hashed, body)
        if row[3:] != entry.indexed:
            raise LogTampered(f"The index columns of entry {index} were changed.", index=index)
        if marks.get(index, _NOTHING) != _marks_of(entry):
            raise LogTampered(f"The marks of entry {index} were changed.", index=index)
        if subjects.get(index, _NOTHING) != _subjects_of(entry):
            raise LogTampered(f"The pseudonym of entry {index} was changed.", index=index)
        checked.append((entry, hashed))


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


def _entry(index: int, hashed: bytes, body: bytes) -> Entry:
    """Check one row: its stored hash and its canonical bytes."""
    # A damaged file can hold any type in any column.
    if type(body) is not bytes or leaf_hash(body) != hashed:
        raise LogTampered(f"Entry {index} was changed: its bytes do not hash to it.", index=index)
    try:
        return events.decode(body)
    except EventInvalid as error:
        raise LogTampered(f"Entry {index} is no event. {error}", index=index) from error


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
