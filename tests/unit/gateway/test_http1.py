"""An upstream's bytes, however they come: whole answers, kept connections, and every bad end."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import pytest

from gateway.backends import http1
from gateway.backends.http1 import Cut, NoHttp
from gateway.backends.transport import Transport, failures
from gateway.errors import SettingsInvalid, UpstreamFailed
from tests.waiting import happened

PATHS = frozenset({"/x"})
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"content-type: Text/Event-Stream; charset=utf-8\r\ncontent-length: 5\r\n\r\nHello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n3\r\nHel\r\n2\r\nlo\r\n0\r\n\r\n"


class Server:
    """Answers each request with the next script: bytes, seconds to wait, or `close`."""

    def __init__(self):
        self.scripts, self.connections, self.requests, self.gone = [], 0, [], 0
        self.port = 0

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                for step in self.scripts.pop(0):
                    if step == "close":
                        writer.close()
                        return
                    if isinstance(step, float):
                        await asyncio.sleep(step)
                    else:
                        writer.write(step)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()


@asynccontextmanager
async def talking(*scripts, **options):
    """A server with scripts, and a transport to it."""
    server = Server()
    server.scripts = list(scripts)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    transport = Transport(f"http://127.0.0.1:{server.port}", paths=PATHS, **options)
    try:
        yield server, transport
    finally:
        await transport.close()
        listener.close()


@asynccontextmanager
async def posted(transport):
    answer = await transport.post("/x", b"{}")
    try:
        yield answer
    finally:
        transport.release(answer)


async def body(transport, *, limit_s=60.0):
    async with posted(transport) as answer:
        await asyncio.wait_for(answer.head(), 60)
        data = b""
        while part := await answer.read(limit_s):
            data += part
        return answer, data


@pytest.mark.parametrize("wire", [WHOLE, CHUNKED])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_is_the_same_however_it_is_cut(wire, size):
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    async with talking(pieces) as (_, transport):
        answer, data = await body(transport)
    assert (answer.status, data) == (200, b"Hello")
    assert answer.content_type == ("text/event-stream" if wire is WHOLE else "")


async def test_a_connection_is_kept_for_the_next_request():
    async with talking([WHOLE], [CHUNKED], [WHOLE]) as (server, transport):
        assert [(await body(transport))[1] for _ in range(3)] == [b"Hello"] * 3
        assert server.connections == 1


@pytest.mark.parametrize(
    "wire",
    [
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nHello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nHello",
        # What nobody asked for stands behind the answer: it is not taken for the next one's.
        WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEvil",
        WHOLE + b"garbage",
        WHOLE + b"H",
        WHOLE + OK + b"content-len",
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_kept(wire):
    async with talking([wire], [WHOLE]) as (server, transport):
        assert (await body(transport))[1] == b"Hello"
        assert (await body(transport))[1] == b"Hello"
        assert server.connections == 2


async def test_bytes_between_two_requests_end_the_connection():
    async with talking([WHOLE, 0.05, WHOLE], [WHOLE]) as (server, transport):
        assert (await body(transport))[1] == b"Hello"
        ((_, kept),) = transport._idle
        await happened(lambda: not kept.open)
        assert (await body(transport))[1] == b"Hello"
        assert server.connections == 2


async def test_an_answer_without_a_length_ends_with_its_connection():
    async with talking([OK + b"\r\nHel", 0.02, b"lo", "close"]) as (_, transport):
        assert (await body(transport))[1] == b"Hello"


async def test_an_answer_without_a_length_is_not_whole_where_its_connection_broke():
    async def broken(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\nHel")
        await writer.drain()
        await asyncio.sleep(0.05)
        option = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        writer.transport.abort()

    listener = await asyncio.start_server(broken, "127.0.0.1", 0)
    transport = Transport(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", paths=PATHS)
    with pytest.raises(Cut):
        await body(transport)
    await transport.close()
    listener.close()


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ([OK + b"content-length: 9\r\n\r\nHello", "close"], Cut),
        ([CHUNKED[:-8], "close"], Cut),
        ([b"HTTP/1.1 200", "close"], Cut),
        (["close"], Cut),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], NoHttp),
        ([OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], NoHttp),
        (
            [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
            NoHttp,
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], NoHttp),
        ([OK + b"a: " + b"x" * 2_000_000 + b"\r\n\r\n"], NoHttp),
        ([CHUNKED[:-2] + b"a: ", *[b"x" * (1 << 14)] * 100], NoHttp),
        ([OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nHello!"], NoHttp),
        ([OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], NoHttp),
    ],
)
async def test_each_bad_end_is_told(script, failure):
    async with talking(script) as (_, transport):
        with pytest.raises(failure):
            await body(transport)


async def test_a_body_that_stands_still_is_too_late():
    async with talking([OK + b"content-length: 9\r\n\r\nHello", 5.0]) as (_, transport):
        with pytest.raises(TimeoutError):
            await body(transport, limit_s=0.05)
        # Bytes that are no part of a body do not count as progress.
    drip = [OK + b"transfer-encoding: chunked\r\n\r\n", *([b"0", 0.03] * 4000)]
    async with talking(drip) as (_, transport):
        with pytest.raises(TimeoutError):
            await body(transport, limit_s=0.2)


async def test_a_server_that_sends_more_than_is_read_has_to_wait(monkeypatch):
    monkeypatch.setattr(http1, "BUFFER_BYTES", 1 << 12)
    size = 64 << 20
    head = OK + f"content-length: {size}\r\n\r\n".encode()
    script = [head, *[bytes(1 << 20)] * 64]
    async with talking(script) as (_, transport), posted(transport) as answer:
        await answer.head()
        await asyncio.sleep(0.2)
        assert answer._size < 4 << 20
        total = 0
        while part := await answer.read(60.0):
            total += len(part)
        assert total == size


async def test_calling_an_answer_off_closes_its_connection():
    async with talking([OK + b"content-length: 9\r\n\r\nHello", 0.2, b"more"]) as (
        server,
        transport,
    ):
        async with posted(transport) as answer:
            await answer.head()
            assert await answer.read(60.0) == b"Hello"
        await happened(lambda: server.gone == 1)
        assert not transport._idle


async def test_only_so_many_requests_run_at_once():
    async with talking([0.1, WHOLE], [0.1, WHOLE], [0.1, WHOLE], connections=1) as (
        server,
        transport,
    ):
        answers = await asyncio.gather(*(body(transport) for _ in range(3)))
        assert [data for _, data in answers] == [b"Hello"] * 3
        assert server.connections == 1


async def test_a_reader_that_is_cancelled_leaves_nothing():
    async with talking([OK + b"content-length: 9\r\n\r\n", 5.0], [WHOLE], connections=1) as (
        server,
        transport,
    ):
        reading = asyncio.ensure_future(body(transport))
        await happened(lambda: server.requests)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert not transport._running
        assert (await body(transport))[1] == b"Hello"


async def test_what_fails_is_told_without_a_word_of_the_server():
    script = [b"secret\r\n\r\n"]
    async with talking(script) as (_, transport), posted(transport) as answer:
        with pytest.raises(UpstreamFailed) as failure, failures():
            await answer.head()
    assert failure.value.reason == "garbage"
    assert "secret" not in str(failure.value)


async def test_a_page_beyond_its_limit_is_not_read_on():
    async with talking([OK + b"content-length: 100000\r\n\r\n" + bytes(100_000)]) as (_, transport):
        with pytest.raises(UpstreamFailed, match="too long"):
            await transport.get("/x", limit_bytes=1000)


@pytest.mark.parametrize("token", ["a\r\nx-evil: 1", "\x00", "caf\xe9"])
async def test_a_token_that_would_break_the_head_is_refused(token):
    with pytest.raises(SettingsInvalid):
        Transport("http://127.0.0.1:1", paths=PATHS, token=token)


async def test_a_token_goes_with_each_request():
    async with talking([WHOLE], token="abc") as (server, transport):
        await body(transport)
    assert b"\r\nauthorization: Bearer abc\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\n{}")
