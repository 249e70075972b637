"""HTTP/1.1 to one server, for few fixed paths: a connection, and the answer that it carries.

No redirect, no cookie, no proxy, no compression, no upgrade, no pipelining: an answer that wants
any of these, or sends more than it announced, ends its connection. A quarter of aiohttp's time.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

# Of one answer: its head, or what follows its last chunk; and what is kept of a body before the
# server must wait.
HEAD_LIMIT_BYTES = 16 << 10
BUFFER_BYTES = 1 << 16


class NoHttp(Exception):
    """What came is no HTTP answer, or one that is not understood here."""


class Cut(Exception):
    """The connection ended within an answer, or before it began."""


class Connection(asyncio.Protocol):
    """One connection; one request at a time. released: called when it may carry another one."""

    def __init__(self, released: Callable[["Connection"], None]) -> None:
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._parser: Any = None
        self.open = False

    def send(self, request: bytes) -> "Answer":
        """Send a whole request, and return the answer to be waited for."""
        if self._transport is None or not self.open:
            raise Cut
        self._answer = Answer(self, self._transport)
        self._parser = httptools.HttpResponseParser(self._answer)
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """End it at once; whatever it carries is called off."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def finished(self, *, keep: bool) -> None:
        """Let go of an answer that is whole."""
        self._answer = self._parser = None
        if keep and self.open:
            self._released(self)
        else:
            self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Hand on what belongs to the answer; anything else ends the connection."""
        answer = self._answer
        if answer is None:
            self.close()
            return
        try:
            answer.count(len(data))
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, NoHttp):
            # What follows a whole answer in its own bytes spoils the connection, not the answer.
            answer.failed(NoHttp())
            self.close()
            return
        answer.arrived()

    def eof_received(self) -> None:
        """Close: the server has closed its half."""

    def connection_lost(self, failure: Exception | None) -> None:
        """End the answer that was under way: whole, if it was to last until the server's end."""
        self.open = False
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.ended(clean=failure is None)


class Answer:
    """One answer: its head, then its body in parts. For one reader."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._parts: list[bytes] = []
        self._size = 0
        self._overhead_bytes = 0
        self._failure: Exception | None = None
        self._whole = False
        self._paused = False
        self._bounded = False
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.content_type = ""

    async def head(self) -> None:
        """Wait until the status is known.

        Raises:
            Cut, NoHttp: No answer came.
        """
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._wait(None)

    async def read(self, limit_s: float) -> bytes:
        """Return what came of the body since the last time, empty at its end.

        Raises:
            TimeoutError: Nothing came for so long.
            Cut, NoHttp: The rest will not come.
        """
        until = None
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self._whole:
                return b""
            until = until or asyncio.get_running_loop().time() + limit_s
            await self._wait(until)
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Call the answer off, unless it is whole and its connection already free."""
        if not self._whole:
            self._failure = self._failure or Cut()
            self._connection.close()
            self.arrived()

    def arrived(self) -> None:
        """Wake the reader."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def failed(self, failure: Exception) -> None:
        """Let the reader have what came before, and then the failure."""
        if not self._whole:
            self._failure = self._failure or failure
        self.arrived()

    def ended(self, *, clean: bool) -> None:
        """The connection is gone: that is the end of a body whose length nobody announced.

        clean: the server closed it, and nothing broke it.
        """
        if clean and self.status and not self._bounded and self._failure is None:
            self._whole = True
        self.failed(Cut())

    def count(self, length: int) -> None:
        """Count what comes and is no body, as a head: the parser keeps all of it.

        Raises:
            NoHttp: It is too much.
        """
        # Held against what came earlier: a body's first bytes come with the end of the head.
        if self._overhead_bytes > HEAD_LIMIT_BYTES:
            raise NoHttp
        self._overhead_bytes += length

    def on_message_begin(self) -> None:
        """Take the first byte of an answer; none follows this one."""
        if self._whole:
            raise NoHttp

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header of the head, or of what follows the last chunk."""
        name = name.lower()
        if name == b"content-type" and not self.status:
            self.content_type = value.split(b";", 1)[0].strip().lower().decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._bounded = True

    def on_headers_complete(self) -> None:
        """Know the status."""
        status = self._connection._parser.get_status_code()  # noqa: SLF001 - two halves of one thing
        if status < 200:  # noqa: PLR2004 - RFC 9110, 15.2: nothing here asks for an interim answer.
            raise NoHttp
        self.status, self._overhead_bytes = status, 0

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body; a server that sends more than is read has to wait."""
        self._overhead_bytes = 0
        self._parts.append(data)
        self._size += len(data)
        if self._size > BUFFER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Be whole, and free the connection."""
        self._whole = True
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        connection = self._connection
        connection.finished(keep=connection._parser.should_keep_alive())  # noqa: SLF001 - as above

    async def _wait(self, until: float | None) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None if until is None else loop.call_at(until, _late, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _late(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
