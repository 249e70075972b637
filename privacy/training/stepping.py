"""One private step: clip, sum, noise, share, and only then the user's optimizer.

The optimizer stays the user's object; only its `step` is replaced while the run lasts.
"""

import math
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from privacy.training.errors import LoaderNotPoisson, OptimizerUnsupported
from privacy.training.exchange import Exchange
from privacy.training.gradients import ClippedSums
from privacy.training.loading import Drawn
from privacy.training.noise import Noise

_STEP = "step"


class Observer(Protocol):
    """Who audits a run: adds what its canaries contribute, and sees what is released."""

    def contribution(self) -> torch.Tensor:
        """Return clipped gradients to add to a step's sum, float64 [size]."""
        ...

    def observe(self, released: torch.Tensor) -> None:
        """See a released sum, [size]."""
        ...


class Charging(Protocol):
    """What charges steps before they are made."""

    @property
    def left(self) -> int:
        """How many steps can still be made."""
        ...

    def take(self) -> None:
        """Return once one more step is charged, durably."""
        ...


class Stepper:
    """Makes an optimizer's steps private.

    deviation: of the noise on the sum over all records. expected_batch: what the sum is divided
    by, which must not depend on how many records were drawn.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        sums: ClippedSums,
        *,
        deviation: float,
        expected_batch: int,
        noise: Noise,
        leases: Charging,
        ranks: Exchange,
        observer: Observer | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._sums = sums
        # Variances add up: the shares of all ranks are the whole noise.
        self._share = deviation / math.sqrt(ranks.ranks)
        self._expected_batch = expected_batch
        self._noise = noise
        self._ranks = ranks
        self._pending: Drawn | None = None
        self._step: Callable[..., Any] = optimizer.step
        self._leases = leases
        self.observer = observer
        self.made = 0
        self.after: Callable[[], None] = _nothing

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Replace the optimizer's `step` while the context lasts."""
        stepper = self

        def step(_: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> None:
            stepper.step(closure)

        # A bound method: learning-rate schedulers look at its function.
        setattr(self._optimizer, _STEP, types.MethodType(step, self._optimizer))
        try:
            with warnings.catch_warnings():
                # Inputs need no gradient; the hooks that this is about do not use one.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                yield
        finally:
            delattr(self._optimizer, _STEP)

    @property
    def left(self) -> int:
        """How many steps can still be made."""
        return self._leases.left

    def begin(self) -> None:
        """Begin a pass over the loader: what was drawn and not stepped is dropped."""
        self._pending = None
        self._sums.forget_raw()
        self._sums.release()

    def expect(self, drawn: Drawn) -> None:
        """Take note of the micro-batch that the loop is about to see.

        Raises:
            LoaderNotPoisson: The one before was not stepped.
            BatchMixed: The model is not in training mode.
        """
        if self._pending is not None:
            raise LoaderNotPoisson(
                "A batch was drawn and never stepped. Call optimizer.step after every batch; "
                "gradient scalers that skip steps do not work here, torch.autocast(bfloat16) does."
            )
        self._sums.require_training()
        self._pending = drawn

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take a micro-batch's gradients, and make the step if it was the last of its step.

        Raises:
            LoaderNotPoisson: The batch did not come from the run's loader.
            BatchMixed: The gradients are not those of its records.
            ModelDiverged: A parameter is not finite.
        """
        if closure is not None:
            raise OptimizerUnsupported("A step with a closure evaluates gradients unseen. Drop it.")
        if self._pending is None:
            raise LoaderNotPoisson(
                "This batch did not come from run.loader. Draw batches from it alone: the "
                "accountant assumes its Poisson sampling."
            )
        drawn, self._pending = self._pending, None
        self._sums.take(drawn.records)
        if drawn.last:
            self._finish_step()

    def empty(self) -> None:
        """Make a step that drew nobody: noise alone."""
        self._sums.forget_raw()
        self._finish_step()

    def _finish_step(self) -> None:
        # 1. Charged before made.
        self._sums.require_finite()
        self._leases.take()
        # 2. Canaries join the sum as records do. 3. This rank's share of the noise.
        if self.observer is not None and self._ranks.rank == 0:
            self._sums.add(self.observer.contribution())
        noised = self._sums.release()
        noised += self._noise.draw(self._sums.size, deviation=self._share).to(noised.device)
        # 4. From here on everything is private, and may be sent, seen and kept.
        total = self._ranks.total(noised)
        if self.observer is not None:
            self.observer.observe(total)
        self._sums.assign(total / self._expected_batch)
        self._step()
        self.made += 1
        self.after()


def _nothing() -> None:
    return None
