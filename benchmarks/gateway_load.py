"""A client that keeps connections busy: raw sockets, so that what is measured is the server."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What a run measured. seconds: of each request. pieces: events of streams."""

    seconds: list[float] = field(default_factory=list)
    pieces: int = 0
    failed: int = 0
    took_s: float = 0.0

    @property
    def rate(self) -> float:
        """Good requests a second."""
        return len(self.seconds) / self.took_s

    @property
    def piece_rate(self) -> float:
        """Events a second."""
        return self.pieces / self.took_s

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the requests' times, in milliseconds."""
        if len(self.seconds) < 2:  # noqa: PLR2004 - what quantiles needs
            return float("nan")
        return statistics.quantiles(self.seconds, n=100)[percent - 1] * 1000


def request(port: int, key: str, model: str, text: str, *, stream: bool) -> bytes:
    """Return a chat request's bytes."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}]}
    body |= {"max_tokens": 100}
    if stream:
        body |= {"stream": True}
    data = json.dumps(body).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    ).encode() + data


async def load(port: int, data: bytes, *, clients: int, limit_s: float, once: bool = False) -> Load:
    """Send the request over and over on so many connections; `once` on each, once."""
    told = Load()
    began = time.perf_counter()
    until = began + limit_s
    await asyncio.gather(*(_client(port, data, told, until, once=once) for _ in range(clients)))
    told.took_s = time.perf_counter() - began
    return told


async def _client(port: int, data: bytes, told: Load, until: float, *, once: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(data)
            status, pieces = await _answer(reader)
            if status == b"200":
                told.seconds.append(time.perf_counter() - began)
                told.pieces += pieces
            else:
                told.failed += 1
            if once:
                return
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """Read one answer whole; return its status and its number of events."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = head.split(b" ", 2)[1]
    if b"content-length:" in head:
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        return status, 0
    pieces = 0
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return status, pieces
        pieces += chunk.count(b"data: ")
