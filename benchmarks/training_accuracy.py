"""Accuracy of private classifiers of real records, at ε of 8, 3 and 1.

`make bench-data` fetches the records. Accuracies are means over seeds, on records that were not
trained on.
"""

import math
import statistics
from typing import Any

import numpy as np
import torch
import training_data
from contract import Samples
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_place import vault

from privacy.training import features, private

DELTA = 1e-5
SEEDS = 5


def mails(*, quick: bool) -> dict[str, Any]:
    """Train a linear classifier on real mails, hashed."""
    records = training_data.mails()
    if records is None:
        return {}
    rows = features.hashed([record["text"] for record in records], columns=4096)
    labels = np.array([record["label"] == "spam" for record in records], dtype=np.int64)
    rates = {8: 4.0, 3: 4.0, 1: 2.0}
    return _accuracies(
        "spam", rows, labels, rates=rates, batch=484, steps=200, train=4836, quick=quick
    )


def digits(*, quick: bool) -> dict[str, Any]:
    """Train a linear classifier on real digits, as gradients' directions."""
    found = training_data.digits()
    if found is None:
        return {}
    rates = {8: 8.0, 3: 8.0, 1: 4.0}
    return _accuracies(
        "mnist",
        directions(found[0]),
        found[1],
        rates=rates,
        batch=512,
        steps=320,
        train=8000,
        quick=quick,
    )


def _accuracies(
    name: str,
    rows: Any,
    labels: Any,
    *,
    rates: dict[int, float],
    batch: int,
    steps: int,
    train: int,
    quick: bool,
) -> dict[str, Any]:
    found = {}
    for epsilon, rate in rates.items():
        scores = []
        for seed in range(1 if quick else SEEDS):
            order = np.random.default_rng(seed).permutation(len(rows))
            split = order[:train], order[train:]
            scores.append(
                _accuracy(rows, labels, split, epsilon=epsilon, rate=rate, batch=batch, steps=steps)
            )
        found[f"{name}_acc_eps{epsilon}"] = (statistics.mean(scores), str(Samples(scores)), "")
    return found


def _accuracy(
    rows: Any, labels: Any, split: Any, *, epsilon: float, rate: float, batch: int, steps: int
) -> float:
    inputs, targets = torch.from_numpy(rows), torch.from_numpy(labels)
    train, test = (torch.from_numpy(part) for part in split)
    model = nn.Linear(rows.shape[1], int(targets.max()) + 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    loader = DataLoader(TensorDataset(inputs[train], targets[train]), batch_size=batch)
    with (
        vault() as place,
        private(
            model,
            optimizer,
            loader,
            vault=place,
            dataset="x",
            target_epsilon=epsilon,
            delta=DELTA,
            clip=0.5,
            steps=steps,
        ) as run,
    ):
        while run.steps_left:
            for x, y in run.loader:
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
    with torch.no_grad():
        hits = model(inputs[test]).argmax(dim=1) == targets[test]
    return 100 * float(hits.float().mean())


def directions(images: Any) -> Any:
    """Return how strongly each of 8 directions occurs in each of 49 cells; rows of length 1."""
    down, across = np.gradient(images, axis=(1, 2))
    size = np.hypot(down, across)
    sector = ((np.arctan2(down, across) + math.pi) / (2 * math.pi) * 8).astype(int) % 8
    cells = [
        (size * (sector == s)).reshape(len(images), 7, 4, 7, 4).sum(axis=(2, 4)) for s in range(8)
    ]
    rows = np.stack(cells, axis=-1)
    rows /= np.sqrt((rows**2).sum(axis=-1, keepdims=True)) + 0.1
    rows = rows.reshape(len(images), -1)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
