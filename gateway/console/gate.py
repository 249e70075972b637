"""The console's edge: every request passes here, and every failure becomes a page.

1. The connection is private: TLS, or this very machine.
2. The session, if the page is not open to all.
3. The role; a refusal is an entry of the log.
4. A form is this console's own.
5. The page.
"""

import ipaddress
import logging
import secrets
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.asgi import ClientGone, Receive, Scope, Send, source_ip
from gateway.api.errors import INTERNAL, refusal, refusal_headers
from gateway.console import cookies
from gateway.console.cookies import Jar
from gateway.console.forms import read_form, require_own
from gateway.console.headers import HEADERS, TRANSPORT
from gateway.console.languages import chosen
from gateway.console.visit import Console, Visit
from gateway.errors import RequestRefused
from gateway.identity import Role

_log = logging.getLogger("sealgate")
_FORM_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Page:
    """One page. roles: who may have it; None for everybody, signed in or not.

    operation: what entries of the log call it. large: it takes uploads.
    """

    method: str
    path: str
    operation: str
    show: Callable[[Visit], Awaitable[Response]]
    roles: frozenset[Role] | None = None
    large: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """Serves one page."""

    console: Console
    page: Page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Answer a request; whatever fails is a page too."""
        visit, fresh = self._visit(request)
        try:
            _require_private(visit)  # 1
            visit, ended = await self._recognised(visit)  # 2
            response = await self._passed(visit, ended=ended, known=not fresh)
        except ClientGone:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001 - the edge: the browser gets a page.
            response = await self._failed(visit, error)
        is_page = (response.media_type or "").startswith("text/html")
        if fresh and is_page and visit.session is None and visit.secret:
            visit.jar.write(response, cookies.FORM, visit.secret)
        return _guarded(response, secure=visit.jar.secure)

    def _visit(self, request: Request) -> tuple[Visit, bool]:
        """Return the visit before anybody is recognised, and whether its form secret is new."""
        own = _own_address(self.console.gateway.settings.console_url, request)
        jar = Jar(secure=own.startswith("https:"))
        words = chosen(jar.read(request, cookies.LANGUAGE), request.headers.get("accept-language"))
        secret = jar.read(request, cookies.FORM)
        fresh = not secret
        secret = secret or secrets.token_urlsafe(32)
        return Visit(self.console, request, words, jar, own, secret=secret), fresh

    async def _passed(self, visit: Visit, *, ended: bool, known: bool) -> Response:
        page = self.page
        if page.roles is not None:
            if visit.session is None:
                return _to_sign_in(visit, ended=ended)
            await self.console.gateway.doorkeeper.allow(  # 3
                visit.request.scope,
                visit.principal,
                operation=page.operation,
                roles=page.roles,
            )
        if page.method == "POST":  # 4
            limit = self.console.gateway.settings.body_limit_bytes
            form = await read_form(
                visit.request, limit_bytes=limit if page.large else _FORM_LIMIT_BYTES
            )
            secret = visit.secret if known or visit.session else None
            require_own(visit.request, form, secret=secret, origin=visit.origin)
            visit = replace(visit, form=form)
        return await page.show(visit)  # 5

    async def _recognised(self, visit: Visit) -> tuple[Visit, bool]:
        """Return the visit with its session, and whether it showed one that is over."""
        token = visit.jar.read(visit.request, cookies.SESSION)
        if token is None:
            return visit, False
        now = datetime.now(UTC)
        session = await to_thread(self.console.desk.sessions.find, token, now=now)
        if session is None:
            return visit, True
        return replace(visit, session=session, secret=token), False

    async def _failed(self, visit: Visit, error: Exception) -> Response:
        refused = refusal(error)
        if refused.code == INTERNAL:
            _log.error("%s failed", visit.request_id, exc_info=error)
        scope = visit.request.scope
        await self.console.gateway.doorkeeper.refused(scope, refused)
        response = failure(visit, refused)
        response.raw_headers.extend(refusal_headers(refused))
        return response


def failure(visit: Visit, refused: RequestRefused) -> Response:
    """Return the page that says why there is no other."""
    code = refused.code or "invalid_request"
    response = visit.page(
        "failure.html",
        status=refused.status,
        status_code=refused.status,
        code=code,
        title=visit.words.known(f"failure.{code}.title", visit.words("failure.title")),
        message=visit.words.known(f"failure.{code}", refused.message),
    )
    if visit.partial:
        # The whole page says it, not the part that was to change.
        response.headers["hx-retarget"] = "body"
        response.headers["hx-reswap"] = "innerHTML"
    return response


def _to_sign_in(visit: Visit, *, ended: bool) -> Response:
    """Ask for a sign-in, and remember where the visitor wanted to go."""
    if visit.request.method != "GET":
        raise RequestRefused(
            "You are not signed in any more. Sign in and repeat what you did.",
            status=401,
            code="signed_out",
        )
    wanted = visit.request.url.path
    if visit.request.url.query:
        wanted += f"?{visit.request.url.query}"
    path = f"/console/sign-in?next={quote(wanted, safe='')}{'&ended=1' if ended else ''}"
    if visit.partial:
        # A part of an open page would show the sign-in inside it.
        return Response(status_code=204, headers={"hx-redirect": path})
    return visit.to(path)


def _require_private(visit: Visit) -> None:
    """Raise where a key or a page would cross a network in the clear.

    Raises:
        RequestRefused: 403 `tls_required`.
    """
    if visit.jar.secure or _is_loopback(source_ip(visit.request.scope)):
        return
    raise RequestRefused(
        "The console is served over TLS, or on this very machine. Set tls_certificate and "
        "tls_key, or console_url behind a proxy that ends TLS.",
        status=403,
        kind="permission_error",
        code="tls_required",
    )


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _own_address(configured: str | None, request: Request) -> str:
    """Return scheme and host of the console as its visitors see them."""
    if configured is not None:
        parts = urlsplit(configured)
        return f"{parts.scheme}://{parts.netloc}"
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def _guarded(response: Response, *, secure: bool) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if secure:
        response.headers["strict-transport-security"] = TRANSPORT
    if response.status_code == HTTPStatus.UNAUTHORIZED and "www-authenticate" in response.headers:
        # A browser would ask for a password of its own.
        del response.headers["www-authenticate"]
    return response
