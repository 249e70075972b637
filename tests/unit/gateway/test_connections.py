"""The server's own edge over real sockets, with an application that tells what it was asked."""

import asyncio
import contextlib
import json
import socket

import pytest
import uvicorn
import uvloop

from gateway import connections
from gateway.connections import BoundedProtocol
from tests.waiting import happened

BODY = b'{"a":1}'
LENGTH = b"content-length: 7\r\n"
CHUNKED = b"7\r\n" + BODY + b"\r\n0\r\n\r\n"
LIMIT_S = 60


async def told(scope, receive, send):
    """Answer with what came; `/much` is answered with more than any buffer holds."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    found = {"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")}
    answer = b" " * (64 << 20) if scope["path"] == "/much" else json.dumps(found).encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
async def port():
    config = uvicorn.Config(
        told, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        yield listener.getsockname()[1]
        server.force_exit = True
        await server.shutdown(sockets=[listener])


async def exchange(port, data):
    """Send bytes, and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        writer.write(data)
        answer = await reader.read()
    writer.close()
    return answer


def answers(data):
    """Return status and decoded body of each answer, which all have a length."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        size = int(fields["content-length"])
        found.append((int(status.split()[1]), json.loads(data[:size])))
        data = data[size:]
    return found


def post(more=LENGTH, body=BODY, *, target=b"/x", version=b"1.1"):
    head = b"POST " + target + b" HTTP/" + version + b"\r\nhost: x\r\n" + more
    return head + b"\r\n" + body


CLOSE = b"connection: close\r\n"
OFFER = b"connection: upgrade\r\nupgrade: a\r\n"
GET = b"GET /next HTTP/1.1\r\nhost: x\r\n"
REFUSED = {
    "negative length": post(b"content-length: -7\r\n"),
    "length with a sign": post(b"content-length: +7\r\n"),
    "length in hexadecimal": post(b"content-length: 0x7\r\n"),
    "empty length": post(b"content-length:\r\n"),
    "length beyond 64 bits": post(b"content-length: 99999999999999999999\r\n"),
    "two lengths": post(LENGTH + b"content-length: 8\r\n"),
    "two equal lengths": post(LENGTH + LENGTH),
    "list of lengths": post(b"content-length: 7, 7\r\n"),
    "length and chunks": post(LENGTH + b"transfer-encoding: chunked\r\n", CHUNKED),
    "chunks and length": post(b"transfer-encoding: chunked\r\n" + LENGTH, CHUNKED),
    "unknown coding": post(b"transfer-encoding: xchunked\r\n", CHUNKED),
    "chunks that are not last": post(b"transfer-encoding: chunked, identity\r\n", CHUNKED),
    "codings in two lines": post(
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", CHUNKED
    ),
    "coding with a space": post(b"transfer-encoding : chunked\r\n", CHUNKED),
    "coding behind a tab": post(b"transfer-encoding:\x0bchunked\r\n", CHUNKED),
    "chunk that is no number": post(b"transfer-encoding: chunked\r\n", b"zz\r\nx\r\n0\r\n\r\n"),
    "negative chunk": post(b"transfer-encoding: chunked\r\n", b"-1\r\nx\r\n0\r\n\r\n"),
    "endless chunk": post(b"transfer-encoding: chunked\r\n", b"f" * 20 + b"\r\nx"),
    "bare line feeds": post().replace(b"\r\n", b"\n"),
    "folded header": post(LENGTH + b"a: b\r\n c\r\n"),
    "NUL in a header": post(LENGTH + b"a: b\x00c\r\n"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tunnel": b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "tunnel to a path": b"CONNECT / HTTP/1.1\r\nhost: x\r\n\r\n",
    "offer of a tunnel": b"CONNECT / HTTP/1.1\r\nhost: x\r\n" + OFFER + b"\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_frame_that_could_be_read_in_two_ways_is_refused_with_all_behind_it(name, port):
    data = await exchange(port, REFUSED[name] + GET + b"\r\n")
    ((status, body),) = answers(data)
    assert (status, body["error"]["code"]) == (400, "invalid_http")
    assert b"connection: close" in data


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    "offer",
    [
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAA\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nsec-websocket-version: 13\r\n",
        b"connection: keep-alive, upgrade\r\nupgrade: a/1\r\nupgrade: b/2\r\n",
    ],
    ids=["h2c", "websocket", "two"],
)
@pytest.mark.parametrize("framed", [(LENGTH, BODY), (b"transfer-encoding: chunked\r\n", CHUNKED)])
async def test_offer_of_another_protocol_costs_no_byte_of_the_body(offer, framed, size, port):
    """However the bytes come in; and the connection goes on."""
    length, body = framed
    data = post(offer + length, body) + GET + offer + b"\r\n" + GET + CLOSE + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        for begin in range(0, len(data), size):
            writer.write(data[begin : begin + size])
            await writer.drain()
            await asyncio.sleep(0)
        answered = answers(await reader.read())
    writer.close()
    assert [(status, body["path"]) for status, body in answered] == [
        (200, "/x"), (200, "/next"), (200, "/next"),
    ]  # fmt: skip
    assert answered[0][1]["body"].encode() == BODY


async def test_pipelined_requests_are_answered_in_order(port):
    wanted = [f"/{number}" for number in range(50)]
    data = b"".join(post(target=path.encode()) for path in wanted)
    answered = answers(await exchange(port, data + GET + CLOSE + b"\r\n"))
    assert [body["path"] for _, body in answered] == [*wanted, "/next"]


async def test_requests_far_ahead_of_their_answers_wait_as_bytes(port, monkeypatch):
    begun, most = [], 0
    complete = BoundedProtocol.on_headers_complete

    def on_headers_complete(self):
        nonlocal most
        complete(self)
        begun.append(1)
        most = max(most, len(self.pipeline))

    monkeypatch.setattr(BoundedProtocol, "on_headers_complete", on_headers_complete)
    data = (GET + b"\r\n") * 5_000 + GET + CLOSE + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        writer.write(data)
        answered = await reader.read()
    writer.close()
    assert answered.count(b"HTTP/1.1 200 OK") == len(begun) == 5_001
    assert most <= connections.PIECE_BYTES // len(GET)


async def test_head_that_begins_behind_a_request_has_to_come_in_time(port, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_LIMIT_S", 0.3)
    filler = (GET + b"\r\n") * (2 * connections.PIECE_BYTES // len(GET))
    data = await exchange(port, filler + b"GET / HTTP/1.1\r\nhost: ")
    assert data.count(b"HTTP/1.1 200 OK") == filler.count(b"GET")
    assert data.count(b"HTTP/1.1 408 ") == 1


async def test_body_that_comes_byte_by_byte_in_chunks_is_whole(port):
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    data = post(b"transfer-encoding: chunked\r\n" + CLOSE, chunks)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
        ((status, body),) = answers(await reader.read())
    writer.close()
    assert (status, body["body"].encode()) == (200, BODY)


async def test_body_is_asked_for_where_the_client_waits_to_be(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        writer.write(post(LENGTH + CLOSE + b"expect: 100-continue\r\n", b""))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        ((status, body),) = answers(await reader.read())
    writer.close()
    assert (status, body["body"].encode()) == (200, BODY)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_older_http_and_targets_with_a_host_are_understood(version, port):
    whole = post(LENGTH + CLOSE, target=b"http://elsewhere.example:81/x?y", version=version)
    ((status, body),) = answers(await exchange(port, whole))
    assert (status, body["path"]) == (200, "/x")
    bare = b"GET /x HTTP/1.0\r\n\r\n"
    assert [status for status, _ in answers(await exchange(port, bare))] == [200]


async def test_trailers_are_bounded_as_headers_are(port):
    trailers = b"a: b\r\n" * 10_000
    data = post(b"transfer-encoding: chunked\r\n", CHUNKED[:-2] + trailers + b"\r\n")
    assert b"HTTP/1.1 431 " in await exchange(port, data)


def test_answer_to_a_connection_that_was_reset_goes_nowhere():
    """Where uvloop's own transport raises."""

    async def write():
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        told = loop.create_future()

        class Waiting(asyncio.Protocol):
            def connection_lost(self, error):
                told.set_result(error)

        transport, _ = await loop.create_connection(Waiting, sock=here)
        guarded = connections.Guarded(transport)
        guarded.write(b"heard")
        assert there.recv(9) == b"heard"
        transport.abort()
        guarded.write(b"lost")
        assert guarded.is_closing()
        await told
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="closed"):
            transport.write(b"lost")
        guarded.write(b"lost")
        here.close()
        there.close()

    uvloop.run(write())


async def test_client_that_reads_nothing_is_let_go(port, monkeypatch):
    monkeypatch.setattr(connections, "SEND_LIMIT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.transport.pause_reading()
    writer.write(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n")
    ended = asyncio.Event()
    lost = BoundedProtocol.connection_lost

    def connection_lost(self, error):
        lost(self, error)
        ended.set()

    monkeypatch.setattr(BoundedProtocol, "connection_lost", connection_lost)
    async with asyncio.timeout(LIMIT_S):
        await ended.wait()
        writer.transport.resume_reading()
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < 64 << 20
    writer.close()


async def test_a_little_that_a_slow_client_read_is_seen(port, monkeypatch):
    """Long before the kernel takes more of the answer from the gateway."""
    paused = asyncio.Queue()
    pause = BoundedProtocol.pause_writing

    def pause_writing(self):
        pause(self)
        paused.put_nowait(self)

    monkeypatch.setattr(BoundedProtocol, "pause_writing", pause_writing)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(LIMIT_S):
            protocol = await paused.get()
            await _settled(protocol)
            held, unread = protocol.transport.get_write_buffer_size(), protocol._unread()
            client.recv(48 << 10, socket.MSG_WAITALL)
            await happened(lambda: protocol._unread() < unread)
        assert protocol.transport.get_write_buffer_size() == held


async def _settled(protocol):
    """Wait until the client's kernel has taken all that it has room for."""
    before = None
    while before != (now := protocol._unread()):
        before = now
        await asyncio.sleep(0.5)


async def test_client_that_reads_slowly_has_its_answer(port, monkeypatch):
    monkeypatch.setattr(connections, "SEND_LIMIT_S", 5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /much HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    size = 0
    async with asyncio.timeout(LIMIT_S):
        while part := await reader.read(1 << 20):
            size += len(part)
            await asyncio.sleep(0.001)
    writer.close()
    assert size > 64 << 20
