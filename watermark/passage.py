"""A text as the detector sees it: the tokens that carry evidence, each with its context."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.keys import TOKEN_BITS
from watermark.prf import CONTEXT, checked


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """The scored tokens of a text, in its order: the first after each different context.

    index: int64 [n], where in the text. contexts, tokens: uint64 [n], contexts packed.
    """

    index: NDArray[np.int64]
    contexts: NDArray[np.uint64]
    tokens: NDArray[np.uint64]

    @property
    def size(self) -> int:
        """How many tokens are scored."""
        return int(self.index.size)

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Return the tokens of the text that scored tokens [first, end) cover with contexts."""
        return int(self.index[first]) - CONTEXT, int(self.index[end - 1]) + 1


def read(ids: Sequence[int] | NDArray[np.int64]) -> Passage:
    """Find the scored tokens of a text.

    A repeated context is left out: its value would be the same again, and the sampler did not
    mark there.

    Raises:
        TokenOutOfRange: A token id is negative or has more than 18 bits.
    """
    words = checked(ids)
    if words.size <= CONTEXT:
        nothing = np.zeros(0, np.uint64)
        return Passage(np.zeros(0, np.int64), nothing, nothing)
    contexts = words[:-2] << np.uint64(TOKEN_BITS) | words[1:-1]
    _, first = np.unique(contexts, return_index=True)
    first.sort()
    return Passage(first + CONTEXT, contexts[first], words[CONTEXT:][first])
