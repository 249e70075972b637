"""Spans of requests: what a receiver is told, and what it never is."""

import asyncio
import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from gateway.errors import SettingsInvalid
from gateway.settings import Settings
from gateway.spans import Spans, spans
from tests.loopback import Answering, serving
from tests.unit.gateway import upstreams
from tests.unit.gateway.test_outgoing import edge, log

__all__ = ["log"]

SECRET = "Quillfeather"
ASKED = [{"role": "user", "content": f"Say {SECRET}."}]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def memory():
    return InMemorySpanExporter()


@pytest.fixture
def told(memory):
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    yield Spans(provider)
    provider.shutdown()


async def test_request_is_a_server_span_with_a_model_span_within(log, memory, told):
    async with edge(log, spans=told) as (upstream, ask):
        upstream.script = upstreams.GOOD
        assert (await ask(ASKED, temperature=0.5, stop=[SECRET], user=SECRET))[0] == 200
    model, server = memory.get_finished_spans()
    assert server.name == "POST /v1/chat/completions"
    assert server.kind is SpanKind.SERVER
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["sealgate.request.id"].startswith("req_")
    assert model.name == "chat far"
    assert model.kind is SpanKind.CLIENT
    assert model.parent.span_id == server.context.span_id
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sealgate",
        "gen_ai.request.model": "far",
        "gen_ai.response.model": "far",
        "gen_ai.request.max_tokens": 256,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.choice.count": 1,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("stop",),
        "sealgate.tier": "edge",
    }
    assert expected.items() <= dict(model.attributes).items()
    assert model.attributes["gen_ai.usage.input_tokens"] > 0
    assert model.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert server.start_time <= model.start_time <= model.end_time <= server.end_time


async def test_no_word_of_a_request_or_its_caller_is_told(log, memory, told):
    async with edge(log, spans=told) as (upstream, ask):
        upstream.script = [
            upstreams.event(f"{SECRET} it is", reason="stop"),
            upstreams.DONE,
        ]
        await ask(ASKED, user=SECRET, metadata={"who": SECRET}, stop=["END"])
        await ask(ASKED, model=SECRET)
    everything = json.dumps([json.loads(span.to_json()) for span in memory.get_finished_spans()])
    for word in (SECRET, "clinic", "cred_1", "ward"):
        assert word not in everything


async def test_refusal_and_failure_are_told_by_their_codes(log, memory, told):
    async with edge(log, spans=told) as (upstream, ask):
        await ask(ASKED, temperature=50)
        upstream.script = [upstreams.event("Hel")]
        await ask(ASKED)
    refused, model, failed = memory.get_finished_spans()
    assert refused.attributes["error.type"] == "invalid_request"
    assert refused.attributes["http.response.status_code"] == 400
    assert refused.status.status_code is StatusCode.UNSET
    assert failed.attributes["error.type"] == model.attributes["error.type"] == "tier_failed"
    assert failed.status.status_code is model.status.status_code is StatusCode.ERROR


async def test_span_joins_the_clients_own_trace(log, memory, told):
    async with edge(log, spans=told) as (upstream, ask):
        upstream.script = upstreams.GOOD
        mine = [(b"baggage", b"who=me"), (b"tracestate", b"ward=mrs-smith")]
        await ask(ASKED, headers=[(b"traceparent", PARENT.encode()), *mine])
        await ask(ASKED, headers=[(b"traceparent", b"rubbish")])
    spans_of = memory.get_finished_spans()
    assert f"{spans_of[1].context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{spans_of[1].parent.span_id:016x}" == PARENT.split("-")[2]
    assert spans_of[3].parent is None
    assert not any(each.context.trace_state for each in spans_of)


class Receiver(Answering):
    """Takes batches of spans as OTLP over HTTP sends them, and keeps what it got."""

    def post(self):
        self.server.got.append((self.path, ExportTraceServiceRequest.FromString(self.body())))
        self.server.headers.append(dict(self.headers))
        self.answer(200)


@pytest.fixture
def receiver():
    with serving(Receiver) as server:
        server.got, server.headers = [], []
        yield server


async def test_receiver_gets_every_span_before_the_gateway_is_down(log, receiver, tmp_path):
    (tmp_path / "headers").write_text("Authorization: Basic eA==\n\n")
    settings = Settings(
        otlp_endpoint=f"http://127.0.0.1:{receiver.server_port}/",
        otlp_headers_file=tmp_path / "headers",
    )
    async with spans(settings) as telling, edge(log, spans=telling) as (upstream, ask):
        upstream.script = upstreams.GOOD
        for _ in range(3):
            assert (await ask(ASKED))[0] == 200
    names = [
        span.name
        for path, batch in receiver.got
        for resource in batch.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if path == "/v1/traces"
    ]
    assert sorted(names) == ["POST /v1/chat/completions"] * 3 + ["chat far"] * 3
    resource = receiver.got[0][1].resource_spans[0].resource
    told = {each.key: each.value.string_value for each in resource.attributes}
    assert told["service.name"] == "sealgate"
    assert {h["authorization"] for h in map(lowered, receiver.headers)} == {"Basic eA=="}
    assert SECRET not in str(receiver.got)


def lowered(headers):
    return {name.lower(): value for name, value in headers.items()}


async def test_receiver_that_is_gone_costs_no_answer(log, receiver):
    port = receiver.server_port
    receiver.server_close()
    settings = Settings(otlp_endpoint=f"http://127.0.0.1:{port}")

    async def serve():
        async with spans(settings) as telling, edge(log, spans=telling) as (upstream, ask):
            upstream.script = upstreams.GOOD
            return await ask(ASKED)

    status, _ = await asyncio.wait_for(serve(), 30)
    assert status == 200


async def test_nothing_is_told_without_a_receiver():
    async with spans(Settings()) as telling:
        assert telling is None


@pytest.mark.parametrize(
    "endpoint",
    ["http://10.0.0.1:4318", "ftp://127.0.0.1", "x", "http://u@127.0.0.1", "https://h/?q=1"],
)
async def test_receiver_that_cannot_be_is_refused(endpoint):
    with pytest.raises(SettingsInvalid, match="otlp_endpoint"):
        await entered(spans(Settings(otlp_endpoint=endpoint)))


@pytest.mark.parametrize("content", [b"no colon", b": x", b"\xff"])
async def test_file_that_holds_no_headers_is_refused(tmp_path, content):
    (tmp_path / "headers").write_bytes(content)
    settings = Settings(
        otlp_endpoint="http://127.0.0.1:4318", otlp_headers_file=tmp_path / "headers"
    )
    with pytest.raises(SettingsInvalid, match="header"):
        await entered(spans(settings))


async def entered(context):
    async with context:
        pytest.fail("It was entered.")
