"""Canaries: fake records whose gradient is one coordinate, to audit a run by (white box).

Each canary tosses a coin before the run; the included ones join steps by Poisson sampling, as
records do, and their far too long gradients are clipped by the code that clips records'. They
count against nobody's privacy. Who sees every released sum scores a canary by its coordinate; the
scores go to auditing.py.
"""

import numpy as np
import torch

from privacy.training import gradients
from privacy.training.evidence import Scores, log_ratio
from privacy.training.keystream import Keystream
from privacy.training.mechanism import Plan
from privacy.training.sampling import PoissonSampler

# How much longer than the bound a canary's gradient is before it is clipped.
_EXCESS = 64.0


class Canaries:
    """The canaries of one run.

    count: at most size, how many numbers a gradient has. clip: the bound on a gradient's norm.
    """

    def __init__(
        self, count: int, *, size: int, clip: float, plan: Plan, keystream: Keystream
    ) -> None:
        order = np.argsort(keystream.words(size), kind="stable")
        self._coordinates = order[:count].astype(np.int64)
        self._members = (keystream.words(count) & np.uint64(1)).astype(np.bool_)
        self._included = self._coordinates[self._members]
        self._size = size
        self._clip = clip
        self._plan = plan
        self._sampler = PoissonSampler(
            keystream, records=len(self._included), rate=plan.sampling_rate
        )
        self._evidence = np.zeros(count)

    @property
    def count(self) -> int:
        """How many canaries there are, included or not."""
        return len(self._members)

    def contribution(self) -> torch.Tensor:
        """Return the sum of the clipped gradients of those that join, float64 [size]."""
        total = torch.zeros(self._size, dtype=torch.float64)
        raw = torch.tensor([_EXCESS * self._clip])
        value = float(raw * gradients.clip_factors(raw, self._clip))
        total[torch.from_numpy(self._included[self._sampler.draw()])] = value
        return total

    def observe(self, released: torch.Tensor) -> None:
        """See a released sum, [size]."""
        wanted = torch.from_numpy(self._coordinates).to(released.device)
        values = released[wanted].double().cpu().numpy() / self._clip
        self._evidence += log_ratio(values, self._plan)

    def scores(self) -> Scores:
        """Return the evidence so far that each canary is a member."""
        return Scores(self._members.copy(), self._evidence.copy())
