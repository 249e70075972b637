"""Tiers that lie, stall, babble or hang up: each has a clear end for the client, and an entry."""

import json
import time

import openai
import pytest

from tests.e2e.deployment import Gateway, serve
from tests.loopback import Answering, serving

pytestmark = pytest.mark.slow
STALL_S = 1
ENTRY = """
[[remote]]
name = "{name}"
tier = "cloud"
profile = "vllm"
origin = "{origin}"
model = "{name}"
serves = "{name}"
boundary = "{name}"
classes = ["public"]
context_length = 2048
first_token_s = 20
stall_s = {stall}
"""


def chunk(model, text):
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return f"data: {json.dumps({'model': model, 'choices': choices})}\n\n".encode()


# What follows the first piece of an answer; None is silence.
ENDS = {
    "garbage": b"data: {nonsense\n\n",
    "stall": None,
    "other": chunk("another", "x"),
    "drop": b"",
    "flood": b"data: " + b"x" * (1 << 21),
    "chatter": chunk("chatter", "x" * 500_000),
}


class Misbehaving(Answering):
    """Says that it is well, begins an answer, and goes wrong in the way its model is called."""

    def get(self):
        self.send_response(200)
        self.end_headers()

    def post(self):
        asked = json.loads(self.body())
        model = asked["model"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(chunk(model, "Hello "))
        self.wfile.flush()
        end = ENDS[model]
        if end is None:
            time.sleep(4 * STALL_S)
            return
        try:
            self.wfile.write(end)
        except OSError:
            # The gateway has heard enough.
            return


@pytest.fixture(scope="module")
def routed(idle_home, tmp_path_factory):
    home, keys = idle_home
    with serving(Misbehaving) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        file = tmp_path_factory.mktemp("misbehaving") / "tiers.toml"
        entries = [ENTRY.format(name=name, origin=origin, stall=STALL_S) for name in ENDS]
        file.write_text("".join(entries))
        settings = {"acknowledgement_s": 5, "workers": 1, "tiers_file": file}
        with serve(home, **settings) as (process, url):
            yield Gateway(home, url, process.pid, keys)


def asked(gateway, model, **options):
    client = gateway.client(default_headers={"x-sealgate-data-class": "public"})
    with client:
        messages = [{"role": "user", "content": "Say hello."}]
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, max_tokens=8, **options
        )
        return raw.headers["x-request-id"], list(raw.parse()) if options else raw.parse()


def outcome(gateway, request_id):
    (event,) = [e for e in gateway.events(request_id) if e["sealgate"]["phase"] == "outcome"]
    return event["sealgate"]


@pytest.mark.parametrize("name", ENDS)
def test_a_whole_answer_ends_with_502_and_an_entry(routed, name):
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as failed:
        asked(routed, name)
    assert (failed.value.status_code, failed.value.code) == (502, "tier_failed")
    assert time.monotonic() - began < 10
    ended = outcome(routed, failed.value.response.headers["x-request-id"])
    assert (ended["ending"], ended["tier"]) == ("failed", "cloud")


@pytest.mark.parametrize("name", ENDS)
def test_a_stream_ends_with_an_error_as_its_last_event_and_an_entry(routed, name):
    headers = {"x-sealgate-data-class": "public"}
    with routed.client(default_headers=headers) as client:
        raw = client.chat.completions.with_streaming_response.create(
            model=name, messages=[{"role": "user", "content": "Hi"}], max_tokens=8, stream=True
        )
        with raw as response:
            request_id = response.headers["x-request-id"]
            lines = [line for line in response.iter_lines() if line.startswith("data:")]
    last = json.loads(lines[-1].removeprefix("data:"))
    assert last["error"]["code"] == "tier_failed"
    assert not any("[DONE]" in line for line in lines)
    ended = outcome(routed, request_id)
    assert (ended["ending"], ended["tier"]) == ("failed", "cloud")


def test_health_that_is_only_said_closes_no_breaker(routed):
    for _ in range(4):
        with pytest.raises(openai.InternalServerError) as failed:
            asked(routed, "drop")
    assert failed.value.code == "no_tier_available"
