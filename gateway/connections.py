"""Connections with bounds: uvicorn's protocol takes any number of headers, for any length of time.

A head that is too long or does not come in time ends its connection. So does one that is no HTTP,
with an error in the envelope. These requests never began: no entry tells of them. An offer
to go on in another protocol is passed over. A client that reads nothing of its answer is let go.
"""

import asyncio
import contextlib
import fcntl
import secrets
import sys
import termios
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.api.asgi import CERTIFICATE
from gateway.api.errors import envelope
from gateway.api.presence import LEAVING, Leaving
from gateway.errors import RequestRefused

HEAD_LIMIT_BYTES = 64 << 10
HEAD_LIMIT_LINES = 128
HEAD_LIMIT_S = 15.0
# Parsed at once: as many requests as may begin before the first of them is looked at.
PIECE_BYTES = 16 << 10
# A client that reads not one byte of its answer for so long is taken to be gone.
SEND_LIMIT_S = 60.0
# Hosts that a head names at least, by its version.
_LEAST_HOSTS = {"1.0": 0, "1.1": 1}


class Guarded:
    """What an answer is written to. Between a reset and word of it, uvloop's own would raise."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send bytes, unless there is nobody to send them to."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._transport.is_closing()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Its requests also learn which client certificate it showed."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head, and take note of the verified certificate."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate: bytes | None = tls.getpeercert(binary_form=True) if tls else None
        self._leaving = Leaving()
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._ahead = b""
        self._in_head = False
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more, and end what runs for the client."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)
        self._leaving.happen()

    def data_received(self, data: bytes) -> None:
        """Take bytes; between two requests they begin a head, which must then come in time."""
        if self._patience is None and self._between_requests():
            self._await_head()
        self._unset_keepalive_if_required()
        self._feed(data)

    def on_message_begin(self) -> None:
        """Begin a request's scope, with what is known of the connection in it."""
        super().on_message_begin()
        self._head_bytes = 0
        self._in_head = True
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[LEAVING] = self._leaving
        if self._certificate is not None:
            scope[CERTIFICATE] = self._certificate

    def pause_writing(self) -> None:
        """Hold what is sent back until the client has read; one that reads nothing is let go."""
        super().pause_writing()
        self._stop_watching()
        self._stuck = self.loop.call_later(SEND_LIMIT_S, self._require_progress, self._unread())

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        self._stop_watching()
        super().resume_writing()

    def on_url(self, url: bytes) -> None:
        """Count the target's bytes."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header's bytes and lines."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: from here on the request's own limits hold."""
        if self._is_offer():
            # Not this head, but what `_declined` makes of it, is the request's.
            return
        self._in_head = False
        self._stop_waiting()
        self._require_http1()
        super().on_headers_complete()
        self.cycle.transport = Guarded(self.transport)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """Hear of the connection's end from here on, however large the body was.

        A large body pauses the reading, and only a further `receive` would resume it; of a
        connection that is not read, nobody hears that it is gone. A request that waits behind this
        one keeps it paused: no client may fill memory with what it sends ahead.
        """
        if self._is_offer():
            return
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Turn to the next request, of those that wait or of the bytes that do."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._between_requests() and (self._ahead or self._in_head):
            # What begins here is no idle connection's.
            self._unset_keepalive_if_required()
            self._await_head()
        self._feed(b"")
        if self.pipeline:
            # Reading goes on with each answer otherwise, and each brings in thousands of requests.
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or too much of it, and close."""
        if self._head_bytes > HEAD_LIMIT_BYTES or len(self.headers or ()) >= HEAD_LIMIT_LINES:
            self._refuse(431, "Request Header Fields Too Large", "The request's head is too large.")
        else:
            self._refuse(400, "Bad Request", msg)

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > HEAD_LIMIT_BYTES or len(self.headers) >= HEAD_LIMIT_LINES:
            # The parser turns this into an error of its own and calls `send_400_response`.
            raise httptools.HttpParserError("The request's head is too large.")

    def _feed(self, data: bytes) -> None:
        """Parse what came by the piece, until a request has to wait for the one before."""
        ahead, at = self._ahead + data, 0
        while at < len(ahead) and not self.pipeline and not self.transport.is_closing():
            piece = ahead[at : at + PIECE_BYTES]
            at += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as offer:
                ahead, at = self._declined() + piece[offer.args[0] :] + ahead[at:], 0
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
        self._ahead = ahead[at:]

    def _is_offer(self) -> bool:
        """Whether the head offers another protocol. CONNECT asks for a tunnel, and offers none."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _declined(self) -> bytes:
        """Return the head of a request that offers another protocol without its offer.

        It may be passed over (RFC 9110, 7.8), but the parser takes such a request's body for the
        other protocol's first words. Java's client makes the offer with every request.
        """
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                lines += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join([*lines, b"\r\n"])

    def _require_http1(self) -> None:
        """Raise unless the head is HTTP/1.0's or 1.1's, which names one host (RFC 9112, 3.2)."""
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        tunnel = self.parser.get_method() == b"CONNECT"
        if tunnel or hosts > 1 or hosts < _LEAST_HOSTS.get(version, HEAD_LIMIT_LINES + 1):
            raise httptools.HttpParserError("The head is not one of HTTP/1.1.")

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_LIMIT_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _unread(self) -> int:
        """Return how many bytes of the answer have not reached the client (tcp(7), SIOCOUTQ).

        What the kernel has yet to deliver counts as well: it takes more from us only when a good
        part of its own buffer is free, which a slow client may need minutes for.
        """
        undelivered = bytearray(4)
        # A connection that ended meanwhile has none.
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(
                self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, undelivered
            )
        queued = int.from_bytes(undelivered, sys.byteorder)
        return int(self.transport.get_write_buffer_size()) + queued

    def _require_progress(self, before: int) -> None:
        """Look again later as long as the client reads, however slowly."""
        if self._unread() >= before:
            # It would keep its answer in memory, and its place, for as long as it likes.
            self.transport.abort()
        else:
            self._stuck = self.loop.call_later(SEND_LIMIT_S, self._require_progress, self._unread())

    def _stop_watching(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _too_slow(self) -> None:
        self._patience = None
        self._refuse(408, "Request Timeout", f"No request came within {HEAD_LIMIT_S:g} s.")

    def _refuse(self, status: int, phrase: str, message: str) -> None:
        if self.transport.is_closing():
            return
        code = {400: "invalid_http", 408: "request_timeout", 431: "head_too_large"}[status]
        request_id = f"req_{secrets.token_hex(12)}"
        self.logger.warning("%s refused before it began: %s", request_id, code)
        body = envelope(RequestRefused(message, status=status, code=code))
        head = (
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n"
            f"x-request-id: {request_id}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
