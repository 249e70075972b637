"""A client that keeps connections busy, in a process of its own, at some 20 us a request.

`python benchmarks/gateway_load.py` reads one JSON object of `Plan`'s members from standard input
and prints one of `Load`'s. Raw sockets under uvloop, so that what is measured is the server.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

_SCRIPT = str(Path(__file__).resolve())


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where.

    requests: what each connection sends, in turns. once: each connection sends one request.
    most: requests of all together, None for as many as the time allows.
    """

    port: int
    requests: list[str]
    clients: int
    limit_s: float
    once: bool = False
    most: int | None = None


@dataclass(slots=True)
class Load:
    """What a run measured. seconds: of each good request. pieces: events of streams."""

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

    @property
    def mean_ms(self) -> float:
        """The mean of the requests' times, in milliseconds."""
        return sum(self.seconds) / len(self.seconds) * 1000

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the requests' times, in milliseconds."""
        if not self.seconds:
            return float("nan")
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000


def request(
    port: int, key: str, model: str, text: str, *, stream: bool = False, **headers: str
) -> str:
    """Return a chat request as it goes over the wire. headers: more of them, `_` for `-`."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": text}]}
    body |= {"max_tokens": 100}
    if stream:
        body |= {"stream": True}
    data = json.dumps(body)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n{more}"
        f"content-length: {len(data)}\r\n\r\n{data}"
    )


def load(plan: Plan) -> Load:
    """Carry a plan out in a process of its own."""
    told = json.dumps(asdict(plan))
    done = subprocess.run(
        [sys.executable, _SCRIPT], input=told, capture_output=True, text=True, check=True
    )
    return Load(**json.loads(done.stdout))


class _Client(asyncio.Protocol):
    """One connection. It reads the head of an answer, then its length or its last chunk."""

    def __init__(self, plan: Plan, told: Load, until: float) -> None:
        self._requests = [text.encode() for text in plan.requests]
        self._plan = plan
        self._told = told
        self._until = until
        self._sent = 0
        self._data = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._whole():
            took_s = time.perf_counter() - self._began
            if self._data.startswith(b"HTTP/1.1 200"):
                self._told.seconds.append(took_s)
                self._told.pieces += self._data.count(b"data: ")
            else:
                self._told.failed += 1
            self._data.clear()
            if self._is_done():
                self._transport.close()
            else:
                self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if self._data or not self._is_done():
            self._told.failed += 1
        self.ended.set_result(None)

    def _is_done(self) -> bool:
        told, most = self._told, self._plan.most
        enough = most is not None and len(told.seconds) + told.failed >= most
        return enough or self._plan.once or time.perf_counter() >= self._until

    def _send(self) -> None:
        data = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._began = time.perf_counter()
        self._transport.write(data)

    def _whole(self) -> bool:
        if self._data.endswith(b"\r\n0\r\n\r\n"):
            return True
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        _, found, rest = bytes(self._data[:end]).lower().partition(b"content-length:")
        return bool(found) and len(self._data) >= end + 4 + int(rest.split(b"\r\n", 1)[0])


async def _run(plan: Plan) -> Load:
    told, loop = Load(), asyncio.get_running_loop()
    began = time.perf_counter()
    until = began + plan.limit_s

    def client() -> _Client:
        return _Client(plan, told, until)

    made = [
        await loop.create_connection(client, "127.0.0.1", plan.port) for _ in range(plan.clients)
    ]
    clients = [each for _, each in made]
    await asyncio.gather(*(client.ended for client in clients))
    told.took_s = time.perf_counter() - began
    return told


def _tell(told: Load) -> None:
    """Write all of it. Where uvloop used io_uring, one write to a full pipe may be cut short."""
    left = json.dumps(asdict(told)).encode()
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]


if __name__ == "__main__":
    _tell(uvloop.run(_run(Plan(**json.load(sys.stdin)))))
