"""Adapters of language models: sound gradients in, the same model out."""

import gguf
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("peft", reason="the extra [train] is not installed")

from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from privacy.training import lora, merging
from privacy.training.errors import ConfigInvalid
from privacy.training.gradients import ClippedSums
from privacy.training.validation import require_model
from tests import tiny_shapes

pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
    # What transformers says about its own future.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
RECORDS, LENGTH = 4, 12


def llama(*, tied=True):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=90,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    model.config.use_cache = False
    return model.train()


def adapted():
    model = lora.adapted(llama(), lora.Adapter(rank=3, alpha=6))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    return model


def batch():
    """Records of different lengths."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 90, (RECORDS, LENGTH), generator=generator)
    mask = torch.arange(LENGTH)[None] < torch.tensor([12, 3, 7, 5])[:, None]
    return {
        "input_ids": ids * mask,
        "attention_mask": mask.long(),
        "labels": torch.where(mask, ids, lora.IGNORED),
    }


def one(records, index):
    return {name: tensor[index : index + 1] for name, tensor in records.items()}


@pytest.mark.parametrize(
    "make", [adapted, llama, lambda: llama(tied=False)], ids=["LoRA", "tied", "untied"]
)
def test_clipped_sum_of_a_language_model_is_that_of_a_loop(make):
    model, records, clip = make(), batch(), 0.05
    require_model(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for i in range(RECORDS):
        gradients = torch.autograd.grad(lora.mean_loss(model, one(records, i)), parameters)
        gradient = torch.cat([g.flatten() for g in gradients]).double()
        expected += gradient * min(1.0, clip / float(gradient.norm()))
    sums = ClippedSums(model, clip=clip)
    lora.mean_loss(model, records).backward()
    sums.take(RECORDS)
    found = sums.release()
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_only_the_adapter_is_trained():
    names = [n for n, p in adapted().named_parameters() if p.requires_grad]
    assert len(names) == 2 * 2 * 4
    assert all("lora_" in name for name in names)


def test_the_loss_of_a_batch_is_the_mean_of_its_records_losses():
    model, records = adapted(), batch()
    with torch.no_grad():
        each = [float(lora.mean_loss(model, one(records, i))) for i in range(RECORDS)]
        assert float(lora.mean_loss(model, records)) == pytest.approx(sum(each) / RECORDS, rel=1e-5)


class Letters:
    """A tokenizer of letters."""

    def __call__(self, text):
        self.input_ids = [ord(letter) % 90 for letter in text]
        return self


def test_texts_are_cut_and_padded_to_one_length():
    texts = lora.Texts(["abc", "a longer text"], Letters(), length=5)
    assert len(texts) == 2
    short, cut = texts[0], texts[1]
    assert short["attention_mask"].tolist() == [1, 1, 1, 0, 0]
    assert short["labels"].tolist()[3:] == [lora.IGNORED] * 2
    assert cut["input_ids"].shape == (5,)
    assert cut["attention_mask"].sum() == 5


def adapter_of(model):
    return {n: p.detach().numpy() for n, p in model.named_parameters() if p.requires_grad}


def test_a_merged_file_holds_what_model_and_adapter_compute(tiny_gguf, tmp_path):
    base = tiny_gguf()

    def loaded(path):
        return AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )

    adapter = lora.Adapter(rank=3, alpha=6)
    model = lora.adapted(loaded(base), adapter)
    torch.manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    out = tmp_path / "merged.gguf"
    merging.merge(base, adapter_of(model), scale=2.0, out=out, name="merged")
    ids = torch.tensor([[3, 14, 15, 9, 26]])
    with torch.no_grad():
        expected = model(ids).logits
        merged = loaded(out)(ids).logits
        with model.disable_adapter():
            plain = model(ids).logits
    error = float((merged - expected).abs().max())
    assert error < 0.05 * float((plain - expected).abs().max())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("layers.99.self_attn.q_proj.lora_{}.default.weight", "no blk.99.attn_q.weight"),
        ("layers.0.self_attn.rotary.lora_{}.default.weight", "can be merged"),
        ("head.weight.{}", "can be merged"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tiny_gguf, tmp_path, name, reason):
    adapter = {
        name.format("A"): np.zeros((2, 64), np.float32),
        name.format("B"): np.zeros((64, 2), np.float32),
    }
    with pytest.raises(ConfigInvalid, match=reason):
        merging.merge(tiny_gguf(), adapter, scale=1.0, out=tmp_path / "out", name="x")


def test_an_empty_adapter_is_refused(tiny_gguf, tmp_path):
    with pytest.raises(ConfigInvalid, match="no adapted weight"):
        merging.merge(tiny_gguf(), {}, scale=1.0, out=tmp_path / "out", name="x")


@pytest.mark.parametrize(("shape", "reordered"), [("qwen2", False), ("llama", True)])
def test_rows_are_reordered_where_gguf_reorders_them_and_nowhere_else(shape, reordered, tmp_path):
    base, out = tiny_shapes.write(tmp_path / "base.gguf", shape), tmp_path / "merged.gguf"
    random = np.random.default_rng(3)
    factors = {"A": random.normal(size=(2, 64)), "B": random.normal(size=(64, 2))}
    part = "layers.0.self_attn.q_proj.lora_{}.default.weight"
    adapter = {part.format(name): factor for name, factor in factors.items()}
    merging.merge(base, adapter, scale=0.5, out=out, name="merged")
    before, after = (
        {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(p).tensors}
        for p in (base, out)
    )
    added = after["blk.0.attn_q.weight"] - before["blk.0.attn_q.weight"]
    expected = 0.5 * factors["B"] @ factors["A"]
    if reordered:
        # Four heads of sixteen rows: the halves of each alternate.
        expected = expected.reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64)
    assert np.abs(added - expected).max() < 0.1 * np.abs(expected).max()
    assert all(np.array_equal(after[n], before[n]) for n in before if n != "blk.0.attn_q.weight")
