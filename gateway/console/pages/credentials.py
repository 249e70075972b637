"""Tenants and credentials: list, add, rotate, revoke. For security staff.

A key is shown once, in the answer to the form that made it. A change's entry is on disk before the
change is made.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from gateway import logbook
from gateway.console.visit import Visit
from gateway.errors import CredentialInvalid, CredentialUnknown
from gateway.identity import Credential, Role
from gateway.issuance import added, draw, draw_successor, state

_LONGEST_DAYS = 3650
_LONGEST_OVERLAP_H = 24 * 90


@dataclass(frozen=True, slots=True)
class Row:
    """A credential as the list shows it."""

    credential: Credential
    state: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: how many credentials it has, and how many of them work."""

    name: str
    credentials: int
    working: int


async def show(visit: Visit) -> Response:
    """Show every credential, never a key; that somebody looked is an entry."""
    await visit.record("credentials.list", {})
    return await _page(visit, done=visit.request.query_params.get("done"))


async def add(visit: Visit) -> Response:
    """Make a credential and show its key, this once."""
    form = visit.form
    role, days = form.text("role", limit=16), form.text("days", limit=5)
    if role not in set(Role) or not _within(days, 1, _LONGEST_DAYS):
        return await _page(visit, told="unclear", status=400)
    scopes = frozenset(form.text("scopes", limit=1000).replace(",", " ").split())
    now = datetime.now(UTC)
    try:
        made, key = draw(
            tenant=form.text("tenant", limit=128),
            name=form.text("name"),
            role=Role(role),
            now=now,
            expires=now + timedelta(days=int(days)) if days else None,
            scopes=scopes or None,
        )
    except CredentialInvalid as error:
        return await _page(visit, problem=str(error), status=400)
    await _record(visit, "credential.added", added(made))
    await asyncio.to_thread(visit.gateway.doorkeeper.credentials.store, made, key)
    return await _page(visit, made=made, key=key, status=201)


async def rotate(visit: Visit) -> Response:
    """Make a credential's successor and show its key, this once; the old one works on a while."""
    identifier, hours = visit.request.path_params["id"], visit.form.text("hours", limit=5) or "24"
    if not _within(hours, 0, _LONGEST_OVERLAP_H):
        return await _page(visit, told="unclear", status=400)
    table, now = visit.gateway.doorkeeper.credentials, datetime.now(UTC)
    try:
        old = await asyncio.to_thread(table.working, identifier, now=now)
    except CredentialUnknown:
        return await _page(visit, told="unknown", status=404)
    made, key = draw_successor(old, now=now)
    await _record(visit, "credential.added", added(made, succeeds=identifier))
    overlap = timedelta(hours=int(hours))
    await asyncio.to_thread(table.succeed, identifier, made, key, now=now, overlap=overlap)
    return await _page(visit, made=made, key=key, status=201)


async def revoke(visit: Visit) -> Response:
    """Refuse a credential from now on; sessions that it opened end with it."""
    identifier, table = visit.request.path_params["id"], visit.gateway.doorkeeper.credentials
    try:
        await asyncio.to_thread(table.unrevoked, identifier)
        await _record(visit, "credential.revoked", {"credential_id": identifier})
        await asyncio.to_thread(table.revoke, identifier, now=datetime.now(UTC))
    except CredentialUnknown:
        return await _page(visit, told="unknown", status=404)
    return visit.to("/console/credentials?done=revoked")


async def _record(visit: Visit, operation: str, detail: Mapping[str, Any]) -> None:
    """Record a change of credentials under the name of who made it."""
    await visit.gateway.recorder.record(
        logbook.system(
            operation,
            uid=f"sys_{secrets.token_hex(12)}",
            now=datetime.now(UTC),
            actor=logbook.user(visit.principal),
            detail=detail,
        )
    )


async def _page(
    visit: Visit,
    *,
    done: str | None = None,
    problem: str | None = None,
    told: str | None = None,
    made: Credential | None = None,
    key: str | None = None,
    status: int = 200,
) -> Response:
    known = await asyncio.to_thread(visit.gateway.doorkeeper.credentials.list)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    rows = [Row(each, state(each, now_ms=now_ms)) for each in reversed(known)]
    return visit.page(
        "credentials.html",
        status=status,
        rows=rows,
        tenants=_tenants(rows),
        roles=[role.value for role in Role],
        done=done if done == "revoked" else None,
        problem=problem,
        told=told,
        made=made,
        key=key,
    )


def _tenants(rows: Sequence[Row]) -> list[Tenant]:
    names = sorted({row.credential.tenant for row in rows})
    of = {name: [row for row in rows if row.credential.tenant == name] for name in names}
    return [
        Tenant(name, len(found), sum(row.state == "active" for row in found))
        for name, found in of.items()
    ]


def _within(text: str, least: int, most: int) -> bool:
    """Tell whether a field is empty or a whole number between bounds."""
    if not text:
        return True
    return text.isascii() and text.isdecimal() and least <= int(text) <= most
