"""Gaussian noise for gradient sums, in float64, from a keystream.

Each sample is half the sum of four Box-Muller draws, which has the same distribution, while the
floating-point pattern that betrays a single draw (Mironov, CCS 2012) is spread over four: an
attacker who knows the sum must search their joint preimages (Holohan and Braghin, 2021). Noise on
a real line that a float64 grid approximates remains an approximation; docs/training.md says so.
"""

import math
from typing import Protocol

import numpy as np
import torch

from privacy.training.keystream import Keystream

_DRAWS = 4
_MANTISSA_SHIFT = np.uint64(11)
_UNIT = 2.0**-53


class Noise(Protocol):
    """Where a step's noise comes from."""

    def draw(self, count: int, *, deviation: float) -> torch.Tensor:
        """Return float64 [count], independent, mean 0, of that standard deviation."""
        ...


class GaussianSource:
    """Draws Gaussian vectors; holds the keystream that they come from."""

    def __init__(self, keystream: Keystream) -> None:
        self._keystream = keystream

    def draw(self, count: int, *, deviation: float) -> torch.Tensor:
        """Return float64 [count], independent, mean 0, of that standard deviation."""
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(_DRAWS):
            total += self._box_muller(count)
        # Half the sum of four unit normals is a unit normal.
        return total.mul_(deviation / math.sqrt(_DRAWS))

    def _box_muller(self, count: int) -> torch.Tensor:
        """Return float64 [count] unit normals, two from two uniforms (Box and Muller, 1958)."""
        half = (count + 1) // 2
        words = self._keystream.words(2 * half) >> _MANTISSA_SHIFT
        # 53 bits, moved by half a step: never 0, whose logarithm is infinite, and never 1.
        uniform = torch.from_numpy(words.view(np.int64)).to(torch.float64).add_(0.5).mul_(_UNIT)
        radius = uniform[:half].log_().mul_(-2.0).sqrt_()
        angle = uniform[half:].mul_(2.0 * math.pi)
        return torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)])[:count]
