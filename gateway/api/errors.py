"""The one place where errors become HTTP: OpenAI's envelope, string codes, no internals."""

import math
from http import HTTPStatus

import msgspec
from sqlalchemy.exc import DBAPIError

from audit.errors import LogUnavailable
from gateway.errors import RequestRefused
from privacy.errors import PrivacyError
from sandbox.errors import GrammarRefused, SandboxError

INTERNAL = "internal_error"
LOG_UNAVAILABLE = "log_unavailable"

SHUTTING_DOWN = RequestRefused(
    "The gateway is shutting down. Send the request again shortly.",
    status=503,
    kind="server_error",
    code="shutting_down",
)


def refusal(error: Exception) -> RequestRefused:
    """Return what a client may know of `error`, with its HTTP status."""
    match error:
        case RequestRefused():
            return error
        # Credentials and budgets lie in the log's database: without it there is no log either.
        case LogUnavailable() | DBAPIError():
            return RequestRefused(
                "The audit log cannot be written, so nothing is answered. Try again later.",
                status=503,
                kind="server_error",
                code=LOG_UNAVAILABLE,
            )
        case PrivacyError():
            return RequestRefused(
                "The keys cannot be used now, so nothing is answered. Try again later.",
                status=503,
                kind="server_error",
                code="keys_unavailable",
            )
        case GrammarRefused():
            return RequestRefused(
                "The form that this answer was asked for cannot be enforced: its schema is no "
                "JSON schema, uses what is not supported, or is too large.",
                param="response_format",
                code="invalid_schema",
            )
        case SandboxError():
            return RequestRefused(
                "The model's sandbox ended early. Nothing was lost but this answer; send the "
                "request again.",
                status=503,
                kind="server_error",
                code="sandbox_failed",
            )
        case _:
            return RequestRefused(
                "The gateway failed on this request; its log names the cause by the request id.",
                status=500,
                kind="server_error",
                code=INTERNAL,
            )


def refusal_headers(refused: RequestRefused) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to a refusal (RFC 9110, 10.2.3 and 11.6.1).

    OpenAI's clients read milliseconds first, and obey `x-should-retry` before any status.
    """
    headers = []
    wait_s = refused.retry_after_s
    if wait_s is None and refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = 1.0
    if wait_s is not None:
        headers.append((b"retry-after", str(math.ceil(wait_s)).encode()))
        headers.append((b"retry-after-ms", str(math.ceil(wait_s * 1000)).encode()))
    if refused.should_retry is not None:
        headers.append((b"x-should-retry", str(refused.should_retry).lower().encode()))
    if refused.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def envelope(refused: RequestRefused) -> bytes:
    """Encode OpenAI's error object."""
    return msgspec.json.encode(
        {
            "error": {
                "message": refused.message,
                "type": refused.kind,
                "param": refused.param,
                "code": refused.code,
            }
        }
    )
