"""Language models for private fine-tuning: read from GGUF, adapted by LoRA, with a sound loss.

Needs transformers and peft beside torch. Writes no weights to disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

# Tokens with this label take no part in the loss.
IGNORED = -100
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter's shape. alpha over rank is what the product of its factors is scaled by."""

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ATTENTION


def language_model(file: Path) -> tuple[nn.Module, Any]:
    """Read a GGUF file; return the model in float32 and its tokenizer."""
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.config.use_cache = False
    return model, AutoTokenizer.from_pretrained(**where)


def adapted(model: nn.Module, adapter: Adapter) -> nn.Module:
    """Return the model with its own weights frozen and a trainable adapter beside them."""
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=0.0,
        target_modules=list(adapter.targets),
        task_type="CAUSAL_LM",
    )
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped.train()


class Texts:
    """A dataset of texts as token ids of one length, padded where they are shorter."""

    def __init__(self, texts: Sequence[str], tokenizer: Any, *, length: int) -> None:
        self._ids = [tokenizer(text).input_ids[:length] for text in texts]
        self._length = length

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.tensor(self._ids[index], dtype=torch.int64)
        padding = self._length - len(ids)
        return {
            "input_ids": nn.functional.pad(ids, (0, padding)),
            "attention_mask": nn.functional.pad(torch.ones_like(ids), (0, padding)),
            "labels": nn.functional.pad(ids, (0, padding), value=IGNORED),
        }


def mean_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean over records of each record's mean loss.

    A mean over all tokens of a batch, as libraries take it, would scale one record's gradient by
    the others' lengths, and clipping would no longer bound what one record does.
    """
    count, length = batch["input_ids"].shape
    positions = torch.arange(length, device=batch["input_ids"].device).expand(count, -1)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=positions,
    ).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    losses = nn.functional.cross_entropy(
        logits.transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none"
    )
    tokens = (labels != IGNORED).sum(dim=1).clamp_min(1)
    return (losses.sum(dim=1) / tokens).mean()
