"""A run over two processes, started by torchrun: `distributed_run.py HOME MODE BACKEND`.

MODE: `plain`, `powersgd`, or `silent`, which turns the noise off to compare with one process.
BACKEND: `gloo`, or `nccl` with a GPU for each process. Rank 0 prints one JSON object.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.training import private
from privacy.training.exchange import Ranks
from privacy.training.filtering import Budget
from privacy.training.noise import GaussianSource
from privacy.training.powersgd import PowerSgd
from privacy.training.vault import Vault

RECORDS, STEPS, NOISE, CLIP = 400, 20, 3.0, 1.0


def silence(source, count, *, deviation):
    return torch.zeros(count, dtype=torch.float64, device=source._device) * deviation


class Listening:
    """Keeps what this rank is about to send."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.sent = []

    def total(self, noised):
        self.sent.append(noised.clone())
        return super().total(noised)


class ListeningRanks(Listening, Ranks):
    pass


class ListeningPowerSgd(Listening, PowerSgd):
    pass


def place(backend):
    """Join the processes; return this one's device."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group(backend)
    return device


def main(home, mode, backend):
    device = place(backend)
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
    vault = Vault.open(home / "training", keyring=keyring)
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(RECORDS, 32, generator=generator)
    labels = (inputs.sum(dim=1) > 0).long()
    torch.manual_seed(dist.get_rank())
    model = nn.Sequential(nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 2)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if mode == "silent":
        GaussianSource.draw = silence
    ranks = ListeningPowerSgd(model, factors=2) if mode == "powersgd" else ListeningRanks()
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=40)
    with private(
        model,
        optimizer,
        loader,
        vault=vault,
        dataset="toy",
        delta=1e-4,
        clip=CLIP,
        noise_multiplier=NOISE,
        steps=STEPS,
        budget=Budget(100.0, 1e-4),
        ranks=ranks,
    ) as run:
        drawn = 0
        while run.steps_left:
            for x, y in run.loader:
                drawn += len(x)
                nn.functional.cross_entropy(model(x.to(device)), y.to(device)).backward()
                optimizer.step()
                optimizer.zero_grad()
        finished = run.finish()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    gathered = [torch.zeros_like(weights) for _ in range(ranks.ranks)]
    dist.all_gather(gathered, weights)
    sums = [torch.zeros(1, device=device) for _ in range(ranks.ranks)]
    dist.all_gather(sums, torch.stack(ranks.sent).std().float()[None])
    if ranks.rank == 0:
        found = {
            "same": all(torch.equal(gathered[0], other) for other in gathered),
            "deviations": [float(value) for value in sums],
            "drawn_by_rank_0": drawn,
            "sent_bytes": ranks.sent_bytes,
            "whole_bytes": STEPS * weights.numel() * 4,
            "certificate": json.loads(finished.certificate)["certificate"],
        }
        sys.stdout.write(json.dumps(found) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
