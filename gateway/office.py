"""Everything that is not asked many times a second: models, provenance, audit, reports, console.

On a framework, and loaded with the first request that needs it: a gateway that only answers is
spared it.
"""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from audit.errors import LogUnavailable
from gateway.api import audit, models, openapi, provenance, receipts, reports
from gateway.api.asgi import REQUEST_ID, App, ClientGone, Way
from gateway.api.errors import INTERNAL, envelope, refusal, refusal_headers
from gateway.console.mount import routes
from gateway.errors import RequestRefused
from gateway.pacing import Pace
from gateway.parts import Gateway
from privacy.errors import PrivacyError
from sandbox.errors import SandboxError

_log = logging.getLogger("sealgate")


def office(gateway: Gateway, direct: Mapping[Way, App]) -> FastAPI:
    """Return the application. direct: what is served before it, for what only a router tells."""
    app = FastAPI(
        title="Sealgate",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirection would name the host that the request did, whatever that was.
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    app.state.pace = Pace(
        per_minute=gateway.settings.verifications_per_minute, clock=time.monotonic
    )
    app.router.routes.extend(_route(way, route) for way, route in direct.items())
    for part in (models, openapi, provenance, receipts, audit, reports):
        app.include_router(part.router)
    app.router.routes.extend(routes(gateway, pace=app.state.pace))
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGone, _gone)
    for error in (RequestRefused, LogUnavailable, PrivacyError, SandboxError, Exception):
        app.add_exception_handler(error, _failed)
    return app


def _route(way: Way, app: App) -> Route:
    """Return a way as a router knows it: for another method its path is not unknown."""
    method, path = way
    route = Route(path, app)
    route.methods = {method}
    return route


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.NOT_FOUND:
        message = f"Unknown route: {request.method} {request.url.path}."
        return _response(RequestRefused(message, status=status, code="unknown_url"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{request.url.path} does not take {request.method}."
        return _response(RequestRefused(message, status=status, code="method_not_allowed"))
    return _response(RequestRefused("The request cannot be served.", status=status))


async def _failed(request: Request, error: Exception) -> Response:
    refused = refusal(error)
    if refused.code == INTERNAL:
        _log.error("%s failed", request.scope[REQUEST_ID], exc_info=error)
    gateway: Gateway = request.app.state.gateway
    await gateway.doorkeeper.refused(request.scope, refused)
    return _response(refused)


async def _gone(_: Request, _error: Exception) -> Response:
    """Answer a client that has left: the server drops this."""
    return Response(status_code=499)


def _response(refused: RequestRefused) -> Response:
    response = Response(envelope(refused), refused.status, media_type="application/json")
    response.raw_headers.extend(refusal_headers(refused))
    return response
