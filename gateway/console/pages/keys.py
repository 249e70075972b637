"""Keys: their states and ages, rotation, and destruction by two people. For security staff."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from gateway.console.visit import Visit
from gateway.errors import RequestRefused
from gateway.identity import KEY_PATTERN, Principal, Role
from gateway.keycare import Key
from privacy.errors import ChangeForbidden, PrivacyError
from privacy.genesis import PURPOSES
from privacy.records import ACTIVE, DESTROYED, Destruction
from privacy.references import SIGNERS

_REASON_LIMIT = 200
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Row:
    """A key as the list shows it. rotates: by what name, or None for one that does not here."""

    name: str
    state: str
    created: datetime
    days: int
    rotates: str | None
    destructible: bool


async def show(visit: Visit) -> Response:
    """Show every key but the KEK; that somebody looked is an entry."""
    await visit.record("keys.list", {})
    return await _page(visit, done=visit.request.query_params.get("done"))


async def rotate(visit: Visit) -> Response:
    """Begin a key's next epoch."""
    name = visit.form.text("name", limit=64)
    reason = _reason(visit) or "scheduled rotation"
    if name not in (*PURPOSES, *SIGNERS):
        raise RequestRefused("No key of that name rotates here.", param="name", code="invalid_form")
    try:
        await visit.console.desk.keys.rotate(name, visit.principal, reason=reason)
    except PrivacyError as error:
        return await _page(visit, problem=str(error), status=409)
    return visit.to("/console/keys?done=rotated")


async def destroy(visit: Visit) -> Response:
    """Ask for a key's destruction, or confirm another's request.

    Who does shows their own API key once more: a session left open destroys nothing.
    """
    key, reason = visit.form.text("key", limit=128), _reason(visit)
    if visit.form.text("typed", limit=128) != key:
        return await _page(visit, told="typed", status=400)
    if not reason:
        return await _page(visit, told="reason", status=400)
    principal = await _shown_again(visit)
    if principal is None:
        return await _page(visit, told="credential", status=403)
    try:
        state = await visit.console.desk.keys.destroy(key, principal, reason=reason)
    except PrivacyError as error:
        return await _page(visit, problem=str(error), status=409)
    return visit.to(f"/console/keys?done={state}")


async def _shown_again(visit: Visit) -> Principal | None:
    """Return the security principal whose API key the form holds; a wrong one is recorded."""
    given = visit.form.fields.get("credential", "").strip()
    doorkeeper, scope = visit.gateway.doorkeeper, visit.request.scope

    def look(_: object) -> Principal | None:
        if not KEY_PATTERN.fullmatch(given):
            return None
        found = doorkeeper.credentials.principal(given, now=datetime.now(UTC))
        return found if found is not None and found.role is Role.SECURITY else None

    try:
        return await doorkeeper.known(scope, look, operation="keys.destroy")
    except RequestRefused as refused:
        if refused.code != "invalid_api_key":
            raise
        return None


async def _page(
    visit: Visit,
    *,
    done: str | None = None,
    problem: str | None = None,
    told: str | None = None,
    status: int = 200,
) -> Response:
    care = visit.console.desk.keys
    requests: Sequence[Destruction] = ()
    allowed = True
    try:
        requests = await care.requests()
    except ChangeForbidden:
        allowed = False
    return visit.page(
        "keys.html",
        status=status,
        rows=_rows(await care.listed(), now=datetime.now(UTC)),
        requests=[_asked(each) for each in requests],
        allowed=allowed,
        done=done if done in ("rotated", "destruction-requested", "destroyed") else None,
        problem=problem,
        told=told,
    )


def _rows(keys: Sequence[Key], *, now: datetime) -> list[Row]:
    """Return a row a name, the active ones first: a signer has several keys of one name."""
    rows = {}
    for key in keys:
        base = key.name.partition("@")[0]
        active = key.state == ACTIVE
        rows[key.name] = Row(
            name=key.name,
            state=key.state,
            created=key.created,
            days=(now - key.created).days,
            rotates=base if active and base in (*PURPOSES, *SIGNERS) else None,
            # A model's data key is destroyed at the machine, as it is made there.
            destructible=base in (*PURPOSES, *SIGNERS) and not active and key.state != DESTROYED,
        )
    return sorted(rows.values(), key=lambda row: (row.state != ACTIVE, row.name))


def _asked(each: Destruction) -> dict[str, str | int]:
    _, _, name = each.actor.split(":", 2)
    return {
        "key": each.key,
        "who": name,
        "reason": each.reason,
        "until": each.expires_s * 1000,
    }


def _reason(visit: Visit) -> str:
    reason = visit.form.text("reason", limit=_REASON_LIMIT)
    if reason and not _PRINTABLE.fullmatch(reason):
        raise RequestRefused("The reason is one line.", param="reason", code="invalid_form")
    return reason
