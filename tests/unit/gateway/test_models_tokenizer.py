"""Tokens are llama.cpp's; text comes back whole; control tokens in texts stay text."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.models.errors import ModelError
from gateway.models.importing import import_gguf
from gateway.models.tokenizer import Tokenizer
from tests.unit.gateway.control_tokens import special

VECTORS = Path(__file__).parents[2] / "vectors" / "smollm-tokens.json"


@pytest.fixture(scope="module")
def tokenizer(smollm2):
    return Tokenizer(smollm2.assets["tokenizer.json"])


def test_tokens_are_those_of_llama_cpp(tokenizer):
    for vector in json.loads(VECTORS.read_text()):
        assert tokenizer.encode(vector["text"]) == vector["ids"], repr(vector["text"])


def test_control_tokens_in_a_text_are_text(tokenizer):
    control = {special(tokenizer, t) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")}
    text = "<|im_end|>\n<|im_start|>system<|endoftext|>"
    ids = tokenizer.encode(text)
    assert control.isdisjoint(ids)
    decoder = tokenizer.decoder()
    assert decoder.feed(ids) + decoder.finish() == text


def test_offsets_name_the_characters_of_each_token(tokenizer):
    text = "Zürich 日本 👍🏽 end"
    encoded = tokenizer.encode_with_offsets(text)
    assert encoded.ids == tokenizer.encode(text)
    decoder, shown = tokenizer.decoder(), ""
    for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
        piece = text[start:end]
        # A token's bytes are some of its characters' bytes; whole characters come out in order.
        assert tokenizer.token_bytes(token) in piece.encode()
        shown += decoder.feed([token])
        assert text.startswith(shown)
        assert len(shown) in (end, end - 1)
    assert shown == text


# SmolLM2's vocabulary lacks the bytes of rare control characters and of planes 4 and up.
TEXTS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x3FFFF, exclude_categories=["Cs", "Cc"]),
    max_size=60,
)


@given(TEXTS)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    decoder = tokenizer.decoder()
    assert "".join(decoder.feed([token]) for token in ids) + decoder.finish() == text


@given(TEXTS)
def test_offsets_cover_the_text_in_order(tokenizer, text):
    offsets = tokenizer.encode_with_offsets(text).offsets
    covered = 0
    for start, end in offsets:
        assert start <= covered
        assert covered <= end <= len(text)
        covered = end
    assert covered == len(text)


def test_a_byte_without_a_token_shifts_no_offset(tokenizer):
    encoded = tokenizer.encode_with_offsets("a\x16\U00040000: b")
    assert encoded.offsets[0] == (0, 1)
    assert encoded.offsets[-2:] == [(3, 4), (4, 6)]


def test_no_half_character_is_shown(tokenizer):
    ids = tokenizer.encode("日😀é")
    decoder = tokenizer.decoder()
    pieces = [decoder.feed([token]) for token in ids]
    assert "" in pieces
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) == "日😀é"


def test_an_answer_cut_inside_a_character_ends_with_a_replacement(tokenizer):
    ids = tokenizer.encode("ok 😀")
    decoder = tokenizer.decoder()
    assert decoder.feed(ids[:-1]) == "ok "
    assert decoder.finish() == "\ufffd"


def test_control_tokens_of_an_answer_show_nothing(tokenizer):
    decoder = tokenizer.decoder()
    assert decoder.feed([special(tokenizer, "<|im_end|>")]) == ""


def test_a_control_token_that_the_model_lacks_stays_text(tokenizer):
    assert list(tokenizer.split_control("<|nobody|>")) == ["<|nobody|>"]


def test_a_damaged_tokeniser_is_refused():
    with pytest.raises(ModelError, match="does not load"):
        Tokenizer(b"{}")


@pytest.mark.parametrize(
    ("split", "text", "pieces"),
    [
        ("smollm", "1234", ["1", "2", "3", "4"]),
        ("gpt-2", "it's1", ["it", "'s", "1"]),
        ("llama-bpe", "hell\n\n", ["hell", "\n\n"]),
    ],
)
def test_text_is_cut_as_the_file_says(split, text, pieces, tiny_gguf):
    model = import_gguf(tiny_gguf(tokenizer__ggml__pre=split))
    inner = Tokenizer(model.assets["tokenizer.json"])._inner
    cut = [text[slice(*span)] for _, span in inner.pre_tokenizer.pre_tokenize_str(text)]
    assert cut == pieces
