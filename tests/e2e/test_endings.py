"""How an answer ends when something goes away: the client, the log, the gateway."""

import json
import sqlite3
import time
from contextlib import closing

import openai
import pytest

from tests.e2e.deployment import ENDLESS, Gateway, children, eventually, sealgate, serve, told

MODEL = "smollm2-135m"
LONG = json.dumps(
    {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me the whole story of medicine."}],
        "max_tokens": 2000,
        "stream": True,
        "temperature": 1.5,
        "logit_bias": ENDLESS,
    }
).encode()


def send_long(connection, key, body=LONG):
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
        b"content-type: application/json\r\n"
        + f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        + body
    )


def read_request_id(connection):
    """Read until the first text arrived and return the response's request id."""
    data = b""
    while b'"content":"' not in data.partition(b'"content":""')[2]:
        received = connection.recv(65536)
        assert received, data
        data += received
    head = data.partition(b"\r\n\r\n")[0].decode().lower()
    return head.partition("x-request-id: ")[2].partition("\r\n")[0]


def test_client_that_leaves_ends_its_sandbox_and_leaves_an_outcome(gateway, connect):
    assert eventually(lambda: len(gateway.workers()) == 2)
    connection = connect()
    send_long(connection, gateway.keys["client"])
    request_id = read_request_id(connection)
    assert eventually(lambda: len(gateway.workers()) == 3)
    connection.close()
    assert eventually(lambda: len(gateway.events(request_id)) == 2)
    intent, outcome = gateway.events(request_id)
    own = outcome["sealgate"]
    assert (own["ending"], outcome["status_code"]) == ("client_gone", "499")
    assert 0 < own["completion_tokens"] < 2000
    assert own["choices"][0]["finish_reason"] is None
    assert own["choices"][0]["sandbox"]["observed"] is True
    assert intent["time"] <= outcome["time"]
    assert eventually(lambda: len(gateway.workers()) == 2)


def test_client_that_leaves_before_a_whole_answer_ends_it_too(gateway, connect):
    connection = connect()
    before = len(gateway.events())
    send_long(connection, gateway.keys["client"], LONG.replace(b'"stream": true', b'"n": 2'))
    assert eventually(lambda: len(gateway.workers()) == 4)
    connection.close()
    assert eventually(lambda: len(gateway.workers()) == 2)
    assert eventually(lambda: len(gateway.events()) == before + 2)
    assert gateway.events()[-1]["sealgate"]["ending"] == "client_gone"


def test_log_that_cannot_be_written_means_503_and_no_model_call(gateway):
    database = gateway.home / "sealgate.db"
    aside = database.with_suffix(".aside")
    # Those that take the place of others may still be coming.
    assert eventually(lambda: len(gateway.workers()) == 2)
    before = len(gateway.events())
    workers = gateway.workers()
    with gateway.client() as client:
        database.rename(aside)
        try:
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello."}], max_tokens=4
                )
            # No worker was used up: the same ones still wait.
            assert gateway.workers() == workers
        finally:
            aside.rename(database)
        assert refused.value.status_code == 503
        assert refused.value.code == "log_unavailable"
        assert refused.value.response.headers["retry-after"]
        assert len(gateway.events()) == before
        assert eventually(lambda: answers(client))
    assert len(gateway.events()) >= before + 2


def answers(client):
    try:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello."}], max_tokens=4
        )
    except openai.InternalServerError:
        return False
    return True


def test_gateway_that_is_killed_leaves_no_process_and_recovers_its_intent(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=30) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        request_id, stream = begin(gateway)
        helpers = gateway.workers() | descendants(process.pid)
        process.kill()
        process.wait()
        with stream, pytest.raises(openai.APIError):
            list(stream)
        assert eventually(lambda: not any(alive(pid) for pid in helpers))
    assert [e["sealgate"]["phase"] for e in gateway.events(request_id)] == ["intent"]
    with serve(home, acknowledgement_s=30):
        _, recovered = gateway.events(request_id)
    assert recovered["sealgate"]["ending"] == "unknown"
    assert recovered["metadata"]["uid"] == f"{request_id}/outcome"
    assert json.loads(sealgate("audit", "verify", "--json", home=home).stdout)["dangling"] == []


def test_slow_log_means_503_and_its_late_intent_is_retracted(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=0.2) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        with gateway.client() as client, closing(sqlite3.connect(home / "sealgate.db")) as other:
            assert eventually(lambda: answers(client))
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(openai.InternalServerError) as refused:
                client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello."}], max_tokens=4
                )
            other.rollback()
        assert refused.value.code == "log_unavailable"
        request_id = refused.value.request_id
        assert eventually(lambda: len(gateway.events(request_id)) == 2)
        outcome = gateway.events(request_id)[1]
    assert outcome["sealgate"]["ending"] == "failed"
    assert outcome["sealgate"]["completion_tokens"] == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_gateway_that_is_told_to_stop_records_what_it_cuts_off(idle_home):
    home, keys = idle_home
    with serve(home, acknowledgement_s=30) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        request_id, stream = begin(gateway)
        process.terminate()
        with stream, pytest.raises(openai.APIError) as ended:
            list(stream)
        assert ended.value.code == "shutting_down"
        assert process.wait(timeout=60) == 0
    outcome = gateway.events(request_id)[1]
    assert outcome["sealgate"]["ending"] == "shutdown"
    assert gateway.events()[-1]["api"]["operation"] == "gateway.stop"


def begin(gateway):
    """Start a long streamed answer, and return its request id and the rest of the stream."""
    client = gateway.client()
    stream = client.chat.completions.create(**json.loads(LONG))
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    return stream.response.headers["x-request-id"], stream


def descendants(pid):
    found = set()
    for child in children(pid):
        found |= {child} | descendants(child)
    return found


def alive(pid):
    state = told(pid, "stat").rpartition(b")")[2].split()[:1]
    return state not in ([], [b"Z"], [b"X"])


def test_second_gateway_at_the_home_does_not_start(gateway):
    began = time.monotonic()
    second = sealgate("serve", "--port", "0", home=gateway.home, check=False)
    assert second.returncode == 3
    assert "Another gateway serves" in second.stderr
    assert time.monotonic() - began < 60


def test_taken_port_is_named_before_anything_starts(gateway, idle_home):
    port = gateway.url.rpartition(":")[2]
    second = sealgate("serve", "--port", port, home=idle_home[0], check=False)
    assert second.returncode == 3
    assert port in second.stderr
