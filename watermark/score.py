"""How much a drawn value speaks for a mark: a log-likelihood ratio, tabulated.

A marked token of probability p has u = Z^p, Z uniform, hence density (1/p) u^(1/p - 1); an
unmarked one has u uniform. The score of u is ln[(1 - e) f(u) + e], f the mean of that density
over a prior on p, and e the share of tokens that an editor replaced.

The line is divided into cells, and f is averaged over each cell exactly, from its closed-form
integral. So E[exp(score)] = 1 for an unmarked token by construction, not by calibration: each
score is lowered by `MARGIN`, which exceeds every rounding error, to make that "at most 1".
Cells follow c = 2^53 - 1 - (w >> 11), that is 1 - u: one for c = 0, then 32 an octave.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

EPSILONS = (0.1, 0.5, 0.8)
MARGIN = 1e-9
CELLS = 1 + 53 * 32

# Probability of the token drawn, and how many in a thousand tokens have it: a Beta(0.4, 0.6)
# distribution in 17 points, close to small and large models alike at temperature 1.
PRIOR = (
    (0.001, 59),
    (0.003, 35),
    (0.01, 44),
    (0.02, 44),
    (0.04, 53),
    (0.07, 48),
    (0.1, 48),
    (0.15, 52),
    (0.2, 61),
    (0.3, 74),
    (0.4, 65),
    (0.5, 61),
    (0.6, 60),
    (0.7, 61),
    (0.8, 66),
    (0.9, 69),
    (0.97, 100),
)

_FULL = 1 << 53
_CELL_BITS = 5
_EXPONENT_BIAS = 1023
_CELL_SHIFT = 52 - _CELL_BITS
_FIRST = (_EXPONENT_BIAS << _CELL_BITS) - 1


def cells(draws: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the cell of each draw.

    draws: w >> 11, uint64 of any shape, below 2^53.
    """
    # The exponent and first five mantissa bits of c as a float64 are the cell; c is exact in it.
    complement = (np.uint64(_FULL - 1) - draws).view(np.int64).astype(np.float64)
    found: NDArray[np.int64] = (complement.view(np.int64) >> _CELL_SHIFT) - _FIRST
    np.maximum(found, 0, out=found)
    return found


@cache
def tables() -> NDArray[np.float64]:
    """Return the score of each cell under each e of `EPSILONS`: float64 [3, 1697]."""
    edges = np.array([_edge(cell) for cell in range(CELLS + 1)], np.float64)
    # A few narrow cells hold no integer and are never looked up; the mean there is that of none.
    wide = np.diff(edges) > 0
    mean = np.ones(CELLS)
    mean[wide] = _mean_density(edges[:-1][wide] / _FULL, edges[1:][wide] / _FULL)
    scores = np.stack([np.log((1 - e) * mean + e) - MARGIN for e in EPSILONS])
    scores.setflags(write=False)
    return scores


@cache
def ceiling() -> float:
    """Return the largest score that one token can have."""
    return float(tables().max())


def _edge(cell: int) -> int:
    """Return the smallest c of a cell; of cell `CELLS`, 2^53."""
    if cell == 0:
        return 0
    octave, step = divmod(cell - 1, 1 << _CELL_BITS)
    return math.ceil((1 << octave) * (32 + step) / 32)


def _mean_density(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average f over 1 - u in [low, high), for each cell.

    The integral of (1/p) u^(1/p - 1) is u^(1/p). The difference of two such powers is taken
    through expm1, so that cells near u = 1 keep all their digits.
    """
    mass = np.zeros(low.size)
    # The last cell reaches u = 0, where the logarithm is minus infinity and the power zero.
    with np.errstate(divide="ignore"):
        step = np.log1p(-(high - low) / (1 - low))
    for probability, thousandths in PRIOR:
        exponent = 1 / probability
        upper = np.exp(exponent * np.log1p(-low))
        mass += thousandths / 1000 * upper * -np.expm1(exponent * step)
    return mass / (high - low)
