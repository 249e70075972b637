import struct

import numpy as np
import pytest

from gateway.models.assets import TOKENIZER
from gateway.models.bert import import_bert
from gateway.models.errors import ModelError, ModelUnreadable, ModelUnsupported
from gateway.models.fetch import fetch
from gateway.models.wordpiece import TextEncoder
from sandbox.engines.embedding import EmbeddingEngine
from tests import tiny_bert
from tests.conftest import CACHE

TEXTS = (
    "The patient was admitted with chest pain.",
    "Chest pain brought her to the hospital.",
    "Zürich, 日本語, naïve café: 100 % of [SEP] stays text.",
    "x",
    "word " * 254,
)


@pytest.fixture
def tiny(tmp_path):
    return import_bert(tiny_bert.write(tmp_path / "tiny-bert"))


@pytest.fixture(scope="module")
def minilm():
    return import_bert(fetch("minilm-l6-v2", into=CACHE))


@pytest.fixture
def load(pack_model):
    return lambda model: EmbeddingEngine.load(*pack_model(model))


@pytest.mark.parametrize("text", ["heart", "lungs a b c.", "heart " * 18, "", "what"])
def test_vector_is_what_the_formulas_say(tiny, load, text):
    ids = TextEncoder(tiny.assets[TOKENIZER]).encode(text)
    ours = load(tiny).embed(ids)
    assert np.allclose(ours, tiny_bert.vector(ids), atol=1e-5)
    assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-6)


def test_reference_model_embeds_as_its_framework_does(minilm, load):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    reference = transformers.AutoModel.from_pretrained(CACHE / "minilm-l6-v2").eval()
    theirs_tokens = transformers.AutoTokenizer.from_pretrained(CACHE / "minilm-l6-v2")
    engine, encoder = load(minilm), TextEncoder(minilm.assets[TOKENIZER])
    for text in TEXTS:
        ids = encoder.encode(text)
        if "[SEP]" not in text:
            assert ids == theirs_tokens(text)["input_ids"]
        with torch.no_grad():
            hidden = reference(input_ids=torch.tensor([ids])).last_hidden_state
        theirs = torch.nn.functional.normalize(hidden.mean(1)).numpy()[0]
        ours = engine.embed(ids)
        assert float(ours @ theirs) > 0.99999
        assert np.abs(ours - theirs).max() < 1e-5


def test_like_texts_lie_closer_than_unlike(minilm, load):
    engine, encoder = load(minilm), TextEncoder(minilm.assets[TOKENIZER])
    pain, hers, other = (
        engine.embed(encoder.encode(text)) for text in (*TEXTS[:2], "The train leaves at noon.")
    )
    assert pain @ hers > 0.6
    assert pain @ other < 0.3


def test_settings_say_what_the_model_is(tiny):
    assert tiny.model_id == "tiny-bert"
    assert tiny.config["licence"] == "mit"
    assert tiny.config["context_length"] == 20
    assert tiny.config["dimensions"] == tiny_bert.SIZES["hidden"]


def test_control_token_in_a_text_is_text(tiny):
    encoder = TextEncoder(tiny.assets[TOKENIZER])
    assert encoder.encode("a [SEP] b").count(tiny_bert.WORDS.index("[SEP]")) == 1
    assert encoder.framed([tiny_bert.WORDS.index("[SEP]")]) is None
    assert encoder.framed([len(tiny_bert.WORDS)]) is None
    assert encoder.framed([8, 9]) == encoder.encode("a b")


def test_half_precision_is_widened(tmp_path, load):
    model = import_bert(tiny_bert.write(tmp_path / "half", kind="<f2"))
    assert np.allclose(load(model).embed([2, 5, 3]), tiny_bert.vector([2, 5, 3]), atol=0.02)


@pytest.mark.parametrize("tokens", [[], [2] * 21, [-1], [12]])
def test_engine_refuses_tokens_that_cannot_be(tiny, load, tokens):
    with pytest.raises(ValueError, match="token"):
        load(tiny).embed(tokens)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model_type": "xlm-roberta"}, ModelUnsupported),
        ({"hidden_act": "relu"}, ModelUnsupported),
        ({"position_embedding_type": "relative_key"}, ModelUnsupported),
        ({"hidden_size": 32}, ModelError),
        ({"num_attention_heads": 5}, ModelError),
        ({"num_hidden_layers": 3}, ModelError),
        ({"hidden_size": "many"}, ModelError),
        ({"vocab_size": 5}, ModelError),
    ],
)
def test_model_of_another_kind_is_refused(tmp_path, changes, error):
    with pytest.raises(error):
        import_bert(tiny_bert.write(tmp_path / "m", **changes))


def test_other_pooling_is_refused(tmp_path):
    directory = tiny_bert.write(tmp_path / "m")
    (directory / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(ModelUnsupported, match="pooling"):
        import_bert(directory)


def test_missing_file_and_missing_tensor_are_named(tmp_path):
    with pytest.raises(ModelUnreadable, match=r"config\.json"):
        import_bert(tmp_path)
    lost = "embeddings.LayerNorm.bias"
    with pytest.raises(ModelError, match=lost):
        import_bert(tiny_bert.write(tmp_path / "m", drop=[lost]))


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 4000, -1])
def test_file_that_was_cut_short_is_refused(tmp_path, kept):
    directory = tiny_bert.write(tmp_path / "m")
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match="cut short"):
        import_bert(directory)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}',
        b"{" * 100_000,
    ],
)
def test_header_that_lies_is_refused(tmp_path, header):
    directory = tiny_bert.write(tmp_path / "m")
    lie = struct.pack("<Q", len(header)) + header + bytes(8)
    (directory / "model.safetensors").write_bytes(lie)
    with pytest.raises(ModelError):
        import_bert(directory)
