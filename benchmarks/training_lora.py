"""LoRA on SmolLM2-135M: throughput and memory, plain, by Opacus alone, and by Sealgate.

`python benchmarks/training_lora.py MODE [--base FILE.gguf] [--device cuda] [--batch 64] …` measures
one mode in this process and prints one JSON object. MODE: plain, opacus or private. Without a
file the model has that shape and random weights: time and memory do not depend on them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from contract import REPOSITORY
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, Dataset
from training_place import vault
from transformers import LlamaConfig, LlamaForCausalLM

from privacy.training import lora, private
from privacy.training.filtering import Budget

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
LIMIT_S = 1800


class Words(Dataset[dict[str, torch.Tensor]]):
    """Made-up token ids of one length: time and memory do not depend on what they say."""

    def __init__(self, count: int, length: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self._ids = torch.randint(10, 40_000, (count, length), generator=generator)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = self._ids[index]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def base() -> Path | None:
    """Return the reference model's file if the demo fetched it."""
    file = REPOSITORY / ".sealgate" / "cache" / FILE
    return file if file.is_file() else None


def measured(mode: str, file: Path) -> dict[str, float]:
    """Measure a mode in a process of its own, so that peaks of memory are its own."""
    command = [sys.executable, __file__, mode, "--base", str(file)]
    # Both see at most eight records at once: plain training all of a batch, private training the
    # parts of a draw, which is larger.
    command += ["--batch", "8" if mode == "plain" else "32", "--microbatch", "8", "--steps", "8"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure the mode that was asked for."""
    options = argparse.ArgumentParser(description=str(__doc__))
    options.add_argument("mode", choices=("plain", "opacus", "private"))
    options.add_argument("--base", type=Path, default=None)
    options.add_argument("--device", default="cpu")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--microbatch", type=int, default=None)
    options.add_argument("--length", type=int, default=128)
    options.add_argument("--steps", type=int, default=6, help="that are timed")
    options.add_argument("--warm-up", type=int, default=1, help="steps before those")
    options.add_argument("--bfloat16", action="store_true", help="autocast")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    print(json.dumps(_measure(chosen)))


def _measure(chosen: argparse.Namespace) -> dict[str, Any]:
    model = lora.adapted(_language_model(chosen.base), lora.Adapter()).to(chosen.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    records = Words((chosen.steps + chosen.warm_up + 8) * chosen.batch, chosen.length)
    loader = DataLoader(records, batch_size=chosen.batch)
    if chosen.mode == "plain":
        found = _loop(model, optimizer, [loader], chosen)
    elif chosen.mode == "opacus":
        wrapped, stepper, poisson = PrivacyEngine(accountant="prv").make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
        )
        found = _loop(wrapped, stepper, [poisson], chosen)
    else:
        found = _privately(model, optimizer, loader, chosen)
    return {"mode": chosen.mode, "device": chosen.device, **found}


def _language_model(file: Path | None) -> nn.Module:
    if file is not None:
        return lora.language_model(file)[0]
    shape = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(shape)
    model.config.use_cache = False
    return model


def _privately(
    model: Any, optimizer: Any, loader: DataLoader[Any], chosen: argparse.Namespace
) -> dict[str, float]:
    with (
        vault() as place,
        private(
            model,
            optimizer,
            loader,
            vault=place,
            dataset="words",
            noise_multiplier=1.0,
            delta=1e-5,
            clip=1.0,
            steps=chosen.steps + chosen.warm_up + 1,
            budget=Budget(1e3, 1e-5),
            microbatch=chosen.microbatch,
        ) as run,
    ):
        return _loop(model, optimizer, [run.loader], chosen)


def _loop(
    model: Any, optimizer: Any, loaders: list[Any], chosen: argparse.Namespace
) -> dict[str, float]:
    """Time steps once it is warm; a Poisson batch's size varies, so time is per record."""
    seen, begin, last = 0, 0.0, chosen.warm_up + chosen.steps
    for count, batch in enumerate((batch for loader in loaders for batch in loader), start=1):
        moved = {name: tensor.to(chosen.device) for name, tensor in batch.items()}
        with torch.autocast(chosen.device, dtype=torch.bfloat16, enabled=chosen.bfloat16):
            loss = lora.mean_loss(model, moved)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if count == chosen.warm_up:
            _wait(chosen)
            begin = time.perf_counter()
        elif count > chosen.warm_up:
            seen += len(moved["input_ids"])
        if count == last:
            break
    _wait(chosen)
    return {
        "seconds_a_record": (time.perf_counter() - begin) / max(seen, 1),
        "tokens_a_second": seen * chosen.length / (time.perf_counter() - begin),
        "peak_mb": _peak_mb(chosen),
    }


def _wait(chosen: argparse.Namespace) -> None:
    if chosen.device.startswith("cuda"):
        torch.cuda.synchronize()


def _peak_mb(chosen: argparse.Namespace) -> float:
    if chosen.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
