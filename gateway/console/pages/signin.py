"""Signing in and out. A wrong key counts against its sender's address as on every route."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from starlette.responses import Response

from gateway import logbook
from gateway.api.asgi import Scope, source_ip
from gateway.console import cookies
from gateway.console.codeflow import CodeFlow
from gateway.console.forms import own_path
from gateway.console.navigation import STAFF
from gateway.console.visit import Visit
from gateway.errors import RequestRefused
from gateway.identity import KEY_PATTERN, Principal

OPERATION = "console.sign_in"
HOME = "/console"


async def show(visit: Visit) -> Response:
    """Show the form, or go on for who is signed in already."""
    wanted = own_path(visit.request.query_params.get("next"), otherwise=HOME)
    if visit.session is not None:
        return visit.to(wanted)
    return _form(visit, wanted, ended="ended" in visit.request.query_params)


async def by_credential(visit: Visit) -> Response:
    """Sign in with an API key of one of the console's roles."""
    wanted = own_path(visit.form.fields.get("next"), otherwise=HOME)
    key = visit.form.fields.get("key", "").strip()
    doorkeeper, scope = visit.gateway.doorkeeper, visit.request.scope

    def look(_: Scope) -> Principal | None:
        # What is no key is not looked up: the table is asked for keys alone.
        if not KEY_PATTERN.fullmatch(key):
            return None
        return doorkeeper.credentials.principal(key, now=datetime.now(UTC))

    try:
        principal = await doorkeeper.known(scope, look, operation=OPERATION)
    except RequestRefused as refused:
        if refused.code != "invalid_api_key":
            raise
        return _form(visit, wanted, wrong=True)
    response = await _signed_in(visit, principal, until=None)
    response.headers["location"] = wanted
    return response


async def leave(visit: Visit) -> Response:
    """Send the browser to the issuer."""
    flow = _flow(visit)
    visit.gateway.doorkeeper.throttle.require_calm(source_ip(visit.request.scope))
    leaving = await asyncio.to_thread(flow.begin, origin=visit.origin)
    wanted = own_path(visit.request.query_params.get("next"), otherwise=HOME)
    response = visit.to(leaving.url)
    kept = f"{leaving.kept}.{quote(wanted, safe='')}"
    visit.jar.write(response, cookies.LEAVING, kept, seconds=cookies.LEAVING_S)
    return response


async def come_back(visit: Visit) -> Response:
    """Sign in whom the issuer sent back.

    The page that answers moves on by itself: a redirection would still count as the issuer's, and
    the browser would not send the new session's cookie along.
    """
    flow, kept = _flow(visit), visit.jar.read(visit.request, cookies.LEAVING) or ""
    secret, _, wanted = kept.rpartition(".")
    query = dict(visit.request.query_params)
    principal, until = await _finished(visit, flow, query, secret)
    response = await _signed_in(visit, principal, until=until)
    page = visit.page("arrived.html", next=own_path(unquote(wanted), otherwise=HOME))
    for value in response.headers.getlist("set-cookie"):
        page.headers.append("set-cookie", value)
    visit.jar.drop(page, cookies.LEAVING)
    return page


async def sign_out(visit: Visit) -> Response:
    """End the session."""
    token = visit.jar.read(visit.request, cookies.SESSION)
    await visit.record("console.sign_out", {})
    if token is not None:
        await asyncio.to_thread(visit.console.desk.sessions.end, token)
    response = visit.to("/console/sign-in")
    visit.jar.drop(response, cookies.SESSION)
    # What the browser kept of the pages is not for who sits down next.
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response


def _form(visit: Visit, wanted: str, *, ended: bool = False, wrong: bool = False) -> Response:
    return visit.page(
        "sign_in.html",
        status=401 if wrong else 200,
        next=wanted,
        ended=ended,
        wrong=wrong,
        issuer=visit.console.desk.codeflow is not None,
        issuer_path=f"/console/sign-in/issuer?next={quote(wanted, safe='')}",
    )


async def _finished(
    visit: Visit, flow: CodeFlow, query: dict[str, str], kept: str
) -> tuple[Principal, datetime]:
    """Return whom the issuer vouches for, and until when; record who came back in vain."""
    scope, doorkeeper = visit.request.scope, visit.gateway.doorkeeper
    try:
        doorkeeper.throttle.require_calm(source_ip(scope))
        found = await asyncio.to_thread(flow.finish, query, kept=kept, origin=visit.origin)
    except RequestRefused as refused:
        if refused.code == "sign_in_refused":
            doorkeeper.throttle.wrong(source_ip(scope))
        await doorkeeper.turned_away(scope, operation=OPERATION, refused=refused)
        raise
    return found.principal, datetime.fromtimestamp(found.until_s, UTC)


async def _signed_in(visit: Visit, principal: Principal, *, until: datetime | None) -> Response:
    """Begin a session, recorded before its id is told."""
    scope, now = visit.request.scope, datetime.now(UTC)
    await visit.gateway.doorkeeper.allow(scope, principal, operation=OPERATION, roles=STAFF)
    await visit.gateway.recorder.record(
        logbook.access(
            OPERATION,
            request_id=visit.request_id,
            actor=logbook.user(principal),
            tenant=principal.tenant,
            detail={"method": principal.method},
            source_ip=source_ip(scope),
            now=now,
        )
    )
    sessions = visit.console.desk.sessions
    # Whoever planted a session in this browser does not share the new one: the old one ends.
    old = visit.jar.read(visit.request, cookies.SESSION)
    if old is not None:
        await asyncio.to_thread(sessions.end, old)
    token = await asyncio.to_thread(sessions.begin, principal, now=now, until=until)
    response = visit.to(HOME)
    visit.jar.write(response, cookies.SESSION, token)
    return response


def _flow(visit: Visit) -> CodeFlow:
    flow = visit.console.desk.codeflow
    if flow is None:
        raise RequestRefused("No issuer is set up here.", status=404, code="unknown_url")
    return flow
