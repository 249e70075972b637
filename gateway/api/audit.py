"""`/audit/`: the log as C2SP tlog-tiles, queries over it, and proofs. For officers and auditors.

Whatever tells of a request is an entry itself before it is sent; checkpoints and hashes tell of
none. docs/formats/log-v1.md has the paths and formats.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from audit import proof, search, store, tiles
from audit.errors import ContentUnknown, LogTampered, LogUnavailable, RequestUnknown, TileUnknown
from audit.search import Query
from gateway.api.access import admit, record
from gateway.errors import RequestRefused
from gateway.identity import Role

ROLES = frozenset({Role.OFFICER, Role.AUDITOR})
TEXT = "text/plain; charset=utf-8"
_FILTERS = frozenset({"tenant", "actor", "decision", "operation", "pseudonym", "request"})
_NUMBERS = frozenset({"after", "limit"})
_PERIOD = frozenset({"from", "to"})
_Result = TypeVar("_Result")

router = APIRouter(prefix="/audit")


@router.get("/checkpoint")
async def get_checkpoint(request: Request) -> Response:
    """Return the newest checkpoint, as text."""
    await admit(request, "audit.checkpoint", roles=ROLES)

    def read() -> str:
        with store.reading(request.app.state.gateway.log) as connection:
            return tiles.newest(connection)[1]

    return Response(await _asked(read), media_type=TEXT, headers={"cache-control": "no-store"})


@router.get("/tile/{path:path}")
async def get_tile(path: str, request: Request) -> Response:
    """Return a tile or an entry bundle; reading entries is recorded."""
    principal = await admit(request, "audit.tile", roles=ROLES)

    def read() -> bytes:
        tile = tiles.parse(f"tile/{path}")
        with store.reading(request.app.state.gateway.log) as connection:
            return tiles.content(connection, tile)

    data = await _asked(read)
    if path.startswith("entries/"):
        await record(request, principal, "audit.tile", {"tile": path})
    # What a path names never changes; it is not for shared caches, which know no roles.
    caching = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(data, media_type="application/octet-stream", headers=caching)


@router.get("/events")
async def get_events(request: Request) -> dict[str, Any]:
    """Return the entries that a query asks for, oldest first, a page at a time."""
    principal = await admit(request, "audit.search", roles=ROLES)
    query = _query(request.query_params)
    found = await _asked(lambda: search.search(request.app.state.gateway.log, query))
    asked = dict(sorted(request.query_params.items()))
    await record(request, principal, "audit.search", {"query": asked, "found": len(found.entries)})
    return {
        "object": "list",
        "data": [{"index": index, "event": event} for index, event in found.entries],
        "has_more": found.more is not None,
        "after": found.more,
    }


@router.get("/disclosures/{pseudonym}")
async def get_disclosures(pseudonym: str, request: Request) -> dict[str, Any]:
    """Account for what was disclosed of a person (45 CFR 164.528)."""
    principal = await admit(request, "audit.disclosures", roles=ROLES)
    start_ms, end_ms = _period(request.query_params, allowed=_PERIOD)
    log = request.app.state.gateway.log
    told = await _asked(
        lambda: search.disclosures(log, pseudonym, start_ms=start_ms, end_ms=end_ms)
    )
    # In the detail alone: that somebody asked is no disclosure of its own.
    await record(
        request, principal, "audit.disclosures", {"asked_for": pseudonym, "found": len(told)}
    )
    return {
        "object": "list",
        "data": [
            {
                "index": each.index,
                "time_ms": each.time_ms,
                "request_id": each.request_id,
                "recipient": each.recipient,
                "what": each.what,
                "purpose": each.purpose,
            }
            for each in told
        ],
    }


@router.get("/content/{request_id}")
async def get_content(request_id: str, request: Request) -> dict[str, Any]:
    """Decrypt what is kept of a request. For officers; recorded before anything is read."""
    doorkeeper, place = request.app.state.gateway.doorkeeper, request.app.state.gateway.contents
    principal = await doorkeeper.admit(request.scope, operation="content.read", role=Role.OFFICER)
    found = await _asked(lambda: place.listed(request_id=request_id))
    if not found:
        raise RequestRefused(
            "Nothing is kept of that request: it expired, was shredded, or never was.",
            status=404,
            code="content_not_found",
        )
    await record(request, principal, "content.read", {"request": request_id, "found": len(found)})
    texts = await _asked(lambda: [place.read(name, kind).decode() for name, kind in found])
    return {
        "object": "list",
        "data": [
            {"request": name, "kind": kind, "text": text}
            for (name, kind), text in zip(found, texts, strict=True)
        ],
    }


@router.get("/proof/{request_id}")
async def get_proof(request_id: str, request: Request) -> Response:
    """Return the proof document of a request's entries."""
    principal = await admit(request, "audit.prove", roles=ROLES)
    document = await _asked(lambda: proof.prove(request.app.state.gateway.log, request_id))
    await record(request, principal, "audit.prove", {"request": request_id})
    return Response(document, media_type="application/json")


async def _asked(read: Callable[[], _Result]) -> _Result:
    """Read the log beside the event loop; what is not there is 404."""
    try:
        return await asyncio.to_thread(read)
    except RequestUnknown:
        raise RequestRefused(
            "The log holds no request of that id.", status=404, code="request_not_found"
        ) from None
    except ContentUnknown as error:
        raise RequestRefused(str(error), status=404, code="content_not_found") from None
    except TileUnknown as error:
        raise RequestRefused(str(error), status=404, code="tile_not_found") from None
    except LogTampered as error:
        raise LogUnavailable(f"The log contradicts itself. {error}") from error


def _query(given: Mapping[str, str]) -> Query:
    start_ms, end_ms = _period(given, allowed=_FILTERS | _NUMBERS | _PERIOD)
    return Query(
        tenant=given.get("tenant"),
        start_ms=start_ms,
        end_ms=end_ms,
        actor=given.get("actor"),
        decision=given.get("decision"),
        operation=given.get("operation"),
        pseudonym=given.get("pseudonym"),
        request_id=given.get("request"),
        after=_number(given, "after", default=-1),
        limit=_number(given, "limit", default=100),
    )


def _period(given: Mapping[str, str], *, allowed: frozenset[str]) -> tuple[int | None, int | None]:
    for name, value in given.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed))
            raise RequestRefused(f"There is no filter {name!r}; there are {known}.", param=name)
        if "\x00" in value or len(value) > 256:  # noqa: PLR2004 - As long as a name in an event.
            raise RequestRefused(f"{name} holds NUL or more than 256 characters.", param=name)
    start_ms, end_ms = _moment(given, "from"), _moment(given, "to")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise RequestRefused("The period is empty: `from` must lie before `to`.", param="to")
    return start_ms, end_ms


def _moment(given: Mapping[str, str], name: str) -> int | None:
    """Read a moment; one without a zone is in UTC."""
    if name not in given:
        return None
    try:
        moment = datetime.fromisoformat(given[name])
    except ValueError:
        raise RequestRefused(
            f"{name} is no moment: write 2026-01-31 or 2026-01-31T12:00:00Z.", param=name
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _number(given: Mapping[str, str], name: str, *, default: int) -> int:
    text = given.get(name, str(default))
    if name in given and not (text.isascii() and text.isdecimal() and len(text) < 16):  # noqa: PLR2004 - Beyond any index.
        raise RequestRefused(f"{name} is a whole number.", param=name)
    return int(text)
