"""Finds the codewords that a table of scores speaks for, without a list of ids.

Four symbols determine a codeword. For each choice of four among the six most reliable positions,
pairs of promising symbols are combined into codewords, best first, and each is scored over all
eight positions. What cannot reach the floor asked for is left out early. The search is a list
decoder: it may miss the best codeword when that lies far down the list at many positions, which
costs sensitivity and never soundness.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from watermark.code import ALPHABET, DIMENSION, LENGTH, spanning, symbols
from watermark.tally import Table

_RELIABLE = 6
_SYMBOLS = 24
_PAIRS = 96


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Different codewords, the best first.

    codewords: uint64 [n], packed. scores: float64 [n].
    """

    codewords: NDArray[np.uint64]
    scores: NDArray[np.float64]


def decode(table: Table, *, floor: float, within: float = 0.0) -> Candidates:
    """Return the best codeword found that scores at least `floor`, with those near it.

    table: float64 [8, 256]. within: how far below the best a codeword may score, in nats.
    """
    maxima = table.max(axis=1)
    best = Candidates(np.zeros(0, np.uint64), np.zeros(0))
    for chosen in combinations(_by_reliability(table, maxima)[:_RELIABLE], DIMENSION):
        rest = float(maxima.sum() - maxima[list(chosen)].sum())
        found = np.concatenate([best.codewords, _spanned(table, chosen, floor - rest)])
        best = ranked(table, np.unique(found), floor=floor)
        if best.scores.size:
            floor = max(floor, float(best.scores[0]) - within)
    return ranked(table, best.codewords, floor=floor)


def ranked(table: Table, codewords: NDArray[np.uint64], *, floor: float) -> Candidates:
    """Score different codewords and return those of at least `floor`, the best first."""
    scores = table[np.arange(LENGTH), symbols(codewords)].sum(axis=1)
    kept = np.flatnonzero(scores >= floor)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    return Candidates(codewords[order], scores[order])


def _by_reliability(table: Table, maxima: NDArray[np.float64]) -> list[int]:
    """Order positions by the posterior probability of their best symbol, the surest first."""
    doubt = np.exp(table - maxima[:, None]).sum(axis=1)
    return [int(position) for position in np.argsort(doubt, kind="stable")]


def _spanned(table: Table, rows: tuple[int, ...], floor: float) -> NDArray[np.uint64]:
    """Return codewords whose symbols at four positions sum to `floor` or more."""
    a, b, c, d = rows
    one, two, three, four = sorted(rows)
    # Tabulated for ascending positions alone, of which there are only 70.
    parts = spanning((one, two, three, four))[np.argsort(np.argsort(rows))]
    left_scores, left = _pairs(table[a], table[b], parts[0], parts[1])
    right_scores, right = _pairs(table[c], table[d], parts[2], parts[3])
    i, j = np.nonzero(left_scores[:, None] + right_scores[None, :] >= floor)
    return left[i] ^ right[j]


def _pairs(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_part: NDArray[np.uint64],
    second_part: NDArray[np.uint64],
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Return the best pairs of symbols at two positions: their scores and partial codewords."""
    one = np.argpartition(first, ALPHABET - _SYMBOLS)[-_SYMBOLS:]
    two = np.argpartition(second, ALPHABET - _SYMBOLS)[-_SYMBOLS:]
    sums = (first[one][:, None] + second[two][None, :]).ravel()
    best = np.argpartition(sums, sums.size - _PAIRS)[-_PAIRS:]
    codewords = (first_part[one][:, None] ^ second_part[two][None, :]).ravel()
    return sums[best], codewords[best]
