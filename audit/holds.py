"""Legal holds: while one is in force, what it covers is neither pruned nor shredded.

A hold covers everything, a tenant, a request or a subject (a pseudonym).
"""

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from audit import schema, store
from audit.errors import HoldInForce

Scope = Literal["all", "tenant", "request", "subject"]
_table = schema.hold
_in_force = _table.c.lifted_ms.is_(None)


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold. value: which tenant, request or subject; empty for `all`."""

    name: str
    scope: Scope
    value: str
    placed_ms: int
    lifted_ms: int | None


def require_unused(engine: sa.Engine, name: str) -> None:
    """Require that no hold was ever placed under a name.

    Raises:
        HoldInForce: One was.
        LogUnavailable: The log cannot be read.
    """
    if any(each.name == name for each in listed(engine)):
        raise _used(name)


def require_in_force(engine: sa.Engine, name: str) -> None:
    """Require that a hold is in force.

    Raises:
        HoldInForce: It is not.
        LogUnavailable: The log cannot be read.
    """
    if all(each.name != name or each.lifted_ms is not None for each in listed(engine)):
        raise _not_in_force(name)


def place(engine: sa.Engine, name: str, *, scope: Scope, value: str, now_ms: int) -> None:
    """Place a hold under a new name.

    Raises:
        HoldInForce: A hold of that name was placed before.
        LogUnavailable: It is not placed.
    """
    with store.told(), store.writing(engine).begin() as connection:
        if connection.execute(sa.select(_table.c.name).where(_table.c.name == name)).first():
            raise _used(name)
        connection.execute(
            _table.insert().values(name=name, scope=scope, value=value, placed_ms=now_ms)
        )


def lift(engine: sa.Engine, name: str, *, now_ms: int) -> None:
    """Lift a hold; it stays listed.

    Raises:
        HoldInForce: No such hold is in force.
        LogUnavailable: It is not lifted.
    """
    statement = _table.update().where(_table.c.name == name, _in_force).values(lifted_ms=now_ms)
    with store.told(), store.writing(engine).begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise _not_in_force(name)


def listed(engine: sa.Engine) -> list[Hold]:
    """Return every hold, oldest first.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    query = sa.select(_table).order_by(_table.c.placed_ms, _table.c.name)
    with store.reading(engine) as connection:
        return [Hold(**row) for row in connection.execute(query).mappings()]


def require_none(connection: sa.Connection, *, subject: str) -> None:
    """Require that nothing forbids to shred a subject.

    Raises:
        HoldInForce: A hold on everything, on the subject, or on a request or tenant of its kept
            content does.
    """
    kept, term = schema.content.c, schema.content_term.c
    own = sa.select(kept.kind).where(kept.subject == subject)
    of_tenant = own.where(
        term.request_id == kept.request_id, term.kind == kept.kind, term.tenant == _table.c.value
    )
    covers = (
        (_table.c.scope == "all")
        | ((_table.c.scope == "subject") & (_table.c.value == subject))
        | ((_table.c.scope == "request") & own.where(kept.request_id == _table.c.value).exists())
        | ((_table.c.scope == "tenant") & of_tenant.exists())
    )
    _require(connection, sa.select(_table.c.name).where(_in_force, covers))


def require_none_before(connection: sa.Connection, end: int) -> None:
    """Require that no hold covers an entry below the index `end`.

    Raises:
        HoldInForce: One does.
    """
    leaf, subject = store.leaf.c, store.subject.c
    below = sa.select(leaf.idx).where(leaf.idx < end)
    told_of = sa.select(subject.leaf_idx).where(
        subject.leaf_idx < end, subject.pseudonym == _table.c.value
    )
    covers = (
        (_table.c.scope == "all")
        | ((_table.c.scope == "tenant") & below.where(leaf.tenant == _table.c.value).exists())
        | ((_table.c.scope == "request") & below.where(leaf.request_id == _table.c.value).exists())
        | ((_table.c.scope == "subject") & told_of.exists())
    )
    _require(connection, sa.select(_table.c.name).where(_in_force, covers))


def _require(connection: sa.Connection, query: "sa.Select[tuple[str]]") -> None:
    name = connection.execute(query.limit(1)).scalar_one_or_none()
    if name is not None:
        raise HoldInForce(f"The legal hold {name!r} forbids it. Lift it first, if you may.")


def _used(name: str) -> HoldInForce:
    return HoldInForce(f"There is a hold {name!r} already. Choose another name.")


def _not_in_force(name: str) -> HoldInForce:
    return HoldInForce(f"No hold {name!r} is in force.")
