"""What is sent to vLLM is what its own request class takes; what it streams is read as meant.

tests/vectors/vllm-0.33-http.json is recorded from vLLM's classes by make_vllm_contract.py.
"""

import json
from pathlib import Path

import pytest

from gateway.backends.base import Complete, Text, Usage
from gateway.backends.profiles import VLLM
from tests.unit.gateway import upstreams
from tests.unit.gateway.test_remote import ask, backend_to, collect
from watermark.argument import Mark

RECORD = json.loads(
    (Path(__file__).parents[2] / "vectors" / "vllm-0.33-http.json").read_text(encoding="utf-8")
)


async def sent(question):
    async with upstreams.serving() as upstream, backend_to(upstream) as backend:
        await collect(backend, question)
    (body,) = upstream.bodies
    return body


@pytest.mark.parametrize("marked", [False, True])
async def test_vllms_own_request_class_knows_and_takes_every_field(marked):
    jsonschema = pytest.importorskip("jsonschema")
    body = await sent(ask(mark=Mark(b"k" * 32, 7)) if marked else ask())
    assert body.keys() <= RECORD["request"]["properties"].keys()
    assert ("vllm_xargs" in body) is marked
    jsonschema.validate(body, RECORD["request"])


async def test_a_stream_as_vllm_frames_it_is_read_whole():
    async with upstreams.serving() as upstream, backend_to(upstream) as backend:
        upstream.script = [event.encode() for event in RECORD["stream"]]
        *pieces, end = await collect(backend)
    assert pieces == [Text("Hel"), Text("lo"), Text("!")]
    assert isinstance(end, Complete)
    assert (end.reason, end.usage) == ("stop", Usage(7, 3, counted=True))


def test_every_gauge_that_is_read_is_one_that_vllm_has():
    gauges = VLLM.gauges
    read = {gauges.running, gauges.waiting, gauges.kv_fraction}
    assert read <= set(RECORD["metrics"])
