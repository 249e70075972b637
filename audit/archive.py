"""A log's entries from its first on: pruned ones from their sealed months, the others as they are.

What a sealed month gives is compared, entry by entry, with the hash that pruning left in the log.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit import evidence, store
from audit.errors import LogTampered, LogUnavailable
from audit.merkle import leaf_hash
from audit.segments import Segment, sealed

Indexed = Iterator[tuple[int, dict[str, Any]]]
_node = store.node.c


def events(engine: sa.Engine, directory: Path) -> Indexed:
    """Yield index and event of every entry, in log order.

    directory: where the sealed months lie.

    Raises:
        LogUnavailable: A month that was pruned is not there; the log cannot be read.
        LogTampered: A month's entries are not those that were pruned.
    """
    return _joined(engine, directory, strict=True)


def events_at_hand(engine: sa.Engine, directory: Path) -> Indexed:
    """Yield as `events` does, without the months that are kept elsewhere.

    Raises:
        LogUnavailable: The log cannot be read.
        LogTampered: A month's entries are not those that were pruned.
    """
    return _joined(engine, directory, strict=False)


def _joined(engine: sa.Engine, directory: Path, *, strict: bool) -> Indexed:
    # The walk over the log begins first, so that nothing is pruned between the two.
    live = evidence.events(engine)
    first = next(live, None)
    with store.reading(engine) as connection:
        size: int = connection.execute(sa.select(store.head.c.size)).scalar_one()
    before = size if first is None else first[0]
    for month in sealed(engine) if before else ():
        path = directory / f"{month.month}.ndjson"
        if month.start < before and (strict or path.is_file()):
            yield from _entries(engine, path, month, before)
    if first is not None:
        yield from chain((first,), live)


def _entries(engine: sa.Engine, path: Path, month: Segment, before: int) -> Indexed:
    end = min(month.end, before)
    query = sa.select(_node.idx, _node.hash).where(
        _node.level == 0, _node.idx >= month.start, _node.idx < end
    )
    try:
        with (
            path.open("rb") as file,
            store.reading(engine) as connection,
            connection.execute(
                query.order_by(_node.idx), execution_options={"yield_per": 1024}
            ) as kept,
        ):
            for line, (index, digest) in zip(file, kept, strict=False):
                body = line.removesuffix(b"\n")
                if leaf_hash(body) != digest:
                    raise LogTampered(
                        f"{path.name} does not hold entry {index} as it was pruned.", index=index
                    )
                yield index, json.loads(body)
    except OSError as error:
        raise LogUnavailable(
            f"The entries of {month.month} were pruned, and {path} cannot be read: "
            f"{error.strerror}. Put the sealed month back there."
        ) from None
