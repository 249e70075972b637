"""One POST to a place that the operator named, within limits of time and size."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from audit.errors import AnchorFailed

LIMIT_S = 10.0
ANSWER_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. kind: the media type."""

    status: int
    kind: str
    body: bytes


def post(url: str, body: bytes, *, headers: Mapping[str, str]) -> Answer:
    """Send a body and return the answer; redirects are not followed.

    Raises:
        AnchorFailed: The place cannot be reached, or answers too much.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnchorFailed(f"{url} is no URL of a web service.")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.netloc, timeout=LIMIT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=LIMIT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        data = response.read(ANSWER_LIMIT_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise AnchorFailed(f"{url} cannot be reached: {error}.") from None
    finally:
        connection.close()
    if len(data) > ANSWER_LIMIT_BYTES:
        raise AnchorFailed(f"{url} answered more than {ANSWER_LIMIT_BYTES} bytes.")
    return Answer(response.status, response.headers.get_content_type(), data)
