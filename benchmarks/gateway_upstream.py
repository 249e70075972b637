"""An upstream that answers at once, as fast as one Python process can.

`python benchmarks/gateway_upstream.py PORT`. A request that says `streamed` gets 64 pieces, and one
that says `paced` gets one of them every 10 ms.
"""

import asyncio
import json
import re
import sys

import uvloop

PIECES = 64
PACE_S = 0.01
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_USAGE = {"prompt_tokens": 8, "completion_tokens": PIECES, "total_tokens": 8 + PIECES}


def _chunk(delta: dict[str, str], reason: str | None = None, **more: object) -> bytes:
    choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": reason}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "mock"}
    return b"data: " + json.dumps(body | {"choices": choices} | more).encode() + b"\n\n"


EVENTS = [
    _chunk({"role": "assistant", "content": ""}),
    *(_chunk({"content": f"w{n} "}) for n in range(PIECES)),
    _chunk({}, "stop"),
    _chunk({}, usage=_USAGE),
    b"data: [DONE]\n\n",
]
_WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there."},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MODELS = b'{"object":"list","data":[{"id":"mock","object":"model"}]}'


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# A short request gets a short stream: what it measures is the request, not the pieces.
SHORT = _SSE + _framed(b"".join([EVENTS[0], EVENTS[1], *EVENTS[-3:]])) + b"0\r\n\r\n"
LONG = _SSE + b"".join(map(_framed, EVENTS)) + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._data = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._data, 0, end)
            total = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < total:
                return
            request, self._data = self._data[:total], self._data[total:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        transport: asyncio.WriteTransport = self._transport  # type: ignore[assignment]
        if request.startswith(b"GET"):
            transport.write(_JSON % len(_MODELS) + _MODELS)
        elif b"paced" in request:
            task = asyncio.ensure_future(self._pace(transport))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif b"streamed" in request:
            transport.write(LONG)
        elif re.search(rb'"stream": ?true', request):
            transport.write(SHORT)
        else:
            transport.write(_JSON % len(_WHOLE) + _WHOLE)

    @staticmethod
    async def _pace(transport: asyncio.WriteTransport) -> None:
        transport.write(_SSE)
        for event in EVENTS:
            await asyncio.sleep(PACE_S)
            transport.write(_framed(event))
        transport.write(b"0\r\n\r\n")


async def main(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
