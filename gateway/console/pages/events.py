"""Search of the log's entries, newest first, and one entry with everything in it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from audit.search import Found, Query, decision, search, search_back
from gateway import instants
from gateway.console.visit import Visit
from gateway.errors import RequestRefused

PAGE = 50
_WORDS = ("tenant", "actor", "decision", "operation", "pseudonym", "request")
_LIMIT = 256
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the list shows it."""

    index: int
    time_ms: int
    operation: str
    phase: str
    decision: str
    tenant: str
    actor: str
    role: str
    request: str
    status: str


async def show(visit: Visit) -> Response:
    """Show the form and what it finds; the query is an entry before its answer is shown."""
    given = {k: v.strip() for k, v in visit.request.query_params.items() if v.strip()}
    fields = {name: given.get(name, "") for name in (*_WORDS, "from", "to")}
    problem, found = None, Found((), None)
    try:
        query, before = _query(given)
    except RequestRefused as refused:
        problem = refused.code
    else:
        found = await asyncio.to_thread(search_back, visit.gateway.log, query, before=before)
        asked = {name: value for name, value in given.items() if name in fields or name == "before"}
        detail = {"query": asked, "found": len(found.entries)}
        await visit.record("audit.search", detail)
    more = None
    if found.more is not None:
        kept = {name: value for name, value in fields.items() if value}
        more = f"/console/events?{urlencode(kept | {'before': found.more})}"
    return visit.page(
        "events.html",
        status=400 if problem else 200,
        fields=fields,
        filtered=any(fields.values()),
        problem=problem,
        lines=[line(index, event) for index, event in found.entries],
        more=more,
    )


async def show_one(visit: Visit) -> Response:
    """Show one entry."""
    index = visit.request.path_params["index"]
    if index >= 10**_MOST_DIGITS:
        raise _unknown()
    query = Query(after=index - 1, limit=1)
    found = await asyncio.to_thread(search, visit.gateway.log, query)
    if not found.entries or found.entries[0][0] != index:
        raise _unknown()
    await visit.record("audit.search", {"query": {"index": str(index)}, "found": 1})
    event = found.entries[0][1]
    beside = await asyncio.to_thread(_beside, visit, event)
    return visit.page(
        "event.html",
        line=line(index, event),
        event=event,
        own=event["sealgate"],
        beside=[each for each in beside if each.index != index],
        raw=json.dumps(event, indent=2, ensure_ascii=False, sort_keys=True),
    )


def line(index: int, event: Mapping[str, Any]) -> Line:
    """Return what a list shows of an entry; what an entry lacks is left empty."""
    user = event.get("actor", {}).get("user", {})
    api = event.get("api", {})
    return Line(
        index=index,
        time_ms=int(event.get("time", 0)),
        operation=str(api.get("operation", "")),
        phase=str(event["sealgate"].get("phase", "")),
        decision=decision(event),
        tenant=str(event.get("metadata", {}).get("tenant_uid", "")),
        actor=str(user.get("name", "")),
        role=str(user.get("type", "")),
        request=str((api.get("request") or {}).get("uid", "")),
        status=str(event.get("status_code", "")),
    )


def _beside(visit: Visit, event: Mapping[str, Any]) -> list[Line]:
    """Return the entries of the same request."""
    request = (event.get("api", {}).get("request") or {}).get("uid")
    if not request:
        return []
    found = search(visit.gateway.log, Query(request_id=request, limit=10))
    return [line(index, each) for index, each in found.entries]


def _unknown() -> RequestRefused:
    return RequestRefused("The log holds no such entry.", status=404, code="entry_not_found")


def _query(given: Mapping[str, str]) -> tuple[Query, int | None]:
    """Read the form. `to` is the last day, as people mean it."""
    for name in _WORDS:
        value = given.get(name, "")
        if "\x00" in value or len(value) > _LIMIT:
            raise RequestRefused("A filter is too long.", param=name, code="filter_unclear")
    start, end = _day(given.get("from")), _day(given.get("to"))
    query = Query(
        tenant=given.get("tenant"),
        start_ms=None if start is None else instants.milliseconds(start),
        end_ms=None if end is None else instants.milliseconds(end + timedelta(days=1)),
        actor=given.get("actor"),
        decision=given.get("decision"),
        operation=given.get("operation"),
        pseudonym=given.get("pseudonym"),
        request_id=given.get("request"),
        limit=PAGE,
    )
    if start is not None and end is not None and start > end:
        raise RequestRefused("The period is empty.", param="to", code="period_empty")
    before = given.get("before")
    if before is None:
        return query, None
    if not (before.isascii() and before.isdecimal() and len(before) <= _MOST_DIGITS):
        raise RequestRefused("`before` is a whole number.", param="before", code="filter_unclear")
    return query, int(before)


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        # The calendar's last day has none after it, at which a period could end.
        return day + timedelta(days=1) - timedelta(days=1)
    except (ValueError, OverflowError):
        raise RequestRefused("That is no day.", param="from", code="day_unclear") from None
