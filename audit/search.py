"""Look for entries, and account for what was disclosed of a person.

Who may ask is the caller's to decide, and to record: each query is itself an entry.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit import store

PAGE_LIMIT = 1000
# How many entries one query reads at most before it hands over what it has.
SCAN_LIMIT = 200_000
_leaf, _subject = store.leaf.c, store.subject.c


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; None asks for nothing.

    start_ms, end_ms: first millisecond, and the first one after. actor: a user's uid or name.
    decision: `allowed`, `denied`, or the reason of a refusal. pseudonym: entries that name it, and
    the others of the same requests. after: an index; only later entries. limit: of entries.
    """

    tenant: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    actor: str | None = None
    decision: str | None = None
    operation: str | None = None
    pseudonym: str | None = None
    request_id: str | None = None
    after: int = -1
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Found:
    """Entries by index, oldest first. more: where to go on with `after`, None at the end."""

    entries: tuple[tuple[int, dict[str, Any]], ...]
    more: int | None


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One disclosure of a person's data, with what 45 CFR 164.528(b)(2) asks to tell.

    time_ms: when. recipient: to whom. what: of what. purpose: why.
    """

    index: int
    time_ms: int
    request_id: str | None
    recipient: str
    what: str
    purpose: str


def search(engine: sa.Engine, query: Query) -> Found:
    """Return the entries that a query asks for.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    asked = _asked(query).order_by(_leaf.idx)
    return _gathered(engine, query, asked, last=query.after)


def search_back(engine: sa.Engine, query: Query, *, before: int | None = None) -> Found:
    """Return the entries that a query asks for, the newest first.

    before: an index; only earlier entries. The result's `more` is what to give it next.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    asked = _asked(query).order_by(_leaf.idx.desc())
    if before is not None:
        asked = asked.where(_leaf.idx < before)
    return _gathered(engine, query, asked, last=before or 0)


def _gathered(
    engine: sa.Engine, query: Query, asked: "sa.Select[tuple[Any, ...]]", *, last: int
) -> Found:
    """Read candidates in their order until a page is full. last: where nothing was read yet."""
    limit = max(1, min(query.limit, PAGE_LIMIT))
    entries: list[tuple[int, dict[str, Any]]] = []
    read = 0
    with closing(_candidates(engine, asked)) as candidates:
        for index, event in candidates:
            if len(entries) == limit or read == SCAN_LIMIT:
                return Found(tuple(entries), last)
            last, read = index, read + 1
            if _matches(query, event):
                entries.append((index, event))
    return Found(tuple(entries), None)


def disclosures(
    engine: sa.Engine, pseudonym: str, *, start_ms: int | None = None, end_ms: int | None = None
) -> list[Disclosure]:
    """Return what was disclosed of a person in a period, oldest first (45 CFR 164.528).

    Each intent and each recorded disclosure that names the pseudonym counts; pruned entries are
    in the sealed months alone.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    query = (
        sa.select(_leaf.idx, _leaf.body)
        .join(store.subject, _subject.leaf_idx == _leaf.idx)
        .where(_subject.pseudonym == pseudonym)
        .order_by(_leaf.idx)
    )
    with store.reading(engine) as connection:
        return [
            _disclosure(index, json.loads(body))
            for index, body in connection.execute(_within(query, start_ms, end_ms))
        ]


def decision(event: Mapping[str, Any]) -> str:
    """Return `allowed`, or the reason why the request of this event was refused."""
    own = event["sealgate"]
    return str(own["reason"]) if own["phase"] == "denied" else "allowed"


def _asked(query: Query) -> "sa.Select[tuple[Any, ...]]":
    """Return what the database's own columns can tell."""
    asked = sa.select(_leaf.idx, _leaf.body).where(_leaf.idx > query.after)
    for column, value in (
        (_leaf.tenant, query.tenant),
        (_leaf.operation, query.operation),
        (_leaf.request_id, query.request_id),
    ):
        if value is not None:
            asked = asked.where(column == value)
    if query.pseudonym is not None:
        named = sa.select(_leaf.request_id).join(store.subject, _subject.leaf_idx == _leaf.idx)
        requests = named.where(_subject.pseudonym == query.pseudonym)
        asked = asked.where(_leaf.request_id.in_(requests))
    return _within(asked, query.start_ms, query.end_ms)


def _candidates(
    engine: sa.Engine, asked: "sa.Select[tuple[Any, ...]]"
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Yield the entries that the database lets through."""
    with (
        store.reading(engine) as connection,
        connection.execute(asked, execution_options={"yield_per": 256}) as rows,
    ):
        for index, body in rows:
            yield index, json.loads(body)


def _within(
    query: "sa.Select[tuple[Any, ...]]", start_ms: int | None, end_ms: int | None
) -> "sa.Select[tuple[Any, ...]]":
    if start_ms is not None:
        query = query.where(_leaf.time_ms >= start_ms)
    if end_ms is not None:
        query = query.where(_leaf.time_ms < end_ms)
    return query


def _matches(query: Query, event: dict[str, Any]) -> bool:
    user = event["actor"]["user"]
    if query.actor is not None and query.actor not in (user["uid"], user["name"]):
        return False
    if query.decision == "denied":
        return bool(event["sealgate"]["phase"] == "denied")
    return query.decision is None or decision(event) == query.decision


def _disclosure(index: int, event: dict[str, Any]) -> Disclosure:
    own, user, api = event["sealgate"], event["actor"]["user"], event["api"]
    detail = own.get("detail", {})
    return Disclosure(
        index=index,
        time_ms=event["time"],
        request_id=(api.get("request") or {}).get("uid"),
        recipient=str(detail.get("recipient") or f"{user['name']} ({user['uid']})"),
        what=str(detail.get("what") or f"{api['operation']}, {own.get('data_class', 'as told')}"),
        purpose=str(detail.get("purpose") or own.get("purpose") or "unspecified"),
    )
