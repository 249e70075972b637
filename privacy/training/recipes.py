"""What a configuration trains: model, optimizer, loader and loss, put together."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from privacy.training import lora
from privacy.training.config import Config, Data
from privacy.training.errors import ConfigInvalid
from privacy.training.features import hashed


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a loop needs. description: what the trained weights are, for who uses them.

    records: as they were read, by which the budget knows them whatever is made of them.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: DataLoader[Any]
    loss: Callable[[nn.Module, Any], torch.Tensor]
    records: list[dict[str, Any]]
    description: dict[str, Any]


def prepare(config: Config) -> Recipe:
    """Build what a configuration describes.

    Raises:
        ConfigInvalid: Its data cannot be read, or lacks a member.
    """
    records = _records(config.data)
    build = _linear if config.model.kind == "linear" else _lora
    model, dataset, loss, description = build(config, records)
    model.to(config.training.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loader = DataLoader(dataset, batch_size=config.training.batch)
    return Recipe(model, _optimizer(config, parameters), loader, loss, records, description)


_Built = tuple[nn.Module, Any, Callable[[nn.Module, Any], torch.Tensor], dict[str, Any]]


def _linear(config: Config, records: list[dict[str, Any]]) -> _Built:
    names = sorted({str(_member(r, config.data.label)) for r in records})
    labels = [names.index(str(record[config.data.label])) for record in records]
    texts = [str(_member(record, config.data.text)) for record in records]
    rows = hashed(texts, columns=config.model.features)
    model = nn.Linear(config.model.features, len(names))
    nn.init.zeros_(model.weight)
    dataset = TensorDataset(torch.from_numpy(rows), torch.tensor(labels))
    # The labels' names are taken from the records: which labels exist is not private here.
    description = {"kind": "linear", "features": config.model.features, "labels": names}
    return model, dataset, _classification_loss, description


def _lora(config: Config, records: list[dict[str, Any]]) -> _Built:
    base = Path(config.model.base or "")
    adapter = lora.Adapter(rank=config.model.rank, alpha=config.model.alpha)
    model, tokenizer = lora.language_model(base)
    texts = [str(_member(record, config.data.text)) for record in records]
    dataset = lora.Texts(texts, tokenizer, length=config.model.length)
    with base.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    description = {
        "kind": "lora",
        "rank": adapter.rank,
        "alpha": adapter.alpha,
        "base_sha256": digest,
    }
    return lora.adapted(model, adapter), dataset, lora.mean_loss, description


def _classification_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    rows, labels = batch
    return nn.functional.cross_entropy(model(rows), labels)


def _optimizer(config: Config, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    rate = config.training.learning_rate
    if config.training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=config.training.momentum)


def _records(data: Data) -> list[dict[str, Any]]:
    try:
        lines = data.path.read_text().splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{data.path} is no file of JSON lines: {error}.") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ConfigInvalid(f"{data.path} must hold one JSON object a line, and at least one.")
    return records


def _member(record: dict[str, Any], name: str) -> Any:
    if name not in record:
        raise ConfigInvalid(f"A record has no member {name!r}. Name the right one in [data].")
    return record[name]
