"""Where in a text a mark lies that was found in a window of it.

Windows have few widths and starts, and the whole text is favoured among them; an id that is known
has a score at every token. The window is extended on either side to where the sum of these scores
is largest, and loses the ends that speak against the id. The bound does not change by it: the
window alone was tested.
"""

import math

import numpy as np
from numpy.typing import NDArray

from watermark import code, score
from watermark.passage import Passage
from watermark.prf import MarkCipher
from watermark.search import Finding

# An end is cut off whose scores make it this many times likelier that the mark is not there. Less
# is what a few unlucky tokens of a marked text come to.
_ODDS_AGAINST = 100


def extent(passage: Passage, key: bytes, found: Finding) -> tuple[int, int]:
    """Return the scored tokens that carry a mark, end exclusive."""
    start, end = found.sighting.window
    scores = _scores(MarkCipher(key), passage, found)
    start -= _gaining(scores[:start][::-1])
    end += _gaining(scores[end:])
    start += _opposing(scores[start:end])
    return start, end - _opposing(scores[start:end][::-1])


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


def _opposing(scores: NDArray[np.float64]) -> int:
    """Return how many of the first scores together take most away, if that is much."""
    sums = scores.cumsum()
    least = int(sums.argmin())
    return least + 1 if sums[least] < -math.log(_ODDS_AGAINST) else 0
