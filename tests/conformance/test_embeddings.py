"""Embeddings as OpenAI's client asks for them, over a gateway that runs a sealed MiniLM."""

import base64
import json
import signal
import socket
import urllib.request
from urllib.error import HTTPError

import numpy as np
import openai
import pytest

from gateway.models.assets import TOKENIZER
from gateway.models.bert import import_bert
from gateway.models.fetch import fetch
from gateway.models.wordpiece import TextEncoder
from sandbox.engines.embedding import EmbeddingEngine
from tests.conftest import CACHE, packed
from tests.e2e.deployment import Gateway, add_keys, eventually, sealgate, serve

NAME = "minilm-l6-v2"
TEXTS = ["The patient was admitted with chest pain.", "Ein Zug fährt ab.", "x"]


@pytest.fixture(scope="module")
def minilm():
    return import_bert(fetch(NAME, into=CACHE))


@pytest.fixture(scope="module")
def embedding_gateway(tmp_path_factory, tiny_gguf):
    home = tmp_path_factory.mktemp("embedding") / "home"
    sealgate("init", "--key-file", str(home.parent / "key"), home=home)
    sealgate("models", "import", str(fetch(NAME, into=CACHE)), "--id", NAME, home=home)
    sealgate("models", "import", str(tiny_gguf()), "--id", "tiny", home=home)
    keys = add_keys(home)
    with serve(home, acknowledgement_s=30, workers=1) as (process, url):
        yield Gateway(home, url, process.pid, keys)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 0


@pytest.fixture(scope="module")
def client(embedding_gateway):
    with embedding_gateway.client() as client:
        yield client


@pytest.fixture(scope="module")
def reference(minilm):
    """The same model's vectors, outside of any sandbox."""
    engine = EmbeddingEngine.load(*packed(minilm))
    encoder = TextEncoder(minilm.assets[TOKENIZER])
    return lambda text: engine.embed(encoder.encode(text))


def raw(gateway, body):
    """Send a body; return status, headers and the decoded answer."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{gateway.url}/v1/embeddings",
        data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {gateway.keys['client']}",
            "content-type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            return answer.status, answer.headers, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def test_client_gets_a_vector_for_each_text_in_order(client, reference):
    answer = client.embeddings.create(model=NAME, input=TEXTS)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.model == NAME
    assert answer.object == "list"
    for text, each in zip(TEXTS, answer.data, strict=True):
        assert each.object == "embedding"
        assert len(each.embedding) == 384
        assert float(np.array(each.embedding) @ reference(text)) > 0.99999
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)


def test_one_text_and_its_tokens_have_the_same_vector(client, minilm):
    encoder = TextEncoder(minilm.assets[TOKENIZER])
    text = TEXTS[0]
    bare = encoder.encode(text)[1:-1]
    for given in (text, [text], bare, [bare]):
        answer = client.embeddings.create(model=NAME, input=given)
        assert len(answer.data) == 1
        assert np.allclose(
            answer.data[0].embedding,
            client.embeddings.create(model=NAME, input=text).data[0].embedding,
            atol=1e-6,
        )


def test_floats_and_base64_are_the_same_numbers(embedding_gateway):
    body = {"model": NAME, "input": TEXTS}
    _, _, plain = raw(embedding_gateway, body)
    _, _, packed_form = raw(embedding_gateway, body | {"encoding_format": "base64"})
    for one, other in zip(plain["data"], packed_form["data"], strict=True):
        numbers = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        assert np.array_equal(np.array(one["embedding"], np.float32), numbers)


def test_neighbours_in_a_request_change_nothing(client):
    alone = client.embeddings.create(model=NAME, input=TEXTS[0]).data[0].embedding
    among = client.embeddings.create(model=NAME, input=[*["word " * 200] * 3, TEXTS[0]])
    assert among.data[-1].embedding == alone


def test_many_texts_go_into_one_request(client):
    answer = client.embeddings.create(model=NAME, input=["a", "b"] * 200)
    assert len(answer.data) == 400
    assert answer.data[398].embedding == answer.data[0].embedding


def test_request_is_recorded_before_and_after_without_its_text(embedding_gateway):
    secret = "Zaphod Quillfeather has gout."
    _, headers, _ = raw(embedding_gateway, {"model": NAME, "input": secret})
    intent, outcome = embedding_gateway.events(headers["x-request-id"])
    assert intent["api"]["operation"] == outcome["api"]["operation"] == "embeddings.create"
    assert intent["sealgate"]["phase"] == "intent"
    assert intent["sealgate"]["model"]["id"] == NAME
    assert intent["sealgate"]["prompt_tokens"] == outcome["sealgate"]["prompt_tokens"] > 5
    assert outcome["sealgate"]["ending"] == "completed"
    (choice,) = outcome["sealgate"]["choices"]
    assert choice["mark"] == "unmarked"
    assert choice["tokens"] == 0
    assert choice["sandbox"]["end"]["how"] == "exit"
    assert choice["sandbox"]["seccomp"].startswith("sha256:")
    assert "Quillfeather" not in json.dumps([intent, outcome])


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"input": ""}, "input", None),
        ({"input": []}, "input", None),
        ({"input": ["a", ""]}, "input", None),
        ({"input": [[]]}, "input", None),
        ({"input": ["a", 5]}, "input", None),
        ({"input": [40_000]}, "input", None),
        ({"input": [101]}, "input", None),
        ({"input": [-1]}, "input", None),
        ({"input": [1.5]}, "input", None),
        ({"input": None}, "input", None),
        ({"input": {"a": 1}}, "input", None),
        ({"input": ["a"] * 2049}, "input", None),
        ({"input": ["word " * 250] * 600}, "input", "context_length_exceeded"),
        ({"input": "word " * 300}, "input", "context_length_exceeded"),
        ({"dimensions": 256}, "dimensions", "unsupported_parameter"),
        ({"dimensions": 0}, "dimensions", None),
        ({"encoding_format": "hex"}, "encoding_format", None),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(embedding_gateway, given, param, code):
    status, headers, answer = raw(embedding_gateway, {"model": NAME, "input": "a"} | given)
    assert status == 400
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)
    (entry,) = embedding_gateway.events(headers["x-request-id"])
    assert entry["sealgate"]["phase"] == "denied"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"[" * 100_000, b'{"input": "a"}'])
def test_rubbish_is_refused(embedding_gateway, body):
    status, _, answer = raw(embedding_gateway, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_models_keep_to_their_kind(client):
    with pytest.raises(openai.NotFoundError, match="makes no embeddings"):
        client.embeddings.create(model="tiny", input="a")
    with pytest.raises(openai.NotFoundError, match="POST /v1/embeddings"):
        client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="none", input="a")
    assert {each.id for each in client.models.list()} == {NAME, "tiny"}
    assert client.models.retrieve(NAME).id == NAME


def test_own_dimensions_may_be_named(client):
    answer = client.embeddings.create(model=NAME, input="a", dimensions=384)
    assert len(answer.data[0].embedding) == 384


def test_scope_keeps_a_credential_from_embeddings(embedding_gateway):
    made = sealgate(
        *("clients", "add", "--name", "narrow", "--tenant", "clinic", "--role", "client"),
        *("--scope", "chat", "--json"),
        home=embedding_gateway.home,
    )
    narrow = Gateway(
        embedding_gateway.home,
        embedding_gateway.url,
        embedding_gateway.pid,
        {"client": json.loads(made.stdout)["key"]},
    )
    status, _, answer = raw(narrow, {"model": NAME, "input": "a"})
    assert (status, answer["error"]["code"]) == (403, "insufficient_scope")


def test_client_that_leaves_takes_its_sandbox_with_it(embedding_gateway):
    body = json.dumps({"model": NAME, "input": ["word " * 250] * 500}).encode()
    host, port = embedding_gateway.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        f"authorization: Bearer {embedding_gateway.keys['client']}\r\n\r\n"
    )
    before = len(embedding_gateway.events())

    def phases():
        return [each["sealgate"] for each in embedding_gateway.events()[before:]]

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        assert eventually(lambda: any(each["phase"] == "intent" for each in phases()))
    assert eventually(lambda: any(each.get("ending") == "client_gone" for each in phases()))
    status, _, _ = raw(embedding_gateway, {"model": NAME, "input": "a"})
    assert status == 200
