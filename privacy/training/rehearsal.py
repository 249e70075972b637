"""A rehearsal: the mechanism of a plan run on canaries alone, to audit the code that makes runs.

Loader, sampler, hooks, clipping, noise and optimizer are the real ones; the records are made up,
so nothing is charged. Each canary's gradient has a direction of its own: an auditor who sees every
released sum (white box) or only the final model (black box) tests who was in. With the noise off
the same audit must see nearly everything: that is the control, without which silence proves
nothing.
"""

import contextlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from privacy.training import auditing
from privacy.training.checks import Checks, Watched, checked, require_poisson
from privacy.training.errors import AuditBlind, PlanInvalid
from privacy.training.evidence import Scores, log_ratio
from privacy.training.exchange import Solo
from privacy.training.gradients import ClippedSums
from privacy.training.keystream import Keystream
from privacy.training.loading import PoissonLoader
from privacy.training.mechanism import Plan
from privacy.training.noise import GaussianSource, Noise
from privacy.training.sampling import PoissonSampler
from privacy.training.stepping import Stepper

CLIP = 1.0
# Half of them are not members; a true-positive rate at 0.1 % needs a thousand of those.
CANARIES = 2200
# Fewer can show nothing; the inputs of more do not fit in memory, their square.
FEWEST, MOST = 100, 20_000
# So long that every canary's gradient is clipped, and so small a learning rate that it stays so.
_INPUT = 64.0
_RATE = 1e-5
# What the control must reach of what simulation says it can; chance moves both a little.
_SEEING = 0.5


class Silence:
    """No noise, for the control. Nothing but made-up records is ever trained with it."""

    def draw(self, count: int, *, deviation: float) -> torch.Tensor:
        """Return zeros."""
        del deviation
        return torch.zeros(count, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal showed."""

    findings: tuple[auditing.Finding, ...]
    control: auditing.Finding
    checks: Checks

    def plain(self) -> dict[str, Any]:
        """Return it as a certificate carries it."""
        return {
            "of": "a rehearsal of the plan",
            "findings": [finding.plain() for finding in self.findings],
            "control": self.control.plain(),
            "checks": asdict(self.checks),
        }


def rehearsed(plan: Plan, *, delta: float, canaries: int = CANARIES) -> Rehearsal:
    """Audit a plan's mechanism, noise on and off.

    Raises:
        PlanInvalid: That many canaries are too few or too many.
        MechanismBroken: Noise, clipping or sampling is not what the plan says.
        AuditBlind: With the noise off, canaries were not found either.
    """
    require_canaries(canaries)
    guesses = auditing.committed_guesses(plan, canaries=canaries, delta=delta)
    seen = performed(plan, canaries=canaries, noise=GaussianSource(Keystream.fresh()))
    checks = checked(seen.watched, plan)
    unhidden = performed(plan, canaries=canaries, noise=Silence())
    require_poisson(unhidden.watched, plan)

    def judged(scores: Scores, access: str) -> auditing.Finding:
        return auditing.judge(scores, guesses=guesses, delta=delta, access=access)

    control = judged(unhidden.white_box, "white-box, noise off")
    expected = auditing.unhidden(plan, canaries=canaries, guesses=guesses, delta=delta)
    if control.epsilon < _SEEING * expected:
        raise AuditBlind(
            f"With the noise off the audit shows ε {control.epsilon:.2f}, where ε {expected:.2f} "
            "is there to be seen. Its silence proves nothing: do not rely on this code."
        )
    findings = judged(seen.white_box, "white-box"), judged(seen.black_box, "black-box")
    return Rehearsal(findings, control, checks)


def require_canaries(count: int) -> None:
    """Raise PlanInvalid unless a rehearsal can do with that many canaries."""
    if not FEWEST <= count <= MOST:
        raise PlanInvalid(f"An audit takes {FEWEST} to {MOST:,} canaries, not {count:,}.")


@dataclass(frozen=True, slots=True)
class Performance:
    """What two auditors saw of one run over canaries."""

    white_box: Scores
    black_box: Scores
    watched: Watched


def performed(plan: Plan, *, canaries: int, noise: Noise) -> Performance:
    """Run a plan over canaries, a fair coin having chosen those that take part."""
    coins = Keystream.fresh()
    members = (coins.words(canaries) & np.uint64(1)).astype(np.bool_)
    labels = torch.from_numpy((coins.words(canaries) & np.uint64(1)).astype(np.int64))
    inputs = torch.eye(canaries) * _INPUT
    chosen = torch.from_numpy(np.flatnonzero(members))
    model = nn.Linear(canaries, 2, bias=False)
    nn.init.zeros_(model.weight)
    watcher = _Watcher(labels, members, plan)
    _train(model, TensorDataset(inputs[chosen], labels[chosen]), plan, noise, watcher)
    with torch.no_grad():
        losses = nn.functional.cross_entropy(model(inputs), labels, reduction="none")
    return Performance(
        Scores(members, watcher.evidence),
        Scores(members, -losses.double().numpy()),
        watcher.watched(),
    )


def _train(
    model: nn.Module, records: TensorDataset, plan: Plan, noise: Noise, watcher: "_Watcher"
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
    sums = ClippedSums(model, clip=CLIP)
    steps = _Unmetered(plan.steps)
    stepper = Stepper(
        optimizer,
        sums,
        deviation=plan.noise_multiplier * CLIP,
        expected_batch=1,
        noise=noise,
        leases=steps,
        ranks=Solo(),
        observer=watcher,
    )
    loader = PoissonLoader(
        DataLoader(records),
        own=range(len(records)),
        sampler=PoissonSampler(Keystream.fresh(), records=len(records), rate=plan.sampling_rate),
        steps_per_pass=plan.steps,
        microbatch=len(records),
        stepper=stepper,
    )
    with contextlib.closing(sums), stepper.attached():
        for inputs, labels in loader:
            torch.autograd.backward(nn.functional.cross_entropy(model(inputs), labels))
            optimizer.step()


class _Unmetered:
    """Counts steps down. Made-up records have no budget."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def take(self) -> None:
        self.left -= 1


class _Watcher:
    """Sees every released sum along each canary's direction.

    A canary's input has one nonzero coordinate and its label one of two classes, so its gradient
    is (1, -1) or (-1, 1) over the square root of 2, times the bound, at that coordinate.
    """

    def __init__(self, labels: torch.Tensor, members: NDArray[np.bool_], plan: Plan) -> None:
        count = len(labels)
        self._sign = np.where(labels.numpy() == 0, -1.0, 1.0)
        self._members = members
        self._plan = plan
        self._nothing = torch.zeros(2 * count, dtype=torch.float64)
        self._previous = np.zeros(count)
        self._joined: list[float] = []
        self._first, self._second, self._lagged = np.zeros(count), np.zeros(count), np.zeros(count)
        self.evidence = np.zeros(count)

    def contribution(self) -> torch.Tensor:
        """Return nothing: these canaries are records, and come by the loader."""
        return self._nothing

    def observe(self, released: torch.Tensor) -> None:
        """See a released sum, [2 * canaries]."""
        first, second = released.double().view(2, -1).numpy()
        values = self._sign * (first - second) / math.sqrt(2) / CLIP
        self.evidence += log_ratio(values, self._plan)
        self._first += values
        self._second += values**2
        self._lagged += values * self._previous
        self._previous = values
        self._joined.append(float(values[self._members].sum()))

    def watched(self) -> Watched:
        """Return what was seen."""
        joined = np.array(self._joined)
        return Watched(self._members, joined, self._first, self._second, self._lagged)
