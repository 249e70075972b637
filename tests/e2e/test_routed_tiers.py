"""A gateway with tiers: a second gateway answers as its edge, and a liar as its cloud."""

import json
from contextlib import contextmanager

import openai
import pytest

from tests.e2e.deployment import MODEL, Gateway, serve
from tests.loopback import Answering, serving

pytestmark = pytest.mark.slow
ENTRY = """
[[remote]]
name = "{name}"
tier = "{tier}"
profile = "{profile}"
origin = "{origin}"
model = "{model}"
serves = "{serves}"
boundary = "{name}"
classes = ["public"]
context_length = 2048
first_token_s = 20
stall_s = 2
{more}
"""


class Liar(Answering):
    """Says that it is well, and streams rubbish."""

    def get(self):
        self.send_response(200)
        self.end_headers()

    def post(self):
        self.body()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {"model": "something-else", "choices": []}\n\n')


@contextmanager
def liar():
    with serving(Liar) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def routed(gateway, idle_home, tmp_path_factory):
    """A gateway whose edge is the other gateway, and whose cloud lies."""
    home, keys = idle_home
    directory = tmp_path_factory.mktemp("tiers")
    token = directory / "edge.token"
    token.write_text(gateway.keys["client"])
    with liar() as origin:
        edge = {"name": "edge-1", "tier": "edge", "profile": "sealgate", "origin": gateway.url}
        edge |= {"model": MODEL, "serves": "far", "more": f'token_file = "{token}"'}
        cloud = {"name": "cloud-1", "tier": "cloud", "profile": "vllm", "origin": origin}
        cloud |= {"model": "large", "serves": "large", "more": ""}
        file = directory / "tiers.toml"
        file.write_text(ENTRY.format(**edge) + ENTRY.format(**cloud))
        settings = {"acknowledgement_s": 30, "workers": 1, "tiers_file": file}
        with serve(home, **settings) as (process, url):
            yield Gateway(home, url, process.pid, keys)


def chat(gateway, model, text="Say hello.", data_class="public", **options):
    with gateway.client(default_headers={"x-sealgate-data-class": data_class}) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=8, **options
        )
    return raw.headers["x-request-id"], raw.parse()


def outcome(gateway, request_id):
    (event,) = [
        e for e in gateway.events(request_id) if e["sealgate"]["phase"] in {"outcome", "denied"}
    ]
    return event["sealgate"]


def test_a_second_gateway_answers_as_a_tier(routed, gateway):
    before = len(gateway.events())
    request_id, answer = chat(routed, "far", seed=1, temperature=0)
    assert answer.model == "far"
    assert answer.choices[0].message.content
    ended = outcome(routed, request_id)
    assert (ended["ending"], ended["tier"]) == ("completed", "edge")
    assert ended["model"] == {
        "id": "far", "digest": f"upstream:edge-1/{MODEL}", "generation": 0,
    }  # fmt: skip
    (choice,) = ended["choices"]
    # Its own mark is the other's; this gateway vouches for none.
    assert choice["mark"] == "unmarked"
    assert choice["tokens"] == answer.usage.completion_tokens > 0
    assert choice["sandbox"]["endpoint"] == "edge-1"
    assert ended["route"]["endpoint"] == "edge-1"
    verdicts = {c["endpoint"]: c["verdict"] for c in ended["route"]["considered"]}
    assert verdicts == {f"local/{MODEL}": "pin", "edge-1": "chosen", "cloud-1": "pin"}
    # The other gateway has its own entries of the same answer.
    assert len(gateway.events()) == before + 2


def test_auto_streams_from_a_local_model_with_its_mark(routed):
    with routed.client(default_headers={"x-sealgate-data-class": "phi"}) as client:
        stream = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "Hi"}], max_tokens=30, stream=True
        )
        chunks = list(stream.parse())
    assert {chunk.model for chunk in chunks} == {MODEL}
    ended = outcome(routed, stream.headers["x-request-id"])
    assert (ended["tier"], ended["route"]["endpoint"]) == ("mobile", f"local/{MODEL}")
    assert ended["choices"][0]["sandbox"]["namespaces"]


def test_data_of_another_class_reaches_no_remote(routed, gateway):
    before = len(gateway.events())
    for data_class in ("phi", "internal", "unclassified"):
        with pytest.raises(openai.PermissionDeniedError) as refused:
            chat(routed, "far", data_class=data_class)
        assert refused.value.code == "no_tier_for_class"
        request_id = refused.value.response.headers["x-request-id"]
        assert outcome(routed, request_id)["reason"] == "no_tier_for_class"
    assert len(gateway.events()) == before


def test_a_tier_that_lies_has_a_clear_end_and_an_entry(routed):
    with pytest.raises(openai.InternalServerError) as failed:
        chat(routed, "large")
    assert (failed.value.status_code, failed.value.code) == (502, "tier_failed")
    ended = outcome(routed, failed.value.response.headers["x-request-id"])
    assert (ended["ending"], ended["tier"]) == ("failed", "cloud")
    # Its health stays good in its own words, and the breaker opens all the same.
    for _ in range(4):
        with pytest.raises((openai.InternalServerError, openai.APIStatusError)) as failed:
            chat(routed, "large")
    assert failed.value.code == "no_tier_available"


def test_models_lists_what_can_be_named(routed):
    with routed.client() as client:
        names = {model.id for model in client.models.list()}
    assert {MODEL, "far", "large", "auto", "mobile", "edge", "cloud"} <= names


def test_what_a_tier_cannot_honour_is_refused(routed):
    # Its token ids need not be the ones that the client means.
    with pytest.raises(openai.BadRequestError) as refused:
        chat(routed, "far", logit_bias={"5": 1})
    assert json.loads(refused.value.response.text)["error"]["param"] == "logit_bias"


def test_form_is_enforced_where_the_tier_enforces_it(routed):
    form = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    named = {"type": "json_schema", "json_schema": {"name": "a", "schema": form}}
    _, answer = chat(routed, "far", response_format=named)
    assert json.loads(answer.choices[0].message.content) == {"a": 1}
