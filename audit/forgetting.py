"""Kept content on its way out: one person shredded, or whatever has been kept long enough.

Either is an entry of the log before anything is deleted, and a legal hold stops it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from audit import holds, schema, store
from audit.errors import ContentUnknown, LogUnavailable

_keys, _kept, _terms = schema.subject_key, schema.content, schema.content_term
_hold = schema.hold.c
# Deleted in one transaction, so that gateways write in between.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Shredded:
    """What a shredding did. contents: how many are gone.

    lingers: the deleted bytes are still in the write-ahead log, since somebody reads it now; the
    next writes overwrite them.
    """

    contents: int
    lingers: bool


def shred(engine: sa.Engine, subject: str, *, record: Callable[[], None]) -> Shredded:
    """Delete a subject's key and ciphertexts.

    record: writes the entry that says so, before anything is deleted. Copies of the database keep
    what they had: shred them too, or let them expire.

    Raises:
        ContentUnknown: Nothing is kept of the subject.
        HoldInForce: A legal hold covers it.
        LogUnavailable: It is not deleted.
    """
    with store.reading(engine) as connection:
        _require_shreddable(connection, subject)
    record()
    of_subject = sa.select(_kept.c.request_id, _kept.c.kind).where(_kept.c.subject == subject)
    with store.told(), store.writing(engine).begin() as connection:
        _require_shreddable(connection, subject)
        connection.execute(_keys.delete().where(_keys.c.subject == subject))
        named = sa.tuple_(_terms.c.request_id, _terms.c.kind)
        connection.execute(_terms.delete().where(named.in_(of_subject)))
        gone = connection.execute(_kept.delete().where(_kept.c.subject == subject))
    return Shredded(gone.rowcount, lingers=_lingers(engine))


def due(engine: sa.Engine, *, now_ms: int) -> int:
    """Return how many contents have been kept long enough and are under no hold.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    query = sa.select(sa.func.count()).select_from(_due(now_ms).subquery())
    with store.reading(engine) as connection:
        return int(connection.execute(query).scalar_one())


def expire(engine: sa.Engine, *, now_ms: int, record: Callable[[int], None]) -> Shredded:
    """Delete what has been kept long enough, and the keys of subjects of whom nothing is left.

    record: writes the entry that says so, with how many; not called where there are none.

    Raises:
        LogUnavailable: It is not all deleted; what is left goes the next time.
    """
    number = due(engine, now_ms=now_ms)
    if not number:
        return Shredded(0, lingers=False)
    record(number)
    gone = 0
    while taken := _expire_some(engine, now_ms):
        gone += taken
    with store.told(), store.writing(engine).begin() as connection:
        left = sa.select(_kept.c.subject)
        connection.execute(_keys.delete().where(_keys.c.subject.not_in(left)))
    return Shredded(gone, lingers=_lingers(engine))


def _expire_some(engine: sa.Engine, now_ms: int) -> int:
    with store.told(), store.writing(engine).begin() as connection:
        rows = connection.execute(_due(now_ms).limit(CHUNK)).all()
        for row in rows:
            for table in (_kept, _terms):
                connection.execute(
                    table.delete().where(
                        table.c.request_id == row.request_id, table.c.kind == row.kind
                    )
                )
    return len(rows)


def _due(now_ms: int) -> "sa.Select[tuple[str, str]]":
    held = (
        (_hold.scope == "all")
        | ((_hold.scope == "tenant") & (_hold.value == _terms.c.tenant))
        | ((_hold.scope == "request") & (_hold.value == _terms.c.request_id))
        | ((_hold.scope == "subject") & (_hold.value == _kept.c.subject))
    )
    return (
        sa.select(_terms.c.request_id, _terms.c.kind)
        .join(
            _kept,
            (_kept.c.request_id == _terms.c.request_id) & (_kept.c.kind == _terms.c.kind),
        )
        .where(
            _terms.c.until_ms <= now_ms,
            ~sa.exists().where(_hold.lifted_ms.is_(None), held),
        )
    )


def _lingers(engine: sa.Engine) -> bool:
    try:
        store.forget_deleted(engine)
    except LogUnavailable:
        return True
    return False


def _require_shreddable(connection: sa.Connection, subject: str) -> None:
    holds.require_none(connection, subject=subject)
    if connection.execute(sa.select(_keys).where(_keys.c.subject == subject)).first() is None:
        raise ContentUnknown(f"Nothing is kept of {subject!r}.")
