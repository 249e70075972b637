"""Raw ASGI pieces of the hot path: bodies, replies, request ids, clients that leave."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway.api.errors import envelope, refusal, refusal_headers
from gateway.chance import Chance
from gateway.errors import RequestRefused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
# A method and a path.
Way = tuple[str, str]

REQUEST_ID = "sealgate.request_id"
# DER of the client certificate that the connection showed and the handshake verified.
CERTIFICATE = "sealgate.client_certificate"
# What the policy says of a request: `gateway.policy.Ruling`.
RULING = "sealgate.ruling"
# Set once the caller is known: a refusal after that is recorded under their name.
ADMISSION = "sealgate.admission"
# A body over its limit is read and dropped up to here, so that the client hears the refusal
# instead of a broken pipe; beyond it the connection is closed.
DRAIN_LIMIT_BYTES = 64 << 20
# A slow client keeps nothing but its connection, and that no longer than this.
BODY_LIMIT_S = 60.0

_log = logging.getLogger("sealgate")


class ClientGone(Exception):
    """The client closed its connection."""


class RequestIds:
    """Gives every request an id and every response its `x-request-id` header."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._chance = Chance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the wrapped application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{self._chance.take(12).hex()}"
        scope[REQUEST_ID] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_id)


class Direct:
    """Hands requests for a few ways to their routes, and everything else to `rest`.

    The routes answer every request and every error themselves: a framework's layers between a
    server and them would take as long as they do.
    """

    def __init__(self, routes: Mapping[Way, App], rest: App) -> None:
        self._routes = routes
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        app = self._rest
        if scope["type"] == "http":
            app = self._routes.get((scope["method"], scope["path"]), app)
        await app(scope, receive, send)


class Late:
    """An application that is made with its first request, in a thread: others are served meanwhile.

    What cannot be made is tried again with the next one.
    """

    def __init__(self, make: Callable[[], App]) -> None:
        self._make = make
        self._lock = threading.Lock()
        # Its own: who waits for it must not keep the threads that answers need.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="late")
        self._app: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if self._app is None and scope["type"] == "http":
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self.made)
            except Exception as error:  # noqa: BLE001 - the edge: the client gets the envelope.
                _log.error("%s failed", scope.get(REQUEST_ID), exc_info=error)
                await reply_refusal(send, refusal(error))
                return
            self._thread.shutdown(wait=False)
        await self.made()(scope, receive, send)

    def made(self) -> App:
        """Return it, made if it was not yet."""
        with self._lock:
            if self._app is None:
                self._app = self._make()
            return self._app


def header(scope: Scope, name: bytes) -> str | None:
    """Return the header of that lower-case name; several lines are one list (RFC 9110, 5.3).

    Two keys or two declarations are then neither, where a proxy might have read the other one.
    """
    values = [str(value, "latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None


def source_ip(scope: Scope) -> str | None:
    """Return the peer's address as the server saw it; no header can change it."""
    client = scope.get("client")
    return client[0] if client else None


async def read_body(receive: Receive, *, limit_bytes: int, limit_s: float = BODY_LIMIT_S) -> bytes:
    """Return the whole request body.

    Raises:
        RequestRefused: 413, it is larger than `limit_bytes`; 408, it took longer than `limit_s`.
        ClientGone: The client left before it was complete.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await _body(receive, limit_bytes=limit_bytes)
    except TimeoutError:
        raise RequestRefused(
            f"The request body did not come within {limit_s:g} s. Send it again.",
            status=408,
            code="request_timeout",
        ) from None


async def _body(receive: Receive, *, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit_bytes:
            chunks.append(chunk)
        elif size > DRAIN_LIMIT_BYTES:
            break
        more = message.get("more_body", False)
    if size > limit_bytes:
        raise RequestRefused(
            f"The request body is over this gateway's limit of {limit_bytes} bytes. "
            "Send less text.",
            status=413,
            code="request_too_large",
        )
    return b"".join(chunks)


async def gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def reply(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a whole JSON response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def reply_refusal(send: Send, refused: RequestRefused) -> None:
    """Send an error in OpenAI's envelope."""
    await reply(send, envelope(refused), status=refused.status, headers=refusal_headers(refused))
