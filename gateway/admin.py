"""The admin listener: metrics and health on an address of its own, without credentials.

It tells counts and nothing else, and listens on the loopback interface unless told otherwise.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import GatewayNotStarted

_log = logging.getLogger("sealgate")
_HEAD_LIMIT_BYTES = 8192
_READ_S = 5.0
_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def admin_listener(
    host: str, port: int, render: Callable[[], bytes]
) -> AsyncIterator[tuple[str, int]]:
    """Serve `GET /metrics` while entered; yield the address.

    Raises:
        GatewayNotStarted: The address cannot be listened on.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer(head, render))
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(serve, host, port, limit=_HEAD_LIMIT_BYTES)
    except OSError as error:
        raise GatewayNotStarted(
            f"The admin listener cannot use {host} port {port}: {error.strerror}. Choose another."
        ) from None
    async with server:
        address = server.sockets[0].getsockname()
        yield address[0], address[1]


def _answer(head: bytes, render: Callable[[], bytes]) -> bytes:
    if head.split(b" ", 2)[:2] != [b"GET", b"/metrics"]:
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    body = render()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % (_TYPE, len(body))
    ) + body
