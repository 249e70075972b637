"""What no client should send: the right status, in bounded time, one entry, no traceback."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.deployment import MODEL, eventually, serve

HELLO = '[{"role":"user","content":"Hello."}]'
TAIL = f',"model":"{MODEL}","messages":{HELLO},"max_tokens":1}}'.encode()


def raw(url, key, body, *, path="/v1/chat/completions", headers=()):
    """Send bytes as they are, and return status, headers and body of the answer."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
    lines += [f"authorization: Bearer {key}", "connection: close", *headers]
    return exchange(url, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def exchange(url, data, *, limit_s=60):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=limit_s) as connection:
        # A server that has heard enough may close before all is sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        answer = b""
        while True:
            try:
                part = connection.recv(1 << 16)
            except ConnectionResetError:
                break
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), fields, body


RUBBISH = {
    "NaN": b'{"temperature":NaN' + TAIL,
    "infinity": b'{"temperature":Infinity' + TAIL,
    "huge number": b'{"temperature":1e999' + TAIL,
    "huge integer": b'{"top_k":' + b"9" * 400 + TAIL,
    "long number": b'{"seed":1' + b"0" * 1_000_000 + TAIL,
    "negative count": b'{"n":-1' + TAIL,
    "fraction of a choice": b'{"n":1.5' + TAIL,
    "boolean for a number": b'{"temperature":true' + TAIL,
    "deep array": b'{"store":' + b"[" * 500_000,
    "deep object": b'{"store":' + b'{"a":' * 300_000,
    "deep schema": b'{"response_format":{"type":"json_schema","json_schema":{"schema":'
    + b'{"items":' * 500
    + b"{}"
    + b"}" * 500
    + b"}}"
    + TAIL,
    "overlong UTF-8": b'{"user":"\xc0\xaf"' + TAIL,
    "cut UTF-8": b'{"user":"\xe2\x82"' + TAIL,
    "UTF-16": f'{{"model":"{MODEL}"}}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + b'{"n":1' + TAIL,
    "NUL": b"\x00" * 100,
    "array": b"[]",
    "null": b"null",
    "two documents": b'{"n":1' + TAIL + b"{}",
    "trailing comma": b'{"n":1,' + TAIL[1:-1] + b",}",
    "single quotes": b"{'model':'x'}",
    "empty": b"",
    "bias of words": b'{"logit_bias":{"hello":5}' + TAIL,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused_in_the_envelope_with_one_entry(gateway, name):
    began = time.monotonic()
    status, headers, body = raw(gateway.url, gateway.keys["client"], RUBBISH[name])
    assert status == 400, body[:200]
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert len(body) < 2000
    assert time.monotonic() - began < 20
    entries = gateway.events(headers["x-request-id"])
    ends = [entry["sealgate"]["phase"] for entry in entries]
    # A schema is judged inside its sandbox, and so after the intent.
    assert ends in (["denied"], ["intent", "outcome"])


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
)
def test_every_route_refuses_what_is_no_request_with_one_entry(gateway, path):
    for name in ("deep array", "deep object", "overlong UTF-8", "NUL", "array", "null", "empty"):
        status, headers, body = raw(gateway.url, gateway.keys["client"], RUBBISH[name], path=path)
        assert status == 400, (name, body[:200])
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        (entry,) = gateway.events(headers["x-request-id"])
        assert entry["sealgate"]["phase"] == "denied"


def test_last_of_two_equal_keys_counts(gateway):
    body = b'{"n":2,"n":1' + TAIL
    status, headers, answer = raw(gateway.url, gateway.keys["client"], body)
    assert status == 200
    assert len(json.loads(answer)["choices"]) == 1
    assert gateway.events(headers["x-request-id"])[0]["sealgate"]["sampling"]["n"] == 1


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431, "head_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 100, 400, "invalid_http"),
        (b"nonsense\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "invalid_http"),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "invalid_http",
        ),
    ],
    ids=["lines", "long header", "long target", "TLS", "words", "version", "length", "smuggling"],
)
def test_head_that_is_none_is_refused_and_closed(gateway, head, status, code):
    answered, headers, body = exchange(gateway.url, head)
    assert answered == status
    assert headers["connection"] == "close"
    assert json.loads(body)["error"]["code"] == code


def test_memory_does_not_follow_what_is_refused(gateway):
    before = resident_kib(gateway.pid)
    for _ in range(20):
        exchange(gateway.url, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000)
    assert resident_kib(gateway.pid) - before < 32 << 10


@pytest.mark.slow
def test_slow_head_is_let_go(gateway):
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=40) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        ended = threading.Event()

        def drip():
            while not ended.wait(1):
                try:
                    connection.sendall(b"a: b\r\n")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        answer = connection.recv(1 << 16)
        ended.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 25


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thousand_clients_that_leave_leave_nothing_behind(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=20, queue_s=30, concurrency=2) as (process, url):
        host, port = url.removeprefix("http://").split(":")
        body = b'{"stream":true,"temperature":1' + TAIL.replace(
            b'"max_tokens":1', b'"max_tokens":400'
        )
        request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            f"authorization: Bearer {keys['client']}\r\n\r\n"
        ).encode() + body
        before = descriptors(process.pid)
        for _ in range(50):
            crowd = [socket.create_connection((host, int(port)), timeout=30) for _ in range(20)]
            for connection in crowd:
                connection.sendall(request)
            time.sleep(0.05)
            for connection in crowd:
                connection.close()
        assert eventually(lambda: descriptors(process.pid) <= before + 8, limit_s=90)
        status, _, answer = raw(url, keys["client"], b'{"n":1' + TAIL)
        assert status == 200, answer


def resident_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
