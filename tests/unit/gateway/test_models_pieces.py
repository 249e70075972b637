"""SentencePiece vocabularies: llama.cpp's tokens, but never a control token out of a text."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.models import vocabulary
from gateway.models.chat import ChatTemplate
from gateway.models.errors import ModelError, ModelUnsupported
from gateway.models.tokenizer import Tokenizer
from tests.pieces_vocabulary import metadata, write

VECTORS = Path(__file__).parents[2] / "vectors" / "piece-tokens.json"
SIZE = len(metadata()["tokenizer.ggml.tokens"])
CONTROL = range(3)
INST = metadata()["tokenizer.ggml.tokens"].index("[INST]")


def made(*, prefixed=True, **changes):
    told = metadata(prefixed=prefixed) | {f"tokenizer.ggml.{k}": v for k, v in changes.items()}
    return Tokenizer(vocabulary.read(told, size=SIZE).tokenizer_json)


@pytest.fixture(scope="module", params=[True, False], ids=["prefixed", "bare"])
def tokenizer(request):
    return made(prefixed=request.param)


@pytest.fixture(scope="module")
def vectors():
    return json.loads(VECTORS.read_text())


def spelt(vector):
    """llama.cpp lets a text's pieces join into control tokens and bytes' names; we do not."""
    return any(trap in vector["text"] for trap in ("</s>", "<s>", "<0x41>"))


def test_tokens_are_those_of_llama_cpp(vectors):
    tokenizers = {prefixed: made(prefixed=prefixed) for prefixed in (True, False)}
    honest = [vector for vector in vectors if not spelt(vector)]
    assert len(honest) > 150
    for vector in honest:
        ids = tokenizers[vector["prefixed"]].encode(vector["text"])
        assert ids == vector["ids"], repr(vector["text"])


def test_tokens_are_those_of_transformers(vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    write(tmp_path / "pieces.gguf")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="pieces.gguf")
    ours = made()
    # Before a space of the text's own it adds none; llama.cpp, whose files these are, does.
    same = [v["text"] for v in vectors if v["prefixed"] and not spelt(v) and v["text"][:1] != " "]
    honest = [text for text in same if "[" not in text]
    assert len(honest) > 30
    for text in honest:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), repr(text)


@pytest.mark.parametrize("text", ["</s>", "<s>", "a </s><s>", "<0x41>", "<unk>", "[PAD0]"])
def test_no_text_is_joined_into_a_control_token_or_a_byte(tokenizer, text):
    ids = tokenizer.encode(text)
    content = b"".join(map(tokenizer.token_bytes, ids)).decode()
    assert content.removeprefix(" ") == text
    assert set(CONTROL).isdisjoint(ids)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXTS)
def test_any_text_comes_back(tokenizer, text):
    # A text that holds the sign for spaces itself comes back with spaces, in llama.cpp too.
    text = text.replace("\u2581", "_")
    decoder = tokenizer.decoder()
    shown = decoder.feed(tokenizer.encode(text)) + decoder.finish()
    assert shown == (" " if text and tokenizer.encode("a") != made(prefixed=False).encode("a")
                     else "") + text  # fmt: skip


@given(TEXTS.map(lambda text: text.replace("\u2581", "_")))
def test_offsets_cover_the_text_in_order(tokenizer, text):
    encoded = tokenizer.encode_with_offsets(text)
    assert encoded.ids == tokenizer.encode(text)
    covered, end = "", 0
    for begin, until in encoded.offsets:
        assert begin in {end, end - 1}
        covered += text[max(begin, end) : until]
        end = max(end, until)
    assert covered == text


def test_offsets_do_not_drift_behind_a_token_that_is_found_whole():
    tokenizer = made()
    text = "hello[INST]hello"
    encoded = tokenizer.encode_with_offsets(text)
    places = [text[begin:end] for begin, end in encoded.offsets]
    assert places == ["hello", "[INST]", "hello"]
    assert encoded.ids[1] == INST


def test_a_message_cannot_speak_with_the_templates_voice():
    source = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }}{% endfor %}</s>"
    ids = ChatTemplate(source, made()).encode_chat([{"role": "user", "content": "a</s><s>b"}])
    assert (ids[0], ids[-1]) == (1, 2)
    assert set(CONTROL).isdisjoint(ids[1:-1])


def test_a_character_cut_in_bytes_is_held_back(tokenizer):
    ids = tokenizer.encode("😀")
    decoder = tokenizer.decoder()
    shown = [decoder.feed([token]) for token in ids]
    assert "".join(shown).strip() == "😀"
    assert "\ufffd" not in "".join(shown)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precompiled_charsmap": [1, 2]}, "precompiled_charsmap"),
        ({"remove_extra_whitespaces": True}, "remove_extra_whitespaces"),
        ({"token_type": [1] * SIZE}, "a token for each byte"),
    ],
)
def test_what_rewrites_text_or_lacks_bytes_is_refused_by_name(changes, message):
    with pytest.raises(ModelUnsupported, match=message):
        made(**changes)


@pytest.mark.parametrize("scores", [None, [1.0], "x", 3.5])
def test_scores_that_do_not_match_are_damage(scores):
    with pytest.raises(ModelError, match="scores"):
        made(scores=scores)
