"""Poisson sampling: every record joins every step on its own coin, as the accountant assumes.

Shuffling and cutting into batches of one size is another mechanism with a weaker bound; nothing
here does that.
"""

import numpy as np
from numpy.typing import NDArray

from privacy.training.keystream import Keystream

_WORD_RANGE = 1 << 64


class PoissonSampler:
    """Draws the records of one step after the other.

    records: how many there are. rate: chance of each to join a step, 0 < rate <= 1.
    """

    def __init__(self, keystream: Keystream, *, records: int, rate: float) -> None:
        self._keystream = keystream
        self._records = records
        # Rounded down: no record joins more often than the accountant was told. The comparison
        # is on whole words because a uniform in float64 would round.
        self._threshold = min(int(rate * _WORD_RANGE), _WORD_RANGE)

    def draw(self) -> NDArray[np.int64]:
        """Return the indices of the records that join the next step, ascending; maybe none."""
        words = self._keystream.words(self._records)
        if self._threshold == _WORD_RANGE:
            return np.arange(self._records, dtype=np.int64)
        return np.flatnonzero(words < np.uint64(self._threshold)).astype(np.int64)
