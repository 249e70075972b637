"""`sealgate train run`: a configuration trained from start to certificate, for want of a loop."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from privacy.training import rehearsal, session
from privacy.training.config import Config
from privacy.training.errors import TrainingError
from privacy.training.filtering import Budget
from privacy.training.recipes import Recipe, prepare
from privacy.training.run import Finished, PrivateRun
from privacy.training.vault import Vault

_ESTIMATE_EVERY_S = 5.0


class Showing:
    """Shows a person how far a run is."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._charged = 0
        self._estimate_at_s = 0.0

    def begin(self, run: PrivateRun) -> None:
        """Tell the run's name, by which it can be gone on with after a crash."""
        self._progress.console.print(f"Run {run.id}")
        self._progress.update(self._task, completed=run.steps)

    def step(self, run: PrivateRun) -> None:
        """Show a step, and now and then what is spent, which takes a moment to estimate."""
        self._progress.update(self._task, completed=run.steps)
        now = time.monotonic()
        if run.charged != self._charged and now >= self._estimate_at_s:
            self._progress.update(self._task, epsilon=run.epsilon())
            self._charged, self._estimate_at_s = run.charged, now + _ESTIMATE_EVERY_S


def run(
    config: Config, vault: Vault, *, begun: Callable[[], None], resume: str | None = None
) -> Finished:
    """Train what a configuration describes, audit it, seal it and certify it.

    begun: called once the run is charged, before its first step.

    Raises:
        TrainingError: Something of it cannot be; the message says what.
    """
    if config.audit.canaries:
        rehearsal.require_canaries(config.audit.canaries)
    recipe = prepare(config)
    with opened(config, recipe, vault, resume=resume) as private_run, _shown(config) as showing:
        begun()
        showing.begin(private_run)
        # Before the first step: a mechanism that fails its rehearsal is not used.
        audit = _audit(config, private_run)
        while private_run.steps_left:
            train_once(recipe, private_run, showing)
        finished = private_run.finish(audit=audit, description=recipe.description)
    if finished is None:
        raise TrainingError("Only the first rank issues a certificate. Run this on one process.")
    return finished


@contextlib.contextmanager
def opened(
    config: Config, recipe: Recipe, vault: Vault, *, resume: str | None = None
) -> Iterator[PrivateRun]:
    """Open the private run of a configuration."""
    promised, how = config.privacy, config.training
    budget = None
    if promised.budget_epsilon is not None:
        budget = Budget(promised.budget_epsilon, promised.budget_delta or promised.delta)
    with session.private(
        recipe.model,
        recipe.optimizer,
        recipe.loader,
        vault=vault,
        dataset=config.name,
        records=recipe.records,
        target_epsilon=promised.epsilon,
        delta=promised.delta,
        clip=promised.clip,
        budget=budget,
        steps=how.steps,
        microbatch=how.microbatch,
        checkpoint_steps=how.checkpoint_steps,
        lease_steps=how.lease_steps,
        resume=resume,
    ) as private_run:
        yield private_run


def train_once(recipe: Recipe, private_run: PrivateRun, showing: Showing) -> None:
    """Make one pass over the run's loader."""
    device = next(recipe.model.parameters()).device
    for batch in private_run.loader:
        loss = recipe.loss(recipe.model, _moved(batch, device))
        torch.autograd.backward(loss)
        recipe.optimizer.step()
        recipe.optimizer.zero_grad()
        showing.step(private_run)


def _audit(config: Config, private_run: PrivateRun) -> Mapping[str, Any] | None:
    if not config.audit.canaries:
        return None
    found = rehearsal.rehearsed(
        private_run.plan, delta=config.privacy.delta, canaries=config.audit.canaries
    )
    return found.plain()


@contextlib.contextmanager
def _shown(config: Config) -> Iterator[Showing]:
    columns = (
        TextColumn(f"Training {config.name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ε {task.fields[epsilon]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Showing(progress, progress.add_task("", total=config.training.steps, epsilon=0.0))


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, dict):
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return [tensor.to(device) for tensor in batch]
