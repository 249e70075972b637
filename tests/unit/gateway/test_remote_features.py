"""Tools, forms and likelihoods of remote tiers: what is sent, what comes back, what is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.completions import CompletionDialect
from gateway.api.responses import ResponseDialect
from gateway.backends import likely
from gateway.backends.base import Call, Likely
from gateway.backends.events import EventReader, Expected
from gateway.errors import UpstreamFailed
from tests.unit.gateway import upstreams
from tests.unit.gateway.test_outgoing import agreed, edge, entries, log

__all__ = ["log"]

ASKED = [{"role": "user", "content": "What is the weather in a town?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        "unknown": "left out",
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def called(index, *, name=None, arguments="", reason=None):
    """One chunk that holds a part of a call."""
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    part = {"index": index, "function": function}
    if name is not None:
        part |= {"id": f"call_{index}", "type": "function"}
    body = {
        "model": upstreams.MODEL,
        "choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": reason}],
    }
    return f"data: {json.dumps(body)}\n\n".encode()


END = (upstreams.event(reason="tool_calls"), upstreams.event(usage=upstreams.USAGE), upstreams.DONE)
ONE_CALL = (
    called(0, name="weather"),
    called(0, arguments='{"to'),
    called(0, arguments='wn": "Ulm"}'),
    *END,
)
TWO_CALLS = (
    upstreams.event("Let me look. "),
    called(0, name="weather", arguments='{"town": "Ulm"}'),
    called(1, name="clock"),
    *END,
)


def chunks(body):
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def put_together(body):
    """Put a streamed chat's text and calls together as a client does."""
    text, calls, reason = "", {}, None
    for chunk in chunks(body):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            reason = choice["finish_reason"] or reason
            for part in delta.get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"name": "", "arguments": "", "id": ""})
                call["id"] += part.get("id", "")
                call["name"] += part["function"].get("name", "")
                call["arguments"] += part["function"].get("arguments", "")
    return text, [calls[index] for index in sorted(calls)], reason


async def test_call_passes_through_whole(log):
    async with edge(log) as (upstream, ask):
        upstream.script = ONE_CALL
        status, body = await ask(ASKED, tools=[WEATHER], tool_choice="auto")
    assert status == 200
    (choice,) = json.loads(body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"town": "Ulm"}'}
    (sent,) = upstream.bodies
    (tool,) = sent["tools"]
    assert tool["function"].keys() == {"name", "description", "parameters"}
    assert sent["tool_choice"] == "auto"
    assert [turn["role"] for turn in sent["messages"]] == ["user"]
    assert entries(log)[-1]["ending"] == "completed"


async def test_text_and_several_calls_pass_through_streamed_as_whole(log):
    async with edge(log) as (upstream, ask):
        upstream.script = TWO_CALLS
        _, streamed = await ask(ASKED, tools=[WEATHER, CLOCK], stream=True)
        _, whole = await ask(ASKED, tools=[WEATHER, CLOCK])
    text, calls, reason = put_together(streamed)
    assert (text, reason) == ("Let me look. ", "tool_calls")
    assert [(c["name"], c["arguments"]) for c in calls] == [
        ("weather", '{"town": "Ulm"}'),
        ("clock", "{}"),
    ]
    assert len({call["id"] for call in calls}) == 2
    message = json.loads(whole)["choices"][0]["message"]
    assert message["content"] == text
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [
        '{"town": "Ulm"}',
        "{}",
    ]


async def test_stop_string_ends_words_and_no_call(log):
    async with edge(log) as (upstream, ask):
        upstream.script = ONE_CALL
        _, body = await ask(ASKED, tools=[WEATHER], stop=["Ulm"])
    (call,) = json.loads(body)["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"town": "Ulm"}'


async def test_call_that_is_cut_off_is_told_as_far_as_it_came(log):
    async with edge(log) as (upstream, ask):
        upstream.script = (*ONE_CALL[:2], upstreams.event(reason="length"), upstreams.DONE)
        _, streamed = await ask(ASKED, tools=[WEATHER], stream=True)
    _, calls, reason = put_together(streamed)
    assert (calls[0]["arguments"], reason) == ('{"to', "length")


async def test_earlier_calls_and_their_results_are_sent_as_such(log):
    history = [
        *ASKED,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"town": "Ulm"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
    ]
    async with edge(log) as (upstream, ask):
        upstream.script = upstreams.GOOD
        assert (await ask(history, tools=[WEATHER]))[0] == 200
        # Without tools in the request the server need not know of them.
        assert (await ask(history))[0] == 200
    structured, flat = (body["messages"] for body in upstream.bodies)
    assert structured[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert structured[2] == {"role": "tool", "tool_call_id": "c1", "content": "Rain."}
    assert [turn["role"] for turn in flat] == ["user", "assistant", "user"]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_identifier_in_arguments_leaves_as_a_pseudonym_and_comes_back_as_json(log, size):
    name = 'Maria "Mia" Gonzalez'

    async with edge(log, agreement=agreed()) as (upstream, ask):

        class Script:
            """Calls the function with the pseudonym that stands in the question."""

            def __iter__(self):
                told = upstream.bodies[-1]["messages"][-1]["content"].split("Patient: ")[1]
                arguments = json.dumps({"who": told.split(".")[0]})
                yield called(0, name="weather")
                for at in range(0, len(arguments), size):
                    yield called(0, arguments=arguments[at : at + size])
                yield from END

        upstream.script = Script()
        given = [{"role": "user", "content": "Patient: Maria Gonzalez."}]
        tool = {
            "type": "function",
            "function": {"name": "weather", "description": "For Mr. Quill Ferro alone."},
        }
        _, body = await ask(given, tools=[tool], stream=True)
    sent = json.dumps(upstream.bodies)
    assert "Gonzalez" not in sent
    assert "Ferro" not in sent
    _, calls, _ = put_together(body)
    assert json.loads(calls[0]["arguments"]) == {"who": "Maria Gonzalez"}
    assert name not in sent


LIES = {
    "function it was not given": [called(0, name="other")],
    "second call out of turn": [called(1, name="weather")],
    "part of no call": [called(0, arguments="{}")],
    "part of an earlier call": [
        called(0, name="weather"),
        called(1, name="weather"),
        called(0, arguments="x"),
    ],
    "words after a call": [called(0, name="weather"), upstreams.event("and")],
    "too many arguments": [called(0, name="weather", arguments="x" * 20_000)],
    "arguments of another type": [called(0, name="weather", arguments=["x"])],
    "calls of another type": [
        upstreams.event().replace(b'"content": ""', b'"tool_calls": {"index": 0}')
    ],
    "index of another type": [called("0", name="weather")],
    "name of another type": [called(0, name=["weather"])],
    "reason of another type": [called(0, name="weather", reason=["stop"])],
    "call without a function": [
        upstreams.event().replace(b'"content": ""', b'"tool_calls": [{"index": 0}]')
    ],
}


@pytest.mark.parametrize("case", LIES)
async def test_call_that_was_not_asked_for_is_garbage(log, case):
    async with edge(log) as (upstream, ask):
        upstream.script = [*LIES[case], *END]
        status, body = await ask(ASKED, tools=[WEATHER])
    assert (status, json.loads(body)["error"]["code"]) == (502, "tier_failed")
    assert entries(log)[-1]["ending"] == "failed"


async def test_call_without_tools_is_garbage(log):
    async with edge(log) as (upstream, ask):
        upstream.script = ONE_CALL
        assert (await ask(ASKED))[0] == 502


FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


async def test_form_and_penalties_are_sent(log):
    async with edge(log) as (upstream, ask):
        upstream.script = upstreams.GOOD
        await ask(ASKED, response_format=FORM, presence_penalty=0.5, min_p=0.1)
        await ask(ASKED, response_format={"type": "json_object"})
        await ask(ASKED, response_format={"type": "text"})
    schema, mode, text = upstream.bodies
    assert schema["response_format"] == FORM
    assert (schema["presence_penalty"], schema["min_p"]) == (0.5, 0.1)
    assert mode["response_format"] == {"type": "json_object"}
    assert "response_format" not in text


LOGPROBS = {
    "content": [
        {
            "token": "Hel",
            "logprob": -0.5,
            "bytes": [72, 101, 108],
            "top_logprobs": [{"token": "Hel", "logprob": -0.5, "bytes": [72, 101, 108]}],
        }
    ]
}


def with_logprobs(told):
    event = json.loads(upstreams.event("Hel")[6:])
    event["choices"][0]["logprobs"] = told
    return f"data: {json.dumps(event)}\n\n".encode()


@pytest.mark.parametrize("stream", [False, True])
async def test_likelihoods_pass_through(log, stream):
    async with edge(log) as (upstream, ask):
        upstream.script = (with_logprobs(LOGPROBS), *upstreams.GOOD[1:])
        _, body = await ask(ASKED, logprobs=True, top_logprobs=1, stream=stream)
    assert (upstream.bodies[0]["logprobs"], upstream.bodies[0]["top_logprobs"]) == (True, 1)
    answers = chunks(body) if stream else [json.loads(body)]
    told = [
        token
        for answer in answers
        for choice in answer["choices"]
        for token in (choice["logprobs"] or {}).get("content", ())
    ]
    assert told[0]["token"] == "Hel"
    assert told[0]["bytes"] == [72, 101, 108]
    assert told[0]["top_logprobs"][0]["logprob"] == -0.5


async def test_likelihoods_of_hidden_values_are_refused(log):
    async with edge(log, agreement=agreed()) as (upstream, ask):
        given = [{"role": "user", "content": "Patient: Maria Gonzalez."}]
        status, body = await ask(given, logprobs=True)
    assert (status, json.loads(body)["error"]["param"]) == (400, "logprobs")
    assert upstream.bodies == []


ABSURD = [
    5,
    {"content": 5},
    {"content": [5]},
    {"content": [{"token": 5, "logprob": 0}]},
    {"content": [{"token": "a", "logprob": "high"}]},
    {"content": [{"token": "a", "logprob": True}]},
    {"content": [{"token": "a", "logprob": 0, "bytes": [300]}]},
    {"content": [{"token": "a", "logprob": 0, "top_logprobs": [5]}]},
    {"content": [{"token": "a", "logprob": 0}] * 5000},
    {},
]


@pytest.mark.parametrize("told", ABSURD)
def test_likelihoods_of_another_kind_are_garbage(told):
    with pytest.raises(UpstreamFailed, match="likelihoods"):
        likely.read(told, bare=False)


@pytest.mark.parametrize(
    "told", [5, {"tokens": ["a"]}, {"tokens": ["a"], "token_logprobs": []}, {"tokens": 5}]
)
def test_likelihoods_of_the_older_api_are_held_to_its_form(told):
    with pytest.raises(UpstreamFailed):
        likely.read(told, bare=True)


def test_likelihoods_that_json_has_no_number_for_are_bounded():
    told = {"tokens": ["a", "b"], "token_logprobs": [None, 5], "top_logprobs": [None, {"c": -1e9}]}
    assert likely.read(told, bare=True) == (
        Likely(b"a", likely.IMPOSSIBLE),
        Likely(b"b", 0.0, ((b"c", likely.IMPOSSIBLE),)),
    )


def test_likelihoods_that_nobody_asked_for_are_not_told():
    reader = EventReader(Expected(upstreams.MODEL, 8))
    (delta,) = reader.feed(with_logprobs(5))
    assert delta.likely == ()


def test_reader_tells_a_call_in_its_parts():
    reader = EventReader(Expected(upstreams.MODEL, 8, frozenset({"weather"})))
    deltas = [delta for chunk in ONE_CALL for delta in reader.feed(chunk)]
    calls = [call for delta in deltas for call in delta.calls]
    assert calls == [Call("weather", ""), Call(None, '{"to'), Call(None, 'wn": "Ulm"}')]
    assert deltas[-2].reason == "stop"


@pytest.mark.parametrize(
    ("options", "feature", "param"),
    [
        ({"tools": [WEATHER]}, "tools", "tools"),
        ({"response_format": FORM}, "json_schema", "response_format"),
        ({"response_format": {"type": "json_object"}}, "json_object", "response_format"),
        ({"logprobs": True}, "logprobs", "logprobs"),
        ({"frequency_penalty": 1}, "penalties", "presence_penalty"),
        ({"min_p": 0.5}, "min_p", "min_p"),
        ({"repetition_penalty": 1.5}, "repetition_penalty", "repetition_penalty"),
        ({"logit_bias": {"5": 1}}, "token_ids", "logit_bias"),
    ],
)
async def test_what_no_tier_can_do_is_refused_by_name_and_sent_nowhere(
    log, options, feature, param
):
    async with edge(log, features=frozenset()) as (upstream, ask):
        upstream.script = upstreams.GOOD
        status, body = await ask(ASKED, **options)
        assert (await ask(ASKED))[0] == 200
    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "unsupported_parameter", param)
    assert feature in error["message"]
    assert len(upstream.bodies) == 1


BARE = (
    upstreams.event().replace(b'"delta": {"content": ""}', b'"text": "Once "'),
    upstreams.event().replace(b'"delta": {"content": ""}', b'"text": "upon"'),
    upstreams.event(reason="stop").replace(b'"delta": {"content": ""}', b'"text": ""'),
    upstreams.event(usage=upstreams.USAGE),
    upstreams.DONE,
)


@pytest.mark.parametrize("stream", [False, True])
async def test_text_is_continued_by_the_older_route_of_a_tier(log, stream):
    async with edge(log, dialect=CompletionDialect) as (upstream, ask):
        upstream.script = BARE
        status, body = await ask(prompt="Tell: ", max_tokens=8, stream=stream, echo=True)
    assert status == 200
    answers = chunks(body) if stream else [json.loads(body)]
    text = "".join(choice["text"] for answer in answers for choice in answer["choices"])
    assert text == "Tell: Once upon"
    assert answers[0]["model"] == "far"
    assert upstream.asked == ["/v1/completions"]
    assert upstream.bodies[0]["prompt"] == "Tell: "
    assert "messages" not in upstream.bodies[0]


async def test_identifier_in_a_bare_text_stays_here(log):
    async with edge(log, dialect=CompletionDialect, agreement=agreed()) as (upstream, ask):
        upstream.script = BARE
        assert (await ask(prompt="Patient: Maria Gonzalez.", max_tokens=8))[0] == 200
    assert "Gonzalez" not in json.dumps(upstream.bodies)


async def test_token_ids_are_sent_to_no_tier(log):
    async with edge(log, dialect=CompletionDialect) as (upstream, ask):
        upstream.script = BARE
        status, body = await ask(prompt=[1, 2], max_tokens=8)
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
    assert upstream.bodies == []


async def test_response_comes_from_a_tier_with_its_calls(log):
    function = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    clock = {"type": "function", "name": "clock"}
    async with edge(log, dialect=ResponseDialect) as (upstream, ask):
        upstream.script = TWO_CALLS
        status, body = await ask(input="What is it like?", tools=[function, clock])
        _, streamed = await ask(input="What is it like?", tools=[function, clock], stream=True)
    assert status == 200
    answer = json.loads(body)
    assert [item["type"] for item in answer["output"]] == ["message", *["function_call"] * 2]
    assert answer["output"][0]["content"][0]["text"] == "Let me look. "
    assert [item["arguments"] for item in answer["output"][1:]] == ['{"town": "Ulm"}', "{}"]
    assert len({item["id"] for item in answer["output"]}) == 3
    assert (answer["status"], answer["model"]) == ("completed", "far")
    events = chunks(streamed)
    assert events[-1]["type"] == "response.completed"
    # The request's own id is in the items'.
    shapes = [(item["type"], item.get("arguments")) for item in answer["output"]]
    last = [(i["type"], i.get("arguments")) for i in events[-1]["response"]["output"]]
    assert shapes == last
    added = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    done = [e["output_index"] for e in events if e["type"] == "response.output_item.done"]
    assert added == done == [0, 1, 2]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))


async def test_response_is_sent_as_a_chat(log):
    given = [
        {"role": "user", "content": "And now?"},
        {"type": "function_call", "call_id": "c1", "name": "clock", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Noon."},
    ]
    clock = {"type": "function", "name": "clock"}
    async with edge(log, dialect=ResponseDialect) as (upstream, ask):
        upstream.script = upstreams.GOOD
        status, body = await ask(input=given, instructions="Be brief.", tools=[clock])
    assert status == 200
    assert json.loads(body)["output"][0]["content"][0]["text"] == "Hello!"
    roles = [turn["role"] for turn in upstream.bodies[0]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert upstream.bodies[0]["messages"][3]["tool_call_id"] == "c1"


MEMBERS = [
    *("index", "delta", "content", "text", "tool_calls", "function", "name", "arguments"),
    *("logprobs", "tokens", "token_logprobs", "token", "logprob", "bytes", "top_logprobs"),
    *("finish_reason", "usage", "choices", "error", "prompt_tokens", "completion_tokens"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.sampled_from(["weather", "stop", "tool_calls", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4), st.booleans())
@settings(deadline=None)
def test_events_of_any_shape_are_read_or_named_as_garbage(values, bare):
    expected = Expected(upstreams.MODEL, 8, frozenset({"weather"}), likelihoods=True)
    reader = EventReader(expected, bare=bare)
    try:
        for value in values:
            event = {"model": upstreams.MODEL, "choices": [value]}
            for body in (event, value if isinstance(value, dict) else event):
                list(reader.feed(b"data: " + json.dumps(body).encode() + b"\n\n"))
    except UpstreamFailed as failed:
        assert failed.reason in {"garbage", "other_model", "refused"}  # noqa: PT017 - or nothing
