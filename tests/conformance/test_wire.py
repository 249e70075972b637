"""What no client library shows: the bytes of answers, streams and refusals, read from a socket."""

import json
import re
import time

import pytest

from tests.e2e.deployment import MODEL, Gateway, serve
from tests.e2e.test_rubbish import exchange

ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 12,
    "temperature": 0,
}
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|localhost|::1|:\d{4,5}\b")
ROUTES = (
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "models",
    f"models/{MODEL}",
    "provenance/verify",
    "receipts/req_1",
)
PATHS = [f"/v1/{route}" for route in ROUTES] + [
    "/v1",
    "/v1/",
    "/v1/models/",
    "/v1/chat/completions/",
    "/v1/provenance/verify/",
    "/v1/models/a/b",
    "/v1/models/%00",
    "/v1/models/%ff",
    "/v1/receipts/%2e%2e",
    "/v1/nothing?limit=x&after=y",
]


@pytest.fixture(scope="module")
def patient(idle_home):
    """A gateway that goes on listening to who guesses keys."""
    home, keys = idle_home
    with serve(home, acknowledgement_s=20, wrong_keys_per_minute=1_000_000) as (process, url):
        yield Gateway(home, url, process.pid, keys)


def send(gateway, method, path, *, key="client", body=b"", more=""):
    head = f"{method} {path} HTTP/1.1\r\nhost: gateway.example\r\nconnection: close\r\n{more}"
    if key:
        head += f"authorization: Bearer {gateway.keys.get(key, key)}\r\n"
    if body or method in {"POST", "PUT", "PATCH"}:
        head += f"content-length: {len(body)}\r\n"
    return exchange(gateway.url, head.encode() + b"\r\n" + body)


def events(gateway, route, ask):
    """Return the data of each event of a stream, decoded, and whether `[DONE]` ended it."""
    status, headers, body = send(gateway, "POST", f"/v1/{route}", body=json.dumps(ask).encode())
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    text = unchunked(body).decode()
    assert text.endswith("\n\n")
    told = [
        line.removeprefix("data: ")
        for event in text.removesuffix("\n\n").split("\n\n")
        for line in event.split("\n")
        if line.startswith("data: ")
    ]
    done = told[-1] == "[DONE]"
    return [json.loads(each) for each in (told[:-1] if done else told)], done


def answered(gateway, ask):
    """Return the decoded whole answer to a chat request."""
    return json.loads(
        send(gateway, "POST", "/v1/chat/completions", body=json.dumps(ask).encode())[2]
    )


def unchunked(body):
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        found += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return found


@pytest.mark.parametrize("key", ["client", "officer", "sg-wrong", None])
def test_every_answer_below_v1_has_an_id_an_envelope_and_no_address(patient, key):
    seen = set()
    for path in PATHS:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            for body in (b"", b"{}", b'{"text": 5}') if method == "POST" else (b"",):
                status, headers, answer = send(patient, method, path, key=key, body=body)
                where = (method, path, status, answer[:200])
                assert headers["x-request-id"].startswith("req_"), where
                assert headers["x-request-id"] not in seen
                seen.add(headers["x-request-id"])
                assert not any(ADDRESS.search(value) for value in headers.values()), where
                assert not 300 <= status < 400, where
                assert status < 500, where
                if status >= 400 and method != "HEAD":
                    assert set(json.loads(answer)) == {"error"}, where
                    error = json.loads(answer)["error"]
                    assert set(error) == {"message", "type", "param", "code"}, where
                    assert error["code"] is None or isinstance(error["code"], str), where


def test_refusal_before_a_request_begins_has_an_id_too(gateway):
    _, headers, _ = exchange(gateway.url, b"nonsense\r\n\r\n")
    assert headers["x-request-id"].startswith("req_")
    assert gateway.events(headers["x-request-id"]) == []


def test_stream_is_what_clients_take_apart(gateway):
    ask = ASK | {"stream": True, "stream_options": {"include_usage": True}}
    chunks, done = events(gateway, "chat/completions", ask)
    assert done
    first, *texts, finish, usage = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert texts
    for chunk in (first, *texts):
        (choice,) = chunk["choices"]
        # Both said and null: a field that is absent ends some clients' streams.
        assert (choice["index"], choice["finish_reason"]) == (0, None)
        assert "finish_reason" in choice
        assert chunk["usage"] is None
    assert all(set(chunk["choices"][0]["delta"]) == {"content"} for chunk in texts)
    assert finish["choices"][0]["delta"] == {}
    assert finish["choices"][0]["finish_reason"] in {"stop", "length"}
    assert usage["choices"] == []
    spent = usage["usage"]
    assert spent["total_tokens"] == spent["prompt_tokens"] + spent["completion_tokens"]
    for constant in ("id", "object", "created", "model"):
        assert len({chunk[constant] for chunk in chunks}) == 1
    assert first["object"] == "chat.completion.chunk"


def test_stream_without_options_says_nothing_of_usage(gateway):
    chunks, done = events(gateway, "chat/completions", ASK | {"stream": True})
    assert done
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_streamed_choices_are_told_apart_by_their_index(gateway):
    ask = ASK | {"stream": True, "n": 3, "temperature": 1, "seed": 3}
    chunks, done = events(gateway, "chat/completions", ask)
    assert done
    streamed = {0: [], 1: [], 2: []}
    for chunk in chunks:
        (choice,) = chunk["choices"]
        streamed[choice["index"]].append(choice)
    whole = answered(gateway, ask | {"stream": False})
    for index, told in streamed.items():
        assert told[0]["delta"]["role"] == "assistant"
        assert all("role" not in choice["delta"] for choice in told[1:])
        reasons = [choice["finish_reason"] for choice in told]
        assert set(reasons[:-1]) == {None}
        text = "".join(choice["delta"].get("content", "") for choice in told)
        assert text == whole["choices"][index]["message"]["content"]
        assert reasons[-1] == whole["choices"][index]["finish_reason"]


def test_whole_answer_says_null_where_nothing_is(gateway):
    (choice,) = answered(gateway, ASK)["choices"]
    assert choice["logprobs"] is None
    assert choice["message"]["refusal"] is None
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize("streamed", [False, True])
def test_any_of_four_stop_strings_cuts_wherever_tokens_end(gateway, streamed):
    """Each beginning and end within the answer, so that some lie across its tokens."""
    ask = ASK | {"max_tokens": 10}
    text = answered(gateway, ask)["choices"][0]["message"]["content"]
    for begin in range(1, min(len(text) - 4, 12)):
        stop = text[begin : begin + 4]
        stopped = ask | {"stop": ["\x01", "never said", stop, "\u2603"]}
        if streamed:
            chunks, _ = events(gateway, "chat/completions", stopped | {"stream": True})
            choices = [chunk["choices"][0] for chunk in chunks]
            told = "".join(choice["delta"].get("content", "") for choice in choices)
            reason = choices[-1]["finish_reason"]
        else:
            (choice,) = answered(gateway, stopped)["choices"]
            told, reason = choice["message"]["content"], choice["finish_reason"]
        assert (told, reason) == (text[: text.index(stop)], "stop")


def test_text_that_waited_for_a_stop_string_comes_when_the_answer_ends(gateway):
    text = answered(gateway, ASK)["choices"][0]["message"]["content"]
    # Its last characters begin this string, and nothing completes it.
    ask = ASK | {"stop": text[-3:] + "\x01", "stream": True}
    chunks, _ = events(gateway, "chat/completions", ask)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text


def test_completions_stream_is_done_and_responses_are_named(gateway):
    ask = {"model": MODEL, "prompt": "One, two,", "max_tokens": 3, "temperature": 0}
    chunks, done = events(gateway, "completions", ask | {"stream": True})
    assert done
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    told, done = events(
        gateway, "responses", {"model": MODEL, "input": "Hi.", "stream": True, "temperature": 0}
    )
    assert not done
    assert told[0]["type"] == "response.created"


def test_model_says_when_it_was_made(gateway):
    (model,) = json.loads(send(gateway, "GET", "/v1/models")[2])["data"]
    assert set(model) == {"id", "object", "created", "owned_by"}
    assert model["object"] == "model"
    sealed = (gateway.home / "models").stat().st_mtime
    assert abs(model["created"] - sealed) < 120
    assert model["created"] <= time.time()


def test_control_tokens_of_any_role_are_text(gateway):
    """As many tokens as their letters make, and never the one that they would be."""
    control = "<|im_end|><|im_start|><|endoftext|>"
    for role in ("system", "developer", "user", "assistant", "tool"):
        turns = [{"role": role, "content": control}, {"role": "user", "content": "Hi."}]
        if role == "tool":
            turns[0]["tool_call_id"] = "c"
        ask = ASK | {"messages": turns, "max_tokens": 1}
        spent = answered(gateway, ask)["usage"]["prompt_tokens"]
        turns[0]["content"] = "x"
        plain = answered(gateway, ask)["usage"]["prompt_tokens"]
        assert spent > plain + 10
