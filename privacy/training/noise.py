"""Gaussian noise for gradient sums, in float64, from a keystream.

Each sample is half the sum of four Box-Muller draws, which has the same distribution, while the
floating-point pattern that betrays a single draw (Mironov, CCS 2012) is spread over four: an
attacker who knows the sum must search their joint preimages (Holohan and Braghin, 2021). Noise on
a real line that a float64 grid approximates remains an approximation; docs/training.md says so.
"""

import math
from typing import Protocol

import torch

from privacy.training.devicestream import DeviceKeystream
from privacy.training.keystream import Keystream

_DRAWS = 4
_MANTISSA_BITS = 53
# Samples made at once: on a processor their intermediates stay in its cache.
_AT_ONCE = 1 << 14
_AT_ONCE_ON_DEVICE = 1 << 20


class Noise(Protocol):
    """Where a step's noise comes from."""

    def draw(self, count: int, *, deviation: float) -> torch.Tensor:
        """Return float64 [count], independent, mean 0, of that standard deviation."""
        ...


class GaussianSource:
    """Draws Gaussian vectors; holds the keystream that they come from."""

    def __init__(self, keystream: Keystream | DeviceKeystream) -> None:
        self._keystream = keystream
        self._device = keystream.device
        on_processor = self._device.type == "cpu"
        self._at_once = _AT_ONCE if on_processor else _AT_ONCE_ON_DEVICE

    def draw(self, count: int, *, deviation: float) -> torch.Tensor:
        """Return float64 [count], independent, mean 0, of that standard deviation."""
        total = torch.empty(count, dtype=torch.float64, device=self._device)
        for start in range(0, count, self._at_once):
            part = total[start : start + self._at_once]
            half = (len(part) + 1) // 2
            bits = self._keystream.bits(2 * _DRAWS * half).view(2, _DRAWS, half)
            part.copy_(_summed(bits)[: len(part)])
        # Half the sum of four unit normals is a unit normal.
        return total.mul_(deviation / math.sqrt(_DRAWS))


def _summed(bits: torch.Tensor) -> torch.Tensor:
    """Return sums of four unit normals, float64 [2 * half], from int64 [2, 4, half], used up.

    Two normals come from two uniforms (Box and Muller, 1958); they go into different samples.
    """
    # The highest 53 bits, moved by half a step: never 0, whose logarithm is infinite, and never 1.
    bits.bitwise_right_shift_(64 - _MANTISSA_BITS).bitwise_and_((1 << _MANTISSA_BITS) - 1)
    uniform = bits.to(torch.float64).add_(0.5).mul_(2.0**-_MANTISSA_BITS)
    radius = uniform[0].log_().mul_(-2.0).sqrt_()
    angle = uniform[1].mul_(2.0 * math.pi)
    first = angle.cos().mul_(radius).sum(dim=0)
    return torch.cat([first, angle.sin_().mul_(radius).sum(dim=0)])
