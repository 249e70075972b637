"""Two published watermarks, small: what Sealgate's is measured beside.

Own minimal implementations, labelled so in the table. Both keep the published scheme and take
their randomness from AES, as our mark does, so that only the schemes differ. Neither names a
request: they tell marked from unmarked, and the p-values here are exact binomial tails.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.prf import MarkCipher, checked, pack

Ids = NDArray[np.int64]
Probs = NDArray[np.float64]
SYNTHID_LAYERS = 30
KGW_GREEN = 0.25
KGW_BIAS = 2.0


@dataclass(frozen=True, slots=True)
class Kgw:
    """Red and green lists (Kirchenbauer et al., 2023): 2 nats for a quarter of the vocabulary."""

    key: bytes

    def draw(self, context: tuple[int, int], ids: Ids, probs: Probs, random: float) -> int:
        """Choose a candidate by the tilted probabilities. random: uniform in [0, 1)."""
        green = _uniform(self.key, (0, context[1]), ids) < KGW_GREEN
        tilted = probs * np.exp(KGW_BIAS * green)
        return _inverted(tilted, random)

    def p_value(self, tokens: Sequence[int]) -> float:
        """Bound the probability of so many green tokens among different pairs."""
        pairs = sorted(set(itertools.pairwise(tokens)))
        green = sum(
            bool(_uniform(self.key, (0, before), np.array([token]))[0] < KGW_GREEN)
            for before, token in pairs
        )
        return binomial_tail(green, len(pairs), KGW_GREEN)


@dataclass(frozen=True, slots=True)
class SynthId:
    """Tournament sampling (Dathathri et al., Nature 2024): 30 layers of two leaves."""

    key: bytes

    def draw(self, context: tuple[int, int], ids: Ids, probs: Probs, random: float) -> int:
        """Choose a candidate by the tournament's probabilities; the caller leaves out repeats."""
        tilted = probs.copy()
        for layer in self._bits(context, ids).T:
            tilted *= 1 + layer - float(tilted @ layer)
        return _inverted(np.maximum(tilted, 0), random)

    def p_value(self, tokens: Sequence[int]) -> float:
        """Bound the probability of so many ones over all layers of different contexts."""
        seen: set[tuple[int, int]] = set()
        ones = trials = 0
        for older, newer, token in zip(tokens[:-2], tokens[1:-1], tokens[2:], strict=True):
            if (older, newer) not in seen:
                seen.add((older, newer))
                ones += int(self._bits((older, newer), np.array([token])).sum())
                trials += SYNTHID_LAYERS
        return binomial_tail(ones, trials, 0.5)

    def _bits(self, context: tuple[int, int], ids: Ids) -> NDArray[np.float64]:
        words = _words(self.key, context, ids)
        layers = np.arange(SYNTHID_LAYERS, dtype=np.uint64)
        return ((words[:, None] >> layers) & np.uint64(1)).astype(np.float64)


def binomial_tail(successes: int, trials: int, rate: float) -> float:
    """Return P(X >= successes) of a binomial variable."""
    terms = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(rate)
        + (trials - k) * math.log1p(-rate)
        for k in range(successes, trials + 1)
    ]
    return min(1.0, sum(math.exp(term) for term in terms))


def _words(key: bytes, context: tuple[int, int], ids: Ids) -> NDArray[np.uint64]:
    tokens = checked(ids)
    zeros = np.zeros(tokens.size, np.uint64)
    return MarkCipher(key).draws(np.uint64(pack(*context)), tokens, zeros)


def _uniform(key: bytes, context: tuple[int, int], ids: Ids) -> NDArray[np.float64]:
    return _words(key, context, ids).astype(np.float64) * 2.0**-53


def _inverted(weights: Probs, random: float) -> int:
    totals = weights.cumsum()
    return min(int(totals.searchsorted(random * totals[-1], side="right")), weights.size - 1)
