import json

import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel

from tests.e2e.deployment import MODEL

ASK = [{"role": "user", "content": "Name a colour."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class Ward(BaseModel):
    name: str
    beds: int


@pytest.fixture(scope="module")
def client(gateway):
    with gateway.client() as made:
        yield made


def strictly(kind, answer):
    """Check that an answer is what the SDK's own types say, without coercion of what is there."""
    kind.model_validate(json.loads(answer.model_dump_json()), strict=False)
    return answer


def chat(client, **options):
    options = {"max_tokens": 24, "messages": ASK, "temperature": 0} | options
    return strictly(ChatCompletion, client.chat.completions.create(model=MODEL, **options))


def test_json_mode_answers_with_an_object(client):
    answer = chat(client, response_format={"type": "json_object"}, max_tokens=200, temperature=0.7)
    choice = answer.choices[0]
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)
    assert choice.message.content.startswith("{")


@pytest.mark.parametrize("seed", range(3))
def test_schema_is_followed_whatever_the_model_wants(client, seed):
    form = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "warm": {"type": "boolean"}},
        "required": ["colour", "warm"],
        "additionalProperties": False,
    }
    named = {"type": "json_schema", "json_schema": {"name": "c", "schema": form, "strict": True}}
    answer = chat(client, response_format=named, temperature=2, seed=seed, max_tokens=60)
    told = json.loads(answer.choices[0].message.content)
    assert told["colour"] in {"red", "blue"}
    assert isinstance(told["warm"], bool)
    assert answer.choices[0].finish_reason == "stop"


def test_parsed_answer_is_a_model_of_the_clients(client):
    answer = client.chat.completions.parse(
        model=MODEL, messages=ASK, response_format=Ward, max_tokens=120, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, Ward)


def test_schema_that_is_none_is_refused(client):
    named = {"type": "json_schema", "json_schema": {"name": "c", "schema": {"type": "wizard"}}}
    with pytest.raises(openai.BadRequestError) as error:
        chat(client, response_format=named)
    assert error.value.code == "invalid_schema"


def test_named_tool_is_called(client):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = chat(client, tools=[WEATHER], tool_choice=choice, max_tokens=60)
    (call,) = answer.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert call.function.name == "get_weather"
    assert arguments["city"] in {"Rome", "Oslo"}
    assert isinstance(arguments["days"], int)


def test_streamed_tool_call_carries_its_index(client):
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        tools=[WEATHER],
        tool_choice="required",
        stream=True,
        max_tokens=60,
        temperature=0,
    )
    calls, reasons = [], []
    for chunk in stream:
        strictly(ChatCompletionChunk, chunk)
        calls += chunk.choices[0].delta.tool_calls or []
        reasons.append(chunk.choices[0].finish_reason)
    assert {call.index for call in calls} == {0}
    assert calls[0].function.name == "get_weather"
    assert calls[0].id
    assert {call.id for call in calls[1:]} <= {None}
    assert json.loads("".join(call.function.arguments for call in calls))["city"]
    assert reasons[-1] == "tool_calls"
    assert set(reasons[:-1]) == {None}


def test_conversation_with_a_call_goes_on(client):
    call = {"name": "get_weather", "arguments": '{"city":"Rome","days":1}'}
    turns = [
        *ASK,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    answer = chat(client, messages=turns, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content


def test_tools_may_be_left_alone(client):
    answer = chat(client, tools=[WEATHER], tool_choice="auto")
    message = answer.choices[0].message
    assert (message.content is None) != (message.tool_calls is None)


def test_logprobs_cover_the_text(client):
    answer = chat(client, logprobs=True, top_logprobs=2, max_tokens=8)
    content = answer.choices[0].logprobs.content
    spoken = b"".join(bytes(token.bytes) for token in content)
    assert spoken.decode() == answer.choices[0].message.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert len(token.top_logprobs) == 2
        # Nothing bends a greedy answer: each token is the most likely one.
        assert token.logprob == token.top_logprobs[0].logprob <= 0


def test_logprobs_need_no_top(client):
    answer = chat(client, logprobs=True, max_tokens=4)
    assert [token.top_logprobs for token in answer.choices[0].logprobs.content] == [[]] * 4


def test_streamed_logprobs_equal_whole_ones(client):
    whole = chat(client, logprobs=True, max_tokens=8).choices[0].logprobs.content
    stream = client.chat.completions.create(
        model=MODEL, messages=ASK, logprobs=True, max_tokens=8, temperature=0, stream=True
    )
    told = [
        token
        for chunk in stream
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert [token.token for token in told] == [token.token for token in whole]


def test_completion_continues_its_prompt(client):
    answer = client.completions.create(
        model=MODEL, prompt="The capital of France is", max_tokens=4, temperature=0, logprobs=2
    )
    strictly(Completion, answer)
    choice = answer.choices[0]
    assert "Paris" in choice.text
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0
    assert all(len(top) == 2 for top in choice.logprobs.top_logprobs)
    assert (answer.usage.completion_tokens, choice.finish_reason) == (4, "length")


def test_streamed_completion_equals_the_whole_one(client):
    ask = {"model": MODEL, "prompt": "One, two,", "max_tokens": 6, "temperature": 0}
    whole = client.completions.create(**ask, echo=True).choices[0].text
    stream = client.completions.create(
        **ask, echo=True, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole
    assert whole.startswith("One, two,")
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-1].choices == []


def test_completion_takes_token_ids(client):
    answer = client.completions.create(model=MODEL, prompt=[504, 3575], max_tokens=2)
    assert answer.usage.prompt_tokens == 2


@pytest.mark.parametrize("prompt", [["a", "b"], [], "", [[]], [2]])
def test_prompt_that_is_not_one_text_is_refused(client, prompt):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=MODEL, prompt=prompt, max_tokens=2)
    assert error.value.param == "prompt"


def test_response_answers_a_text(client):
    answer = client.responses.create(
        model=MODEL, instructions="Be brief.", input="Hello!", max_output_tokens=12, temperature=0
    )
    strictly(Response, answer)
    assert answer.output_text
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 12


def test_streamed_response_tells_its_events_in_order(client):
    ask = {"model": MODEL, "input": [{"role": "user", "content": "Hello!"}], "temperature": 0}
    whole = client.responses.create(**ask, max_output_tokens=12)
    events = list(client.responses.create(**ask, max_output_tokens=12, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == whole.output_text == events[-1].response.output_text


def test_response_stream_helper_accumulates(client):
    ask = {"model": MODEL, "input": "A ward.", "max_output_tokens": 120, "temperature": 0}
    with client.responses.stream(**ask, text_format=Ward) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Ward)


def test_response_follows_a_schema(client):
    answer = client.responses.parse(
        model=MODEL, input="A ward.", text_format=Ward, max_output_tokens=120, temperature=0
    )
    assert isinstance(answer.output_parsed, Ward)


def test_response_calls_a_function(client):
    tool = {"type": "function", **WEATHER["function"]}
    ask = {"model": MODEL, "input": "Weather?", "tools": [tool], "tool_choice": "required"}
    answer = client.responses.create(**ask, max_output_tokens=60, temperature=0)
    (call,) = answer.output
    assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
    events = list(client.responses.create(**ask, max_output_tokens=60, temperature=0, stream=True))
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == json.loads(call.arguments)
    turns = [
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": "c", "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": "c", "output": "Sunny."},
    ]
    assert client.responses.create(model=MODEL, input=turns, max_output_tokens=4).output_text


@pytest.mark.parametrize(
    "options", [{"previous_response_id": "resp_1"}, {"background": True}, {"conversation": "c"}]
)
def test_what_needs_storage_is_refused_by_name(client, options):
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=MODEL, input="Hello!", **options)
    assert error.value.code == "unsupported_parameter"
    assert error.value.param in options


@pytest.mark.parametrize("route", ["chat/completions", "completions", "responses"])
def test_every_route_refuses_alike(client, route):
    for body, code in (("{", "invalid_json"), ('{"model": "x"}', None)):
        with pytest.raises(openai.BadRequestError) as error:
            client.post(
                f"/{route}",
                content=body,
                cast_to=object,
                options={"headers": {"content-type": "application/json"}},
            )
        assert error.value.code == code
        assert error.value.type == "invalid_request_error"
        assert error.value.request_id.startswith("req_")


def test_every_answer_is_in_the_log(client, gateway):
    answer = client.responses.with_raw_response.create(
        model=MODEL, input="Hello!", max_output_tokens=2
    )
    intent, outcome = gateway.events(answer.headers["x-request-id"])
    assert intent["api"]["operation"] == "responses.create"
    assert outcome["sealgate"]["ending"] == "completed"
