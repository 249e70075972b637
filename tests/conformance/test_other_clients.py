"""Clients as others install them, each in its own environment and process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.api.openapi import document
from tests.e2e.deployment import MODEL

CLIENTS = Path(os.environ.get("SEALGATE_CLIENTS", "/nonexistent"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CLIENTS.is_dir(),
        reason="SEALGATE_CLIENTS names no directory: tests/conformance/clients",
    ),
]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)

OPENAI = """
import asyncio, os
import openai
ask = dict(model=os.environ["MODEL"], messages=[{"role": "user", "content": "Hi."}], max_tokens=6)
client = openai.OpenAI(max_retries=0, timeout=120)
assert client.models.list().data[0].created > 0
whole = client.chat.completions.create(**ask, seed=5, n=2, stop=["zzz"], logprobs=True)
assert whole.usage.completion_tokens == 12 and len(whole.choices) == 2
again = client.chat.completions.create(**ask, seed=5, n=2)
assert [c.message.content for c in again.choices] == [c.message.content for c in whole.choices]
options = dict(stream=True, stream_options={"include_usage": True})
chunks = list(client.chat.completions.create(**ask, **options))
assert chunks[0].choices[0].delta.role == "assistant"
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 6
assert chunks[-2].choices[0].finish_reason == "length"
assert client.completions.create(model=ask["model"], prompt="One, two,", max_tokens=3).choices
response = client.responses.create(model=ask["model"], input="Hi.", max_output_tokens=5)
assert response.output_text
kinds = [e.type for e in client.responses.create(
    model=ask["model"], input="Hi.", max_output_tokens=5, stream=True)]
assert kinds[0] == "response.created" and kinds[-1] == "response.incomplete"
for wrong, error in (
    (dict(model="gpt-9"), openai.NotFoundError),
    (dict(temperature=9), openai.BadRequestError),
):
    try:
        client.chat.completions.create(**(ask | wrong))
    except error as raised:
        assert raised.request_id.startswith("req_")
    else:
        raise SystemExit("not refused")
try:
    openai.OpenAI(api_key="sg-wrong", max_retries=0).models.list()
except openai.AuthenticationError as raised:
    assert raised.code == "invalid_api_key"
async def run():
    async with openai.AsyncOpenAI(max_retries=0, timeout=120) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(3)))
        assert all(a.choices[0].message.content for a in answers)
        async for chunk in await client.chat.completions.create(**ask, stream=True):
            pass
asyncio.run(run())
"""

LANGCHAIN = """
import os
from typing import Literal
from pydantic import BaseModel
from langchain_openai import ChatOpenAI
class Ward(BaseModel):
    name: Literal["A", "B"]
    beds: Literal[2, 3]
chat = ChatOpenAI(model=os.environ["MODEL"], max_tokens=80, temperature=0, max_retries=0)
assert chat.invoke("Hi.").content
assert "".join(chunk.content for chunk in chat.stream("Hi."))
for method in ("json_schema", "function_calling"):
    answer = chat.with_structured_output(Ward, method=method).invoke("Describe a ward.")
    assert isinstance(answer, Ward), (method, answer)
"""

LITELLM = """
import os
import litellm
ask = dict(model=f"openai/{os.environ['MODEL']}", messages=[{"role": "user", "content": "Hi."}],
           max_tokens=6, api_base=os.environ["OPENAI_BASE_URL"],
           api_key=os.environ["OPENAI_API_KEY"])
assert litellm.completion(**ask).choices[0].message.content
assert any(chunk.choices[0].delta.content for chunk in litellm.completion(**ask, stream=True))
try:
    litellm.completion(**(ask | {"model": "openai/gpt-9"}))
except litellm.NotFoundError:
    pass
"""

INSTRUCTOR = """
import os
from typing import Literal
import instructor, openai
from pydantic import BaseModel
class Ward(BaseModel):
    name: Literal["A", "B"]
    beds: Literal[2, 3]
ask = dict(model=os.environ["MODEL"], messages=[{"role": "user", "content": "A ward, please."}],
           max_tokens=120, temperature=0, response_model=Ward, max_retries=0)
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(max_retries=0, timeout=120), mode=mode)
    assert isinstance(client.chat.completions.create(**ask), Ward), mode
"""

NODE = """
import OpenAI from "openai";
import assert from "node:assert";
const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Hi." }];
const ask = { model: process.env.MODEL, messages, max_tokens: 6 };
const whole = await client.chat.completions.create({ ...ask, n: 2 });
assert.equal(whole.choices.length, 2);
let last, text = "";
const stream = await client.chat.completions.create(
  { ...ask, stream: true, stream_options: { include_usage: true } });
for await (const chunk of stream) { last = chunk; text += chunk.choices[0]?.delta.content ?? ""; }
assert.equal(last.usage.completion_tokens, 6);
assert.ok(text);
const response = await client.responses.create(
  { model: ask.model, input: "Hi.", max_output_tokens: 5 });
assert.ok(response.output_text);
await assert.rejects(client.chat.completions.create({ ...ask, model: "gpt-9" }), (error) =>
  error.status === 404 && error.code === "model_not_found" && error.requestID.startsWith("req_"));
"""


def environment(gateway):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {
        "OPENAI_BASE_URL": f"{gateway.url}/v1",
        "OPENAI_API_KEY": gateway.keys["client"],
        "MODEL": MODEL,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "*",
    }


def run(command, gateway, **options):
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=environment(gateway),
        **options,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]


@pytest.mark.parametrize(
    ("client", "program"),
    [
        ("openai1", OPENAI),
        ("openai2", OPENAI),
        ("langchain", LANGCHAIN),
        ("litellm", LITELLM),
        ("instructor", INSTRUCTOR),
    ],
)
def test_python_client_is_content(client, program, gateway):
    run([CLIENTS / client / "bin" / "python", "-c", program], gateway)


def test_locked_openai_client_is_content(gateway):

    run([sys.executable, "-c", OPENAI], gateway)


@pytest.mark.parametrize("client", ["n6", "n7"])
def test_node_client_is_content(client, gateway):
    script = CLIENTS / client / "conformance.mjs"
    script.write_text(NODE)
    run(["node", script], gateway, cwd=CLIENTS / client)


def test_schemathesis_finds_nothing(gateway, tmp_path):
    """Every operation of the document, with valid, invalid and half-valid requests."""

    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document()))
    command = [CLIENTS / "schemathesis" / "bin" / "schemathesis", "run", schema]
    command += ["--url", gateway.url, "-H", f"Authorization: Bearer {gateway.keys['client']}"]
    command += ["--max-examples", "15", "--seed", "1", "--request-timeout", "60"]
    command += ["--checks", ",".join(CHECKS)]
    run(command, gateway, cwd=tmp_path)
