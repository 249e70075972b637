"""The one place where errors become HTTP: OpenAI's envelope, string codes, no internals."""

from http import HTTPStatus

import msgspec

from audit.errors import LogUnavailable
from gateway.errors import RequestRefused
from privacy.errors import PrivacyError
from sandbox.errors import SandboxError

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
        case LogUnavailable():
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
    """Return the headers that belong to a refusal's status (RFC 9110, 10.2.3 and 11.6.1)."""
    if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return [(b"retry-after", b"1")]
    if refused.status == HTTPStatus.UNAUTHORIZED:
        return [(b"www-authenticate", b"Bearer")]
    return []


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
