"""Questions that the log answers: whose mark is this, what is open, what happened when."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from audit import store


def issued(engine: sa.Engine, *, tenant: str, epoch: int) -> list[tuple[int, str]]:
    """Return every trace id that the tenant's requests of a key epoch were issued, in log order.

    Each comes with its request's id. An id that a seed repeated comes once for each request.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    mark = store.mark.c
    query = (
        sa.select(mark.trace_id, mark.request_id)
        .where(mark.tenant == tenant, mark.epoch == epoch)
        .order_by(mark.leaf_idx, mark.trace_id)
    )
    with store.reading(engine) as connection:
        return [(trace_id, request_id) for trace_id, request_id in connection.execute(query)]


def size(engine: sa.Engine) -> int:
    """Return how many entries the log says it has; nothing is verified.

    Raises:
        LogUnavailable: It cannot be read.
    """
    with store.reading(engine) as connection:
        return connection.execute(sa.select(store.head.c.size)).scalar() or 0


def find_trace(engine: sa.Engine, *, trace_id: int, tenant: str, epoch: int) -> list[str]:
    """Return the ids of the requests that were issued a trace id, oldest first.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    mark = store.mark.c
    query = (
        sa.select(mark.request_id)
        .where(mark.tenant == tenant, mark.epoch == epoch, mark.trace_id == trace_id)
        .order_by(mark.leaf_idx)
    )
    with store.reading(engine) as connection:
        return list(connection.scalars(query))


def events(
    engine: sa.Engine, *, start_ms: int | None = None, end_ms: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield index and event of each whose time lies in a period, in log order.

    start_ms: first millisecond of the period; end_ms: first one after it; None leaves it open.
    The whole walk sees the log as it stood when it began.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    leaf = store.leaf.c
    query = sa.select(leaf.idx, leaf.body).order_by(leaf.idx)
    if start_ms is not None:
        query = query.where(leaf.time_ms >= start_ms)
    if end_ms is not None:
        query = query.where(leaf.time_ms < end_ms)
    with (
        store.reading(engine) as connection,
        connection.execute(query, execution_options={"yield_per": 1024}) as rows,
    ):
        for index, body in rows:
            yield index, json.loads(body)


def events_of(engine: sa.Engine, operations: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield index and event of each entry of these operations, in log order.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    leaf = store.leaf.c
    query = sa.select(leaf.idx, leaf.body).where(leaf.operation.in_(operations)).order_by(leaf.idx)
    with (
        store.reading(engine) as connection,
        connection.execute(query, execution_options={"yield_per": 256}) as rows,
    ):
        for index, body in rows:
            yield index, json.loads(body)


def newest(engine: sa.Engine, operation: str) -> dict[str, Any] | None:
    """Return the newest entry of an operation, or None if there is none that can be read.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    leaf = store.leaf.c
    query = (
        sa.select(leaf.body).where(leaf.operation == operation).order_by(leaf.idx.desc()).limit(1)
    )
    with store.reading(engine) as connection:
        body = connection.scalars(query).first()
    try:
        event = json.loads(body) if body is not None else None
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def dangling(engine: sa.Engine, *, before_ms: int | None = None) -> list[dict[str, Any]]:
    """Return the intents that have no outcome, oldest first; only those older than `before_ms`.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    intent, ending = store.leaf.alias("intent"), store.leaf.alias("ending")
    closed = sa.exists().where(ending.c.uid == intent.c.request_id + "/outcome")
    query = (
        sa.select(intent.c.body).where(intent.c.phase == "intent", ~closed).order_by(intent.c.idx)
    )
    if before_ms is not None:
        query = query.where(intent.c.time_ms < before_ms)
    with store.reading(engine) as connection:
        return [json.loads(body) for body in connection.scalars(query)]
