"""Penalties and biases: what a request adds to a model's logits, token by token.

The order is vLLM's: biases, then the repetition penalty over prompt and answer, then the frequency
and presence penalties over the answer alone. Temperature and the choice of candidates come after.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sandbox.wire import Shaping


class Shaper:
    """Bends the logits of one answer. prompt: its token ids.

    A token id that the model does not have is passed over.
    """

    def __init__(self, shaping: Shaping, prompt: Sequence[int], *, vocabulary: int) -> None:
        self._shaping = shaping
        self._vocabulary = vocabulary
        biased = {t: b for t, b in shaping.logit_bias.items() if 0 <= t < vocabulary}
        self._biased = np.array(list(biased), np.int64)
        self._biases = np.array(list(biased.values()), np.float32)
        self._seen = np.zeros(vocabulary, bool)
        self._counts = np.zeros(vocabulary, np.float32)
        self._seen[[token for token in prompt if 0 <= token < vocabulary]] = True

    def note(self, token: int) -> None:
        """Count a token of the answer."""
        if token < self._vocabulary:
            self._seen[token] = True
            self._counts[token] += 1

    def shape(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits as the request wants them; unchanged if it wants nothing.

        logits: float32 [vocabulary]; left as it is.
        """
        wanted = self._shaping
        if wanted == Shaping():
            return logits
        shaped = logits.copy()
        shaped[self._biased] += self._biases
        if wanted.repetition_penalty != 1:
            seen = shaped[self._seen]
            factor = np.float32(wanted.repetition_penalty)
            shaped[self._seen] = np.where(seen > 0, seen / factor, seen * factor)
        if wanted.frequency_penalty or wanted.presence_penalty:
            shaped -= np.float32(wanted.frequency_penalty) * self._counts
            shaped -= np.float32(wanted.presence_penalty) * (self._counts > 0)
        return shaped
