"""What openai-python of any major version asks of a gateway, as `test_other_clients.py` runs it."""

import asyncio
import base64
import json
import os
import struct
from typing import Literal

import openai
from pydantic import BaseModel

MODEL, EMBEDDER = os.environ["MODEL"], os.environ["EMBEDDER"]
# Greedy: a drawn answer may end before its limit, once in a hundred.
ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hi."}],
    "max_tokens": 6,
    "temperature": 0,
}
FUNCTION = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"}


class Ward(BaseModel):
    name: Literal["A", "B"]
    beds: Literal[2, 3]


def chats(client):
    assert client.chat.completions.create(**ASK, n=2).usage.completion_tokens == 12
    drawn = ASK | {"temperature": 1, "seed": 5, "n": 2}
    whole = client.chat.completions.create(**drawn, stop=["zzz"], logprobs=True)
    again = client.chat.completions.create(**drawn)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.message.content for choice in again.choices] == texts
    assert len(texts) == 2
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**ASK, **options))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-2].choices[0].finish_reason == "length"


def completions(client):
    ask = {"model": MODEL, "prompt": "One, two,", "max_tokens": 3, "temperature": 0}
    whole = client.completions.create(**ask).choices[0].text
    streamed = client.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole


def tools(client):
    ask = ASK | TOOLS | {"max_tokens": 60}
    whole = client.chat.completions.create(**ask).choices[0]
    (call,) = whole.message.tool_calls
    assert whole.finish_reason == "tool_calls"
    assert json.loads(call.function.arguments)["city"] in {"Rome", "Oslo"}
    written, name = "", None
    for chunk in client.chat.completions.create(**ask, stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            name = part.function.name or name
            written += part.function.arguments or ""
    assert (name, written) == (call.function.name, call.function.arguments)
    turns = [
        *ASK["messages"],
        whole.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
    ]
    answer = client.chat.completions.create(**(ASK | {"messages": turns}))
    assert answer.choices[0].message.content


def forms(client):
    ask = ASK | {"max_tokens": 80}
    parsed = client.chat.completions.parse(**ask, response_format=Ward)
    assert isinstance(parsed.choices[0].message.parsed, Ward)
    told = {"model": MODEL, "input": "A ward.", "max_output_tokens": 80, "temperature": 0}
    parsed = client.responses.parse(**told, text_format=Ward)
    assert isinstance(parsed.output_parsed, Ward)


def responses(client):
    ask = {"model": MODEL, "input": "Hi.", "max_output_tokens": 5, "temperature": 0}
    whole = client.responses.create(**ask)
    events = list(client.responses.create(**ask, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.incomplete"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert whole.output_text
    # The helper returns what was completed, and no response that was cut off.
    formed = ask | {"max_output_tokens": 80, "text_format": Ward}
    with client.responses.stream(**formed) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Ward)
    tool = {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"}
    (call,) = client.responses.create(**(ask | tool | {"max_output_tokens": 60})).output
    assert (call.type, call.name) == ("function_call", "weather")


def embeddings(client):
    texts = ["A patient.", "Ein Zug."]
    # Without a form the client asks for base64 and decodes it; both forms are the same numbers.
    decoded = client.embeddings.create(model=EMBEDDER, input=texts)
    floats = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="base64")
    for one, other, raw in zip(decoded.data, floats.data, packed.data, strict=True):
        assert len(one.embedding) == len(other.embedding) == 384
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
        numbers = struct.unpack("<384f", base64.b64decode(raw.embedding))
        assert list(numbers) == list(one.embedding)
    assert decoded.usage.total_tokens > 0


def refusals(client):
    for wrong, error in (
        ({"model": "gpt-9"}, openai.NotFoundError),
        ({"temperature": 9}, openai.BadRequestError),
    ):
        try:
            client.chat.completions.create(**(ASK | wrong))
        except error as raised:
            assert raised.request_id.startswith("req_")  # noqa: PT017 - no pytest in here.
        else:
            raise SystemExit("not refused")
    try:
        openai.OpenAI(api_key="sg-wrong", max_retries=0).models.list()
    except openai.AuthenticationError as raised:
        assert raised.code == "invalid_api_key"  # noqa: PT017 - no pytest in here.
    else:
        raise SystemExit("not refused")


async def at_once():
    async with openai.AsyncOpenAI(max_retries=0, timeout=120) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(3)))
        assert all(answer.choices[0].message.content for answer in answers)
        stream = await client.chat.completions.create(**ASK, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text
        made = await client.embeddings.create(model=EMBEDDER, input="A patient.")
        assert len(made.data[0].embedding) == 384
        ask = {"model": MODEL, "input": "Hi.", "max_output_tokens": 5, "temperature": 0}
        events = [event async for event in await client.responses.create(**ask, stream=True)]
        assert events[-1].type == "response.incomplete"


with openai.OpenAI(max_retries=0, timeout=120) as client:
    assert {model.id for model in client.models.list()} == {MODEL, EMBEDDER}
    assert client.models.retrieve(MODEL).created > 0
    for part in (chats, completions, tools, forms, responses, embeddings, refusals):
        part(client)
asyncio.run(at_once())
