"""What PowerSGD saves between two processes, and what it costs: digits over gloo, at ε = 8.

Whole gradients against low-rank factors of them, both after the noise: bytes that a process sends,
and accuracy on digits that were not trained on, over the same splits.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import contract
import numpy as np
import torch
import torch.distributed as dist
import training_data
from contract import Figure, Samples
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training_accuracy import directions
from training_place import vault

from privacy.training import private
from privacy.training.exchange import Ranks
from privacy.training.powersgd import PowerSgd

WORKER = "worker"
WHOLE = 0
FACTORS = (2, 4, 8)
TRAIN, BATCH, STEPS, EPSILON, DELTA, CLIP = 8000, 512, 200, 8.0, 1e-5, 0.5
SEEDS = 3
LIMIT_S = 600


def main() -> None:
    """Measure both exchanges and print."""
    options = contract.parser(str(__doc__)).parse_args()
    seeds, steps = (1, 40) if options.quick else (SEEDS, STEPS)
    if training_data.digits() is None:
        sys.exit("There are no digits. Run `make bench-data` first.")
    found = {
        factors: [_measured(factors, seed=seed, steps=steps) for seed in range(seeds)]
        for factors in (WHOLE, *FACTORS)
    }
    contract.report(_figures(found), destination=options.json)


def _figures(found: dict[int, list[dict[str, float]]]) -> list[Figure]:
    whole = found.pop(WHOLE)
    sent = whole[0]["sent_bytes"]
    accuracy = statistics.mean(run["accuracy"] for run in whole)
    figures = []
    for factors, runs in found.items():
        share = runs[0]["sent_bytes"] / sent
        lost = accuracy - statistics.mean(run["accuracy"] for run in runs)
        shown = [f"{run[0]['sent_bytes'] / 2**20:.1f} MB" for run in (runs, whole)]
        figures.append(Figure(f"powersgd{factors}_sent_share", share, "", "<= 1", *shown))
        shown = [str(Samples([run["accuracy"] for run in taken])) for taken in (runs, whole)]
        figures.append(Figure(f"powersgd{factors}_accuracy_lost", lost, "%", "<= 2", *shown))
    return figures


def _measured(factors: int, *, seed: int, steps: int) -> dict[str, float]:
    """Train over two processes of one machine; rank 0 says what came of it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", str(Path(__file__)), WORKER]
    command += [str(number) for number in (factors, seed, steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def work(factors: int, *, seed: int, steps: int) -> None:
    """Be one of the processes. All have one home, which rank 0 makes."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dist.init_process_group("gloo")
    train, test = _split(seed)
    model = nn.Sequential(nn.Linear(train[0].shape[1], 96), nn.Tanh(), nn.Linear(96, 10))
    ranks = PowerSgd(model, factors=factors) if factors != WHOLE else Ranks()
    _train(model, TensorDataset(*train), ranks, steps=steps)
    with torch.no_grad():
        hits = model(test[0]).argmax(dim=1) == test[1]
    if ranks.rank == 0:
        found = {"accuracy": 100 * float(hits.float().mean()), "sent_bytes": ranks.sent_bytes}
        print(json.dumps(found))
    dist.destroy_process_group()


def _train(model: nn.Module, records: Any, ranks: Ranks, *, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    # Only rank 0 asks its ledger; the other's stays empty.
    with (
        vault() as place,
        private(
            model,
            optimizer,
            DataLoader(records, batch_size=BATCH),
            vault=place,
            dataset="digits",
            target_epsilon=EPSILON,
            delta=DELTA,
            clip=CLIP,
            steps=steps,
            ranks=ranks,
        ) as run,
    ):
        while run.steps_left:
            for inputs, labels in run.loader:
                torch.autograd.backward(nn.functional.cross_entropy(model(inputs), labels))
                optimizer.step()


def _split(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return inputs and labels to train on, and others to test with."""
    found = training_data.digits()
    if found is None:
        sys.exit("There are no digits. Run `make bench-data` first.")
    rows, labels = torch.from_numpy(directions(found[0])), torch.from_numpy(found[1])
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)))
    train, test = order[:TRAIN], order[TRAIN:]
    return [rows[train], labels[train]], [rows[test], labels[test]]


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        numbers = argparse.ArgumentParser()
        for name in ("factors", "seed", "steps"):
            numbers.add_argument(name, type=int)
        chosen = numbers.parse_args(sys.argv[2:])
        work(chosen.factors, seed=chosen.seed, steps=chosen.steps)
    else:
        main()
