"""The policy labels answers that nobody asked a label for, whole and streamed, on every route."""

import json

import pytest

from gateway.labelling import VISIBLE
from tests.e2e.deployment import MODEL, Gateway, serve

POLICY = """
version = 1

[[rule]]
name = "chinese"
purposes = ["research"]
label = "zh"
manifest = true

[[rule]]
name = "bare"
purposes = ["operations"]

[[rule]]
name = "english"
label = true
"""
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Name a fruit."}], "max_tokens": 12}


@pytest.fixture(scope="module")
def labelling(idle_home, tmp_path_factory):
    home, keys = idle_home
    policy = tmp_path_factory.mktemp("labels") / "policy.toml"
    policy.write_text(POLICY)
    with serve(home, acknowledgement_s=30, workers=1, policy_file=policy) as (process, url):
        yield Gateway(home, url, process.pid, keys)


def client(labelling, purpose):
    return labelling.client(default_headers={"x-sealgate-purpose": purpose})


def asked(labelling, purpose, **options):
    """Return the answer's headers and its text, the same whether whole or streamed."""
    with client(labelling, purpose) as openai:
        raw = openai.chat.completions.with_raw_response.create(**ASK, **options)
        if not options.get("stream"):
            return raw.headers, raw.parse().choices[0].message.content
        return raw.headers, "".join(
            chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices
        )


def label(labelling, headers):
    events = labelling.events(headers["x-request-id"])
    return next(e["sealgate"]["label"] for e in events if e["sealgate"]["phase"] == "outcome")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_policy_puts_words_behind_an_answer_and_says_so_in_the_log(labelling, stream):
    headers, text = asked(labelling, "treatment", stream=stream)
    assert headers["x-sealgate-label"] == "machine-generated"
    assert text.endswith(VISIBLE["en"])
    assert text.count(VISIBLE["en"]) == 1
    assert label(labelling, headers) == {"explicit": True, "implicit": False}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_policy_puts_a_manifest_behind_words_in_chinese(labelling, stream):
    reference = pytest.importorskip("c2pa_text")
    headers, text = asked(labelling, "research", stream=stream)
    assert reference.validate_text(text).valid
    assert reference.extract_manifest(text)[1].endswith(VISIBLE["zh"])
    assert label(labelling, headers) == {"explicit": True, "implicit": True}


def test_client_chooses_the_language_and_adds_but_takes_nothing_away(labelling):
    _, text = asked(labelling, "treatment", extra_body={"label": "zh"})
    assert text.endswith(VISIBLE["zh"])
    headers, text = asked(labelling, "operations")
    assert "x-sealgate-label" not in headers
    assert label(labelling, headers) == {"explicit": False, "implicit": False}
    headers, text = asked(labelling, "operations", extra_body={"label": "en"})
    assert text.endswith(VISIBLE["en"])


def test_json_stays_json_and_the_header_says_it(labelling):
    headers, text = asked(labelling, "treatment", response_format={"type": "json_object"}, stop="}")
    assert headers["x-sealgate-label"] == "machine-generated"
    assert VISIBLE["en"] not in text
    assert label(labelling, headers) == {"explicit": False, "implicit": False}


def test_other_routes_label_as_chats_do(labelling):
    with client(labelling, "treatment") as openai:
        completed = openai.completions.create(model=MODEL, prompt="A fruit is", max_tokens=8)
        answered = openai.responses.create(model=MODEL, input="A fruit.", max_output_tokens=16)
    assert completed.choices[0].text.endswith(VISIBLE["en"])
    assert answered.output_text.endswith(VISIBLE["en"])
    assert json.loads(answered.model_dump_json())["output"]
