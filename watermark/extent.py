"""How far a mark reaches beyond the window in which it was found.

Windows have few widths and starts; an id that is known has a score at every token. Its window is
extended on either side to where the sum of these scores is largest. The bound does not change by
it: the window alone was tested.
"""

import numpy as np
from numpy.typing import NDArray

from watermark import code, score
from watermark.passage import Passage
from watermark.prf import MarkCipher
from watermark.search import Finding


def extent(passage: Passage, key: bytes, found: Finding) -> tuple[int, int]:
    """Return the scored tokens that carry a mark, end exclusive: at least its window."""
    start, end = found.sighting.window
    scores = _scores(MarkCipher(key), passage, found)
    return start - _gaining(scores[:start][::-1]), end + _gaining(scores[end:])


def _scores(cipher: MarkCipher, passage: Passage, found: Finding) -> NDArray[np.float64]:
    """Return the score of the id at each scored token: float64 [n]."""
    symbols = code.symbols(np.array([found.codeword]))[0].astype(np.uint64)
    draws = cipher.draws(
        passage.contexts, passage.tokens, symbols[cipher.positions(passage.contexts)]
    )
    scores: NDArray[np.float64] = score.tables()[found.sighting.epsilon, score.cells(draws)]
    return scores


def _gaining(scores: NDArray[np.float64]) -> int:
    """Return how many of the next scores together add most; none if each sum is a loss."""
    if not scores.size:
        return 0
    sums = scores.cumsum()
    most = int(sums.argmax())
    return most + 1 if sums[most] > 0 else 0
