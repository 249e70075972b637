"""`sealgate models compress` at a real home: a small model sealed, what it was made of told."""

import importlib.util
import json

import pytest

from tests import tiny_shapes

TEXT = "The nurse wrote every dose down twice, and read both entries aloud at noon. " * 120


@pytest.fixture
def asked(tmp_path):
    text = tmp_path / "text"
    text.write_text(TEXT)
    model = tiny_shapes.write(tmp_path / "tiny.gguf", "llama")
    shape = ["--groups", 1, "--channels", 32]
    return [model, "--id", "small", "--text", text, *shape, "--steps", 3, "--length", 32]


def test_a_small_model_is_sealed_and_says_what_it_was_made_of(sealgate, asked, home):
    pytest.importorskip("torch")
    code, out, err = sealgate("models", "compress", *asked, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert [row["stage"] for row in told["stages"]] == [
        "full", "pruned", "distilled", "rounded", "compensated",
    ]  # fmt: skip
    assert all(row["tokens_per_s"] > 0 for row in told["stages"])
    code, out, _ = sealgate("models", "inspect", "small", "--json")
    config = json.loads(out)["config"]
    assert config["compressed"]["groups"] == config["kv_heads"] == 1
    assert config["compressed"]["steps"] == 3
    assert sealgate("models", "verify", "small")[0] == 0
    _, out, _ = sealgate("audit", "search", "--operation", "model.sealed", "--json")
    (entry,) = json.loads(out)["data"]
    assert entry["event"]["sealgate"]["detail"]["model_id"] == "small"
    # A run that is over leaves nothing to go on from, and no weight in the open.
    assert list((home / "compress").iterdir()) == []


def test_what_cannot_be_made_is_said_and_nothing_is_sealed(sealgate, asked, tmp_path):
    pytest.importorskip("torch")
    asked[asked.index("--channels") + 1] = 33
    code, _, err = sealgate("models", "compress", *asked)
    assert (code, "multiple of 32" in err) == (2, True)
    asked[asked.index("--channels") + 1] = 32
    code, _, err = sealgate("models", "compress", *asked, "--device", "abacus")
    assert (code, "cannot compute on 'abacus'" in err) == (2, True)
    (tmp_path / "rubbish").write_bytes(b"rubbish")
    code, _, err = sealgate("models", "compress", tmp_path / "rubbish", *asked[1:])
    assert (code, "not a GGUF file" in err) == (1, True)
    assert json.loads(sealgate("models", "list", "--json")[1]) == []


def test_without_the_extra_it_says_what_to_install(sealgate, asked, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a)
    )
    code, _, err = sealgate("models", "compress", *asked)
    assert (code, "sealgate[train]" in err) == (3, True)
