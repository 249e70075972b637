"""What hostile connections leave in the log, among the workers and on standard error."""

import json
import socket

import pytest

from tests.e2e.deployment import MODEL, Gateway, eventually, serve
from tests.e2e.test_rubbish import RUBBISH, exchange, raw, resident_kib

PATH = "/v1/chat/completions"
OFFER = (
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
)


@pytest.fixture(scope="module")
def attacked(idle_home, tmp_path_factory):
    """A gateway whose standard error is read at its end: nothing here may leave a traceback."""
    home, keys = idle_home
    lines = tmp_path_factory.mktemp("attacked") / "stderr"
    with (
        lines.open("wb") as told,
        serve(home, told=told, acknowledgement_s=20, workers=2, concurrency=4) as (process, url),
    ):
        yield Gateway(home, url, process.pid, keys)
    assert b"Traceback" not in lines.read_bytes()


def chat(gateway, *, key=None, more="", stream=False, tokens=2):
    """Return head and body of a chat request."""
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "Hi."}], "max_tokens": tokens}
    body = json.dumps(ask | {"stream": stream, "temperature": 0}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{more}"
    head += f"authorization: Bearer {key or gateway.keys['client']}\r\n\r\n"
    return head.encode(), body


def connected(gateway):
    host, port = gateway.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def answered(connection, count):
    """Return status, request id and body of so many answers that have a length."""
    data, found = b"", []
    while len(found) < count:
        head, whole, rest = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        size = int(fields.get("content-length", 0))
        if whole and len(rest) >= size:
            found.append((int(head.split()[1]), fields["x-request-id"], json.loads(rest[:size])))
            data = rest[size:]
        else:
            received = connection.recv(1 << 16)
            assert received, data
            data += received
    return found


def phases(gateway, request_id):
    return [entry["sealgate"]["phase"] for entry in gateway.events(request_id)]


def test_request_that_offers_http2_is_one_request(attacked):
    head, body = chat(attacked, more=OFFER)
    with connected(attacked) as connection:
        connection.sendall(head + body)
        ((status, request_id, _),) = answered(connection, 1)
        # The connection goes on.
        connection.sendall(head + body)
        ((again, other, _),) = answered(connection, 1)
    assert (status, again) == (200, 200)
    assert phases(attacked, request_id) == phases(attacked, other) == ["intent", "outcome"]


def test_pipelined_requests_are_requests_of_their_own(attacked):
    head, body = chat(attacked)
    denied, _ = chat(attacked, key="sg-wrong")
    with connected(attacked) as connection:
        connection.sendall((head + body + denied + body) * 2)
        found = answered(connection, 4)
    assert [status for status, _, _ in found] == [200, 401, 200, 401]
    assert len({request_id for _, request_id, _ in found}) == 4
    assert [len(phases(attacked, request_id)) for _, request_id, _ in found] == [2, 1, 2, 1]


def test_stranger_is_not_asked_for_a_body(attacked):
    head, _ = chat(attacked, key="sg-wrong", more="expect: 100-continue\r\n")
    with connected(attacked) as connection:
        connection.sendall(head)
        ((status, request_id, _),) = answered(connection, 1)
    assert status == 401
    assert phases(attacked, request_id) == ["denied"]


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_closes_its_half_is_one_that_left(attacked, stream):
    """As with nginx: an answer to who has said goodbye would be work for nobody."""
    assert eventually(lambda: len(attacked.workers()) == 2, limit_s=60)
    before = len(attacked.events())
    head, body = chat(attacked, stream=stream, tokens=400)
    with connected(attacked) as connection:
        connection.sendall(head + body)
        assert eventually(lambda: len(attacked.events()) > before, limit_s=60)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    assert eventually(lambda: len(attacked.events()) == before + 2, limit_s=60)
    assert attacked.events()[-1]["sealgate"]["ending"] == "client_gone"
    assert eventually(lambda: len(attacked.workers()) == 2, limit_s=60)


def test_body_that_is_cut_off_is_no_request(attacked):
    head, body = chat(attacked)
    before = len(attacked.events())
    with connected(attacked) as connection:
        connection.sendall(head + body[:-10])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1 << 16) == b""
    # The next request's entries are the next ones.
    status, _, _ = raw(attacked.url, attacked.keys["client"], body)
    assert status == 200
    assert len(attacked.events()) == before + 2


def test_smuggled_request_is_answered_to_nobody(attacked):
    head, body = chat(attacked)
    before = len(attacked.events())
    hidden = b"0\r\n\r\n" + head + body
    outer = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(hidden)}\r\n"
    outer += f"transfer-encoding: chunked\r\nauthorization: Bearer {attacked.keys['client']}\r\n"
    status, headers, answer = exchange(attacked.url, outer.encode() + b"\r\n" + hidden)
    assert status == 400
    assert headers["connection"] == "close"
    assert b"HTTP/1.1" not in answer
    assert len(attacked.events()) == before


def test_pipelined_flood_that_is_never_read_is_held_back(attacked):
    """What a client sends ahead of its answers fills its own buffers, not the gateway."""
    flood = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 500_000
    before = resident_kib(attacked.pid)
    with connected(attacked) as connection:
        connection.settimeout(3)
        with pytest.raises((TimeoutError, ConnectionError)):
            connection.sendall(flood)
        assert resident_kib(attacked.pid) - before < 32 << 10
    status, _, _ = raw(attacked.url, attacked.keys["client"], chat(attacked)[1])
    assert status == 200


def test_rubbish_leaves_no_traceback(attacked):
    """What `attacked` looks for at its end."""
    for body in RUBBISH.values():
        for path in (PATH, "/v1/completions", "/v1/responses", "/v1/embeddings"):
            status, _, _ = raw(attacked.url, attacked.keys["client"], body, path=path)
            assert status in {400, 404}
