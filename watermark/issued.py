"""Searches the ids issued under a key for those that a table of scores speaks for.

The codewords are sorted by their first two symbols. Pairs of symbols that are too far below the
best for the floor asked for rule out all their codewords at once, so that a million ids cost
little more than the few that remain. Nothing that reaches the floor is missed.
"""

import numpy as np
from numpy.typing import NDArray

from watermark.code import ALPHABET, encode
from watermark.decoding import Candidates, ranked
from watermark.tally import Table

_PAIRS = ALPHABET * ALPHABET


class IssuedIds:
    """The ids issued under one key.

    trace_ids: uint32 [n], in any order. `size` counts them as given, repeats too.
    """

    def __init__(self, trace_ids: NDArray[np.uint32]) -> None:
        self.size = int(trace_ids.size)
        codewords = encode(trace_ids.astype(np.uint32))
        # On a little-endian uint64 the low 16 bits are symbol 0 and, above it, symbol 1.
        pairs = codewords.astype(np.uint16)
        order = np.argsort(pairs, kind="stable")
        self._codewords = codewords[order]
        self._starts = np.searchsorted(pairs[order], np.arange(_PAIRS + 1))

    def search(self, table: Table, *, floor: float, within: float = 0.0) -> Candidates:
        """Return the best issued codeword that scores at least `floor`, with those near it.

        table: float64 [8, 256]. within: how far below the best a codeword may score, in nats.
        """
        rest = float(table[2:].max(axis=1).sum())
        pairs = table[1][:, None] + table[0][None, :]
        admitted = np.flatnonzero(pairs.ravel() >= floor - rest)
        found = ranked(table, np.unique(self._bucketed(admitted)), floor=floor)
        if not found.scores.size:
            return found
        near = int((found.scores >= found.scores[0] - within).sum())
        return Candidates(found.codewords[:near], found.scores[:near])

    def _bucketed(self, pairs: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the codewords that begin with any of these pairs of symbols."""
        starts = self._starts[pairs]
        counts = self._starts[pairs + 1] - starts
        # Each bucket's indices follow one another: its start, shifted by what came before it.
        before = np.cumsum(counts) - counts
        found: NDArray[np.uint64] = self._codewords[
            np.repeat(starts - before, counts) + np.arange(counts.sum())
        ]
        return found
