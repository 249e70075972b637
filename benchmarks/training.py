"""Private training against plain training, Opacus and dp-accounting.

`make bench-data` fetches the real data; without it, or without the extra `[train]`, what needs
them is absent.
"""

import os
import statistics
import sys
import time
from typing import Any

import contract
from contract import Figure, Samples

try:
    import dp_accounting
    import torch
    import training_accuracy
    import training_lora
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
    from opacus import PrivacyEngine
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from training_place import vault

    from privacy.training import accountant, private, rehearsal
    from privacy.training.filtering import Budget
    from privacy.training.fingerprints import membership
    from privacy.training.gradients import ClippedSums
    from privacy.training.mechanism import Plan
except ImportError as missing:
    MISSING = str(missing)
else:
    MISSING = ""

DELTA = 1e-5
TARGETS = {
    "epsilon_over_pld": "<= 1.01",
    "step_ratio_vs_opacus": "<= 1.05",
    "lora_time_ratio": "<= 1.15",
    "lora_memory_ratio": "<= 1.15",
    "grad_rel_error": "<= 1e-4",
    "spam_acc_eps8": ">= 97.0",
    "spam_acc_eps3": ">= 96.5",
    "spam_acc_eps1": ">= 94.5",
    "mnist_acc_eps8": ">= 95.5",
    "mnist_acc_eps3": ">= 94.3",
    "mnist_acc_eps1": ">= 91",
    "audit_lb_over_claim_eps3": ">= 0.25",
    "audit_lb_over_claim_eps8": ">= 0.25",
    "lease_commit_ms": "<= 5",
}
UNITS = {"lease_commit_ms": "ms"} | {name: "%" for name in TARGETS if "acc" in name}


def main() -> None:
    """Measure and print."""
    options = contract.parser(str(__doc__)).parse_args()
    warnings_off()
    found: dict[str, tuple[float, str, str]] = {}
    if MISSING:
        sys.stderr.write(f"{MISSING}: install the extra [train]\n")
    else:
        torch.manual_seed(0)
        # These tensors are small: threads that wait for each other cost more than they bring.
        torch.set_num_threads(1)
        for measure in (*_MEASURES, training_accuracy.mails, training_accuracy.digits):
            found |= measure(quick=options.quick)
    figures = [
        Figure(name, *_value(found.get(name), UNITS.get(name, ""), target))
        for name, target in TARGETS.items()
    ]
    contract.report(figures, destination=options.json)


def warnings_off() -> None:
    """Silence what libraries say about their own futures."""
    import warnings  # noqa: PLC0415 - Only here.

    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def accounting(*, quick: bool) -> dict[str, Any]:
    """Compare certified ε with dp-accounting, over plans; the worst ratio counts."""
    plans = [Plan(1.0, 0.0256, 400), Plan(0.6, 0.008, 125), Plan(2.0, 0.1, 300)]
    ratios = []
    for plan in plans[: 1 if quick else None]:
        peer = PLDAccountant()
        step = dp_accounting.PoissonSampledDpEvent(
            plan.sampling_rate, dp_accounting.GaussianDpEvent(plan.noise_multiplier)
        )
        peer.compose(step, plan.steps)
        ratios.append(accountant.certified_epsilon(plan, DELTA) / peer.get_epsilon(DELTA))
    if min(ratios) < 1:
        sys.exit("A certified epsilon is below dp-accounting's.")
    return {"epsilon_over_pld": (max(ratios), f"{len(ratios)} plans", "dp-accounting PLD")}


def gradients(*, quick: bool) -> dict[str, Any]:
    """Compare clipped sums with a loop over records."""
    del quick
    model = _network()
    inputs, labels = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))
    parameters = list(model.parameters())
    expected = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for x, y in zip(inputs, labels, strict=True):
        loss = nn.functional.cross_entropy(model(x[None]), y[None])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double()
        expected += gradient * min(1.0, 0.5 / float(gradient.norm()))
    sums = ClippedSums(model, clip=0.5)
    nn.functional.cross_entropy(model(inputs), labels).backward()
    sums.take(16)
    error = float((sums.release() - expected).norm() / expected.norm())
    sums.close()
    return {"grad_rel_error": (error, "clipped sum of 16", "loop over records")}


def leases(*, quick: bool) -> dict[str, Any]:
    """Time the durable commit of a lease."""
    with vault() as place:
        members = membership(["a", "b"], key=bytes(32))
        plan, budget = Plan(5.0, 0.01, 10_000), Budget(10.0, 0.1)
        run = place.ledger.reserve(
            plan, members=members, name="x", budget=budget, epsilon=9.0, delta=0.1
        )
        times = []
        for _ in range(100 if quick else 400):
            begin = time.perf_counter()
            run = place.ledger.lease(run, 1)
            times.append((time.perf_counter() - begin) * 1e3)
    return {"lease_commit_ms": (statistics.median(times), str(Samples(times)), "")}


def steps(*, quick: bool) -> dict[str, Any]:
    """Time steps of a small convolutional network, ours against Opacus' hooks."""
    records = TensorDataset(torch.randn(2048, 1, 28, 28), torch.randint(10, (2048,)))
    rounds = 3 if quick else 16

    def ours() -> float:
        model = _network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        options = {"dataset": "x", "delta": 1e-4, "clip": 1.0, "noise_multiplier": 1.0}
        with (
            vault() as place,
            private(
                model,
                optimizer,
                DataLoader(records, batch_size=256),
                vault=place,
                steps=9,
                budget=Budget(1e3, 1e-4),
                **options,
            ) as run,
        ):
            return _seconds_a_record(model, optimizer, [run.loader, run.loader])

    def opacus() -> float:
        model = _network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        model, optimizer, loader = PrivacyEngine(accountant="prv").make_private(
            module=model,
            optimizer=optimizer,
            data_loader=DataLoader(records, batch_size=256),
            noise_multiplier=1.0,
            max_grad_norm=1.0,
        )
        return _seconds_a_record(model, optimizer, [loader, loader])

    mine, theirs = contract.in_turns(ours, opacus, rounds=rounds)
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    shown = [str(Samples([value * 256e3 for value in values])) + " ms" for values in (mine, theirs)]
    return {"step_ratio_vs_opacus": (ratio, *shown)}


def _seconds_a_record(model: nn.Module, optimizer: Any, loaders: list[Any]) -> float:
    """Time a training loop without its first step. Poisson batches differ, so it is per record."""
    seen, begin = -1, 0.0
    for loader in loaders:
        for x, y in loader:
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            if seen < 0:
                seen, begin = 0, time.perf_counter()
            else:
                seen += len(x)
    return (time.perf_counter() - begin) / max(seen, 1)


def audits(*, quick: bool) -> dict[str, Any]:
    """Audit plans by rehearsal; no bound may exceed its claim."""
    seeds, canaries = 1 if quick else 20, 3000
    found = {}
    for claim in (3.0, 8.0):
        plan = accountant.calibrated(epsilon=claim, delta=DELTA, sampling_rate=0.25, steps=40)
        bounds = []
        for _ in range(seeds):
            seen = rehearsal.rehearsed(plan, delta=DELTA, canaries=canaries)
            bounds += [finding.epsilon for finding in seen.findings[:1]]
        if max(bounds) > claim:
            sys.exit(f"An audit refutes the claim: {max(bounds)} is more than {claim}.")
        value = statistics.mean(bounds) / claim
        found[f"audit_lb_over_claim_eps{claim:g}"] = (value, str(Samples(bounds)), f"{claim:g}")
    return found


def lora(*, quick: bool) -> dict[str, Any]:
    """Compare time and memory of a LoRA step with and without privacy, each in its own process."""
    base = training_lora.base()
    if base is None or quick:
        return {}
    rounds = 2
    taken = contract.in_turns(
        lambda: training_lora.measured("private", base),
        lambda: training_lora.measured("plain", base),
        rounds=rounds,
    )
    (time_a, time_b), (memory_a, memory_b) = (
        [statistics.median(m[key] for m in measured) for measured in taken]
        for key in ("seconds_a_record", "peak_mb")
    )
    return {
        "lora_time_ratio": (time_a / time_b, f"{time_a:.3f} s a record", f"{time_b:.3f}"),
        "lora_memory_ratio": (memory_a / memory_b, f"{memory_a:.0f} MB", f"{memory_b:.0f} MB"),
    }


_MEASURES = (accounting, gradients, leases, steps, audits, lora)


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )


def _value(
    found: tuple[float, str, str] | None, unit: str, target: str
) -> tuple[float | None, str, str, str, str]:
    value, ours, peer = found or (None, "", "")
    return value, unit, target, ours, peer


if __name__ == "__main__":
    main()
