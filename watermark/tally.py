"""Sums the scores of a text into one table per window: codeword position by symbol.

Only the detector's arithmetic is here, no decision. The cost of a text is here too: 256 values of
the keyed function for each scored token.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark import score
from watermark.code import ALPHABET, LENGTH
from watermark.passage import Passage
from watermark.prf import AlphabetCipher, MarkCipher

# Windows compared at a time: their tables fit a processor's cache.
_BATCH = 64
Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Running sums of a stretch of scored tokens, kept where a window begins or ends.

    edges: int64 [b], scored-token indices, ascending. sums: float64 [e values, b, 8, 256], the
    scores of the tokens from edges[0] to each edge.
    """

    edges: NDArray[np.int64]
    sums: NDArray[np.float64]

    def table(self, epsilon: int, start: int, end: int) -> Table:
        """Return the table of the window [start, end): float64 [8, 256]."""
        first, last = np.searchsorted(self.edges, (start, end))
        table: Table = self.sums[epsilon, last] - self.sums[epsilon, first]
        return table

    def ceilings(self, windows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Bound what any codeword can score: the sum of row maxima, float64 [e values, m].

        windows: int64 [m, 2].
        """
        found = np.empty((self.sums.shape[0], len(windows)))
        for begin in range(0, len(windows), _BATCH):
            part = slice(begin, begin + _BATCH)
            first, last = np.searchsorted(self.edges, windows[part].T)
            for epsilon, sums in enumerate(self.sums):
                found[epsilon, part] = (sums[last] - sums[first]).max(axis=2).sum(axis=1)
        return found


def tally(cipher: MarkCipher, passage: Passage, edges: NDArray[np.int64]) -> Tally:
    """Score the tokens between the first and the last of `edges` under one key.

    edges: int64 [b], scored-token indices, ascending, b at least 2.
    """
    covered = np.arange(edges[0], edges[-1])
    positions = cipher.positions(passage.contexts[covered])
    segments = np.searchsorted(edges, covered, side="right")
    groups = segments * LENGTH + positions
    # Sorted by group, the tokens of a group are summed by one reduction over rows.
    order = np.argsort(groups, kind="stable")
    covered, groups = covered[order], groups[order]
    sums = np.zeros((len(score.EPSILONS), edges.size * LENGTH, ALPHABET))
    alphabet = AlphabetCipher(cipher)
    for begin in range(0, covered.size, alphabet.BATCH):
        part = covered[begin : begin + alphabet.BATCH]
        cells = score.cells(alphabet.draws(passage.contexts[part], passage.tokens[part]))
        _add(sums, groups[begin : begin + alphabet.BATCH], cells)
    table = sums.reshape(len(score.EPSILONS), edges.size, LENGTH, ALPHABET)
    # Row by row: a cumulative sum along this axis would stride through memory.
    for edge in range(1, edges.size):
        table[:, edge] += table[:, edge - 1]
    return Tally(edges, table)


def _add(sums: NDArray[np.float64], groups: NDArray[np.int64], cells: NDArray[np.int64]) -> None:
    """Add the scores of a batch, int64 [n, 256], to the rows of their groups, ascending."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    for row, scores in zip(sums, score.tables(), strict=True):
        row[groups[starts]] += np.add.reduceat(scores.take(cells), starts, axis=0)
