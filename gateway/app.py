"""The one composition root of the HTTP side: every route, every error, nothing hidden."""

import logging
import time
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from audit.errors import LogUnavailable
from gateway.api import audit, health, models, openapi, provenance, receipts, reports
from gateway.api.asgi import REQUEST_ID, App, ClientGone, Direct, RequestIds
from gateway.api.asking import Asking
from gateway.api.chat import ChatDialect
from gateway.api.completions import CompletionDialect
from gateway.api.embeddings import EmbeddingDialect
from gateway.api.errors import INTERNAL, envelope, refusal, refusal_headers
from gateway.api.generating import Generating
from gateway.api.responses import ResponseDialect
from gateway.console.mount import routes
from gateway.errors import RequestRefused
from gateway.pacing import Pace
from gateway.parts import Gateway
from privacy import presidio
from privacy.errors import PrivacyError
from privacy.identifiers import find
from sandbox.errors import SandboxError

_log = logging.getLogger("sealgate")


def create_app(gateway: Gateway) -> App:
    """Return the ASGI application over parts that are already running."""
    app = FastAPI(title="Sealgate", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.gateway = gateway
    app.state.pace = Pace(
        per_minute=gateway.settings.verifications_per_minute, clock=time.monotonic
    )
    asking = Asking(
        gateway.settings,
        gateway.catalogue,
        gateway.routes,
        presidio.finder() if gateway.settings.presidio else find,
    )
    direct: dict[str, App] = {}
    for path, dialect in (
        ("/v1/chat/completions", ChatDialect(asking)),
        ("/v1/completions", CompletionDialect(asking)),
        ("/v1/responses", ResponseDialect(asking)),
        ("/v1/embeddings", EmbeddingDialect(asking)),
    ):
        route = Generating(
            dialect=dialect,
            doorkeeper=gateway.doorkeeper,
            answers=gateway.answers,
            limits=gateway.limits,
            policy=gateway.policy,
            metrics=gateway.metrics,
            receipt=gateway.receipt,
            body_limit_bytes=gateway.settings.body_limit_bytes,
            spans=gateway.spans,
        )
        # Beside the direct way for what only a router tells: another method, another path.
        direct[path] = route
        app.router.routes.append(Route(path, route, methods=["POST"]))
    for part in (models, openapi, provenance, receipts, audit, reports, health):
        app.include_router(part.router)
    app.router.routes.extend(routes(gateway, pace=app.state.pace))
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGone, _gone)
    for error in (RequestRefused, LogUnavailable, PrivacyError, SandboxError, Exception):
        app.add_exception_handler(error, _failed)
    return RequestIds(Direct(direct, app))


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
