"""What litellm's SDK asks of a gateway, as `test_other_clients.py` runs it."""

import asyncio
import json
import os

import litellm

PLACE = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
MODEL, EMBEDDER = f"openai/{os.environ['MODEL']}", f"openai/{os.environ['EMBEDDER']}"
ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hi."}],
    "max_tokens": 60,
    "temperature": 0,
    **PLACE,
}
FORM = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def chats():
    whole = litellm.completion(**ASK)
    assert whole.usage.completion_tokens > 0
    parts = list(litellm.completion(**ASK, stream=True, stream_options={"include_usage": True}))
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == whole.choices[0].message.content
    rebuilt = litellm.stream_chunk_builder(parts)
    assert rebuilt.usage.completion_tokens == whole.usage.completion_tokens


def tools():
    function = {"name": "weather", "parameters": FORM}
    options = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    (call,) = litellm.completion(**ASK, **options).choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in {"Rome", "Oslo"}
    parts = list(litellm.completion(**ASK, **options, stream=True))
    (again,) = litellm.stream_chunk_builder(parts).choices[0].message.tool_calls
    assert again.function.arguments == call.function.arguments


def forms():
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": FORM, "strict": True}}
    told = litellm.completion(**ASK, response_format=form).choices[0].message.content
    assert json.loads(told)["city"] in {"Rome", "Oslo"}


def responses():
    ask = {"model": MODEL, "input": "Hi.", "max_output_tokens": 5, "temperature": 0, **PLACE}
    whole = litellm.responses(**ask)
    assert whole.output[0].content[0].text
    kinds = [str(getattr(event, "type", "")) for event in litellm.responses(**ask, stream=True)]
    assert any("output_text.delta" in kind.lower() for kind in kinds) or any(
        "OUTPUT_TEXT_DELTA" in kind for kind in kinds
    ), kinds


def embeddings():
    made = litellm.embedding(model=EMBEDDER, input=["A patient.", "Ein Zug."], **PLACE)
    assert [len(each["embedding"]) for each in made.data] == [384, 384]
    packed = litellm.embedding(model=EMBEDDER, input="x", encoding_format="base64", **PLACE)
    assert len(packed.data) == 1


def refusals():
    try:
        litellm.completion(**(ASK | {"model": "openai/gpt-9"}))
    except litellm.NotFoundError:
        return
    raise SystemExit("not refused")


async def at_once():
    answers = await asyncio.gather(*(litellm.acompletion(**ASK) for _ in range(2)))
    assert all(answer.choices[0].message.content for answer in answers)
    made = await litellm.aembedding(model=EMBEDDER, input=["A patient."], **PLACE)
    assert len(made.data[0]["embedding"]) == 384


for part in (chats, tools, forms, responses, embeddings, refusals):
    part()
asyncio.run(at_once())
