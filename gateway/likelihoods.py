"""Likelihoods as a worker tells them, made fit to be sent: bytes, and numbers that JSON has."""

import math
from collections.abc import Callable, Sequence

from gateway.question import TokenLikelihood
from sandbox.wire import MOST_LIKELY, Likelihood

# What OpenAI sends where a logarithm would be minus infinity, which JSON cannot hold.
IMPOSSIBLE = -9999.0


def likelihoods(
    told: Sequence[Likelihood], token_bytes: Callable[[int], bytes]
) -> list[TokenLikelihood]:
    """Turn what came out of a sandbox into what may be sent; nothing in it is trusted."""
    return [
        TokenLikelihood(
            token=token_bytes(each.token),
            logprob=_sendable(each.logprob),
            top=tuple((token_bytes(t), _sendable(p)) for t, p in each.top[:MOST_LIKELY]),
        )
        for each in told
    ]


def _sendable(logprob: float) -> float:
    return logprob if math.isfinite(logprob) and logprob > IMPOSSIBLE else IMPOSSIBLE
