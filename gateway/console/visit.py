"""One request at the console: who, in which language, with what form; and the pages it can get."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway import logbook
from gateway.api.asgi import REQUEST_ID, source_ip
from gateway.console.cookies import Jar
from gateway.console.desk import Desk
from gateway.console.forms import TOKEN, Form
from gateway.console.languages import LANGUAGES, Words, words
from gateway.console.navigation import entries
from gateway.console.rendering import Templates
from gateway.console.sessions import Session, form_token
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.pacing import Pace
from gateway.parts import Gateway

SEE_OTHER = 303
# A part of a page, for a page that is open already.
_PARTIAL = "hx-request"


@dataclass(frozen=True, slots=True)
class Console:
    """What every page works with. pace: counts costly calls by credential, those of the API too."""

    gateway: Gateway
    templates: Templates
    pace: Pace

    @property
    def desk(self) -> Desk:
        """The console's own parts.

        Raises:
            RequestRefused: 404, this gateway has no console.
        """
        if self.gateway.desk is None:
            raise RequestRefused("There is no console here.", status=404, code="unknown_url")
        return self.gateway.desk


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. session: None before sign-in. secret: what this browser's forms are bound to.

    origin: the console's own scheme and host, as the browser sees them.
    """

    console: Console
    request: Request
    words: Words
    jar: Jar
    origin: str
    session: Session | None = None
    secret: str | None = field(default=None, repr=False)
    form: Form = field(default_factory=Form)

    @property
    def gateway(self) -> Gateway:
        """The gateway's parts."""
        return self.console.gateway

    @property
    def request_id(self) -> str:
        """This request's own id, as its response's header has it."""
        found: str = self.request.scope[REQUEST_ID]
        return found

    @property
    def principal(self) -> Principal:
        """Who is signed in; only for pages that nobody reaches otherwise."""
        if self.session is None:
            raise RequestRefused("Nobody is signed in.", status=401, code="signed_out")
        return self.session.principal

    @property
    def partial(self) -> bool:
        """Whether an open page asks for a part of itself."""
        return self.request.headers.get(_PARTIAL) == "true"

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page, or what an open page asked for a part of itself."""
        text = self.console.templates.render(template, {**self._common(), **values})
        response = Response(text, status, media_type="text/html; charset=utf-8")
        response.headers["vary"] = "cookie, accept-language, hx-request"
        return response

    def to(self, path: str) -> Response:
        """Send the browser to another page, which it is to GET."""
        return RedirectResponse(path, SEE_OTHER)

    async def record(self, operation: str, detail: Mapping[str, Any]) -> None:
        """Record that the visitor asked for something; durable on return.

        Raises:
            LogUnavailable: It is not, and nothing may be shown.
        """
        await self.gateway.recorder.record(
            logbook.access(
                operation,
                request_id=self.request_id,
                actor=logbook.user(self.principal),
                tenant=self.principal.tenant,
                detail=detail,
                source_ip=source_ip(self.request.scope),
                now=datetime.now(UTC),
            )
        )

    def _common(self) -> dict[str, Any]:
        session = self.session
        role = session.principal.role if session else None
        path = self.request.url.path
        return {
            "t": self.words,
            "languages": [words(code) for code in LANGUAGES],
            "session": session,
            "principal": session.principal if session else None,
            "navigation": entries(role, path) if role else (),
            "path": path,
            "here": path + (f"?{self.request.url.query}" if self.request.url.query else ""),
            "request_id": self.request_id,
            "token_name": TOKEN,
            "token": form_token(self.secret) if self.secret else "",
            "idle_min": round(self.gateway.settings.console_idle_s / 60),
        }
