"""From logits to the candidates that a sampler draws from: temperature, top-k, min-p, top-p."""

import numpy as np
from numpy.typing import NDArray


def candidates(
    logits: NDArray[np.float32],
    *,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return token ids and their probabilities, most probable first.

    logits: float32 [vocabulary]. temperature: 0 keeps the most probable token alone. top_p: the
    smallest set of the most probable that holds at least this mass. min_p: what has less than this
    share of the most probable's probability is left out first. The probabilities sum to 1.

    Raises:
        FloatingPointError: A logit is not a number, or none is finite.
    """
    if temperature == 0:
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise FloatingPointError
        return np.array([best], np.int64), np.ones(1)
    kept = min(top_k, logits.size)
    ids = np.argpartition(logits, logits.size - kept)[logits.size - kept :]
    # Equal logits come in the order of their ids, so that a seeded answer repeats.
    ids = ids[np.lexsort((ids, -logits[ids]))]
    scaled = logits[ids].astype(np.float64) / temperature
    # One value that is not a number makes the whole sum none, wherever it was sorted to.
    with np.errstate(invalid="ignore"):
        probs = np.exp(scaled - scaled[0])
    if not np.isfinite(probs.sum()):
        raise FloatingPointError
    if min_p > 0:
        kept = int((probs >= min_p).sum())
        ids, probs = ids[:kept], probs[:kept]
    probs /= probs.sum()
    if top_p < 1:
        kept = int(np.searchsorted(np.cumsum(probs), top_p)) + 1
        ids, probs = ids[:kept], probs[:kept]
        probs /= probs.sum()
    return ids.astype(np.int64), probs
