"""What langchain-openai asks of a gateway, as `test_other_clients.py` runs it."""

import asyncio
import os
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODEL, EMBEDDER = os.environ["MODEL"], os.environ["EMBEDDER"]


class Ward(BaseModel):
    """A ward of a hospital."""

    name: Literal["A", "B"]
    beds: Literal[2, 3]


@tool
def weather(city: Literal["Rome", "Oslo"]) -> str:
    """Tell the weather of a city."""
    return f"Sunny in {city}."


def forms(chat):
    for method in ("json_schema", "function_calling"):
        answer = chat.with_structured_output(Ward, method=method).invoke("Describe a ward.")
        assert isinstance(answer, Ward), (method, answer)
    told = chat.with_structured_output(Ward.model_json_schema(), method="json_schema")
    assert set(told.invoke("Describe a ward.")) == {"name", "beds"}


def tools(chat):
    calling = chat.bind_tools([weather], tool_choice="weather")
    asked = HumanMessage("Weather?")
    answer = calling.invoke([asked])
    (call,) = answer.tool_calls
    assert call["name"] == "weather"
    whole = None
    for chunk in calling.stream([asked]):
        whole = chunk if whole is None else whole + chunk
    assert [each["args"] for each in whole.tool_calls] == [call["args"]]
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert chat.invoke([asked, answer, result]).content


def responses(options):
    chat = ChatOpenAI(**options, use_responses_api=True)
    whole = chat.invoke("Hi.")
    assert whole.text
    assert "".join(chunk.text for chunk in chat.stream("Hi.")) == whole.text


def embeddings():
    # Otherwise it counts tokens, and sends them, by the vocabulary of OpenAI's own models.
    maker = OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, max_retries=0)
    documents = maker.embed_documents(["A patient.", "Ein Zug."])
    query = maker.embed_query("A patient.")
    assert [len(vector) for vector in documents] == [384, 384]
    assert all(abs(a - b) < 1e-6 for a, b in zip(documents[0], query, strict=True))


async def at_once(chat):
    answers = await chat.abatch(["Hi.", "Hello."])
    assert all(answer.content for answer in answers)
    assert "".join([chunk.content async for chunk in chat.astream("Hi.")])


options = {"model": MODEL, "max_tokens": 80, "temperature": 0, "max_retries": 0}
chat = ChatOpenAI(**options)
whole = chat.invoke("Hi.")
assert whole.usage_metadata["output_tokens"] > 0
chunks = list(chat.stream("Hi.", stream_usage=True))
assert "".join(chunk.content for chunk in chunks) == whole.content
assert any(chunk.usage_metadata for chunk in chunks)
forms(chat)
tools(chat)
responses(options)
embeddings()
asyncio.run(at_once(chat))
