"""A stream's chunks are what encoding each whole would give, whatever their text."""

import json
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.chat import ChatRendering
from gateway.api.sampling import StreamOptions
from gateway.api.schema import ChatRequest
from gateway.question import Ended, Piece

MODEL = SimpleNamespace(model_id='odd "content":"" name', digest="sha256:" + "ab" * 32)
QUESTION = SimpleNamespace(request_id="req_1", model=MODEL, prompt_tokens=3)
ANSWER = SimpleNamespace(question=QUESTION, served=None, created_s=7, completion_tokens=2)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=6)


def rendering(**options):
    request = ChatRequest(model="m", messages=[], stream=True, **options)
    made = ChatRendering(QUESTION, request, calls=False)
    made.begin(ANSWER)
    return made


def payloads(events):
    lines = [line for line in events.split(b"\n\n") if line]
    assert all(line.startswith(b"data: ") and b"\n" not in line for line in lines)
    return [json.loads(line[6:]) for line in lines]


@given(TEXTS, st.integers(0, 7))
def test_each_chunk_says_its_text_and_nothing_else(texts, choice):
    made = rendering()
    told = []
    for text in texts:
        events = made.piece(Piece(choice, text))
        told += payloads(events)
        assert events.endswith(made._chunk(choice, {"content": text}))
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in told]
    assert contents == (["", *texts] if texts else [])
    assert {chunk["choices"][0]["index"] for chunk in told} <= {choice}
    assert {chunk["model"] for chunk in told} <= {MODEL.model_id}
    (end,) = payloads(made.piece(Ended(choice, "stop")))[-1:]
    assert end["choices"][0]["finish_reason"] == "stop"


def test_usage_is_null_in_every_chunk_where_it_is_asked_for():
    made = rendering(stream_options=StreamOptions(include_usage=True))
    chunks = payloads(made.piece(Piece(0, "a")) + made.piece(Piece(0, "b")))
    assert [chunk["usage"] for chunk in chunks] == [None] * 3
