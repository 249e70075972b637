import asyncio
import json

import pytest

from gateway.api import sse
from gateway.api.asgi import (
    DRAIN_LIMIT_BYTES,
    REQUEST_ID,
    ClientGone,
    RequestIds,
    gone,
    header,
    read_body,
    reply_refusal,
    source_ip,
)
from gateway.api.errors import envelope, refusal
from gateway.errors import RequestRefused
from privacy.errors import BrokerGone
from sandbox.errors import WorkerDied


def receiving(*messages):
    left = list(messages)

    async def receive():
        return left.pop(0)

    receive.left = left
    return receive


def part(data, *, more):
    return {"type": "http.request", "body": data, "more_body": more}


class Sent(list):
    async def __call__(self, message):
        self.append(message)


async def test_body_is_joined():
    receive = receiving(part(b"a", more=True), part(b"b", more=False))
    assert await read_body(receive, limit_bytes=2) == b"ab"


async def test_larger_body_is_drained_and_refused():
    receive = receiving(*[part(b"abc", more=True)] * 3, part(b"", more=False))
    with pytest.raises(RequestRefused) as error:
        await read_body(receive, limit_bytes=4)
    assert (error.value.status, error.value.code) == (413, "request_too_large")
    assert receive.left == []


async def test_endless_body_is_not_drained_for_ever():
    chunk = part(b"x" * (DRAIN_LIMIT_BYTES // 4), more=True)
    receive = receiving(*[chunk] * 100)
    with pytest.raises(RequestRefused):
        await read_body(receive, limit_bytes=4)
    assert len(receive.left) > 90


async def test_body_that_trickles_is_not_waited_for():
    async def receive():
        await asyncio.sleep(0.02)
        return part(b"x", more=True)

    with pytest.raises(RequestRefused) as error:
        await asyncio.wait_for(read_body(receive, limit_bytes=1 << 20, limit_s=0.1), 60)
    assert (error.value.status, error.value.code) == (408, "request_timeout")


async def test_client_that_leaves_while_sending_is_gone():
    with pytest.raises(ClientGone):
        await read_body(receiving({"type": "http.disconnect"}), limit_bytes=4)


async def test_leaving_is_told_after_late_parts():
    async with asyncio.timeout(60):
        await gone(receiving(part(b"", more=False), {"type": "http.disconnect"}))


async def test_every_response_carries_its_own_request_id():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope[REQUEST_ID])
        await send({"type": "http.response.start", "status": 200})

    for _ in range(2):
        sent = Sent()
        await RequestIds(app)({"type": "http"}, None, sent)
        assert (b"x-request-id", seen[-1].encode()) in sent[0]["headers"]
    assert seen[0] != seen[1]
    assert all(request_id.startswith("req_") for request_id in seen)


async def test_refusal_is_openais_envelope_with_the_headers_of_its_status():
    sent = Sent()
    await reply_refusal(sent, RequestRefused("No.", status=401, param="p", code="c"))
    start, body = sent
    assert start["status"] == 401
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert json.loads(body["body"]) == {
        "error": {"message": "No.", "type": "invalid_request_error", "param": "p", "code": "c"}
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BrokerGone("the socket /run/keys closed"), 503, "keys_unavailable"),
        (WorkerDied("worker 77 died"), 503, "sandbox_failed"),
        (ValueError("secret prompt"), 500, "internal_error"),
    ],
)
def test_client_hears_nothing_internal(error, status, code):
    refused = refusal(error)
    assert (refused.status, refused.code) == (status, code)
    assert str(error) not in envelope(refused).decode()


def test_header_and_address_are_read_from_the_scope():
    scope = {"headers": [(b"authorization", b"Bearer x")], "client": ("10.0.0.7", 1)}
    assert header(scope, b"authorization") == "Bearer x"
    assert header(scope, b"x-forwarded-for") is None
    assert source_ip(scope) == "10.0.0.7"
    assert source_ip({"client": None}) is None


def test_event_is_one_line_and_a_blank_one():
    assert sse.event(b'{"a":"\\n"}') == b'data: {"a":"\\n"}\n\n'


def test_two_lines_of_one_header_are_neither_of_them():
    lines = [
        (b"authorization", b"Bearer sg-a"),
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer sg-b"),
    ]
    assert header({"headers": lines}, b"authorization") == "Bearer sg-a, Bearer sg-b"
    assert header({"headers": lines[:2]}, b"authorization") == "Bearer sg-a"
    assert header({"headers": []}, b"authorization") is None
