"""How likely the model itself held a token: its own prediction, before a request bends it."""

import numpy as np
from numpy.typing import NDArray

from sandbox.wire import Likelihood


def likelihood(logits: NDArray[np.float32], token: int, *, top: int) -> Likelihood:
    """Return a token's log-probability, and those of the `top` most likely tokens.

    logits: float32 [vocabulary], all finite or minus infinity, at least one finite.
    """
    wide = logits.astype(np.float64)
    peak = wide.max()
    total = peak + np.log(np.exp(wide - peak).sum())
    kept = min(top, wide.size)
    best = np.argsort(-wide, kind="stable")[:kept]
    return Likelihood(
        token=token,
        logprob=float(wide[token] - total),
        top=[(i, float(wide[i] - total)) for i in map(int, best)],
    )
