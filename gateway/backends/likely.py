"""Likelihoods as upstreams tell them, in either API's form. Pure; what is no number is refused."""

import math
from collections.abc import Iterator
from typing import Any

from gateway.backends.base import Likely
from gateway.errors import UpstreamFailed
from sandbox.wire import MOST_LIKELY

# More tokens than one event of a stream tells.
TOKEN_LIMIT = 4096
# What stands where a logarithm would be minus infinity, which JSON cannot hold.
IMPOSSIBLE = -9999.0


def read(told: object, *, bare: bool) -> tuple[Likely, ...]:
    """Return what a choice's `logprobs` say. bare: in the older API's form.

    Raises:
        UpstreamFailed: They are of another form.
    """
    if told is None:
        return ()
    try:
        found = tuple((_older if bare else _newer)(told))
    except (KeyError, TypeError, ValueError, AttributeError):
        found = None
    if found is None or len(found) > TOKEN_LIMIT:
        raise UpstreamFailed("garbage", "the likelihoods in its stream are of another kind")
    return found


def _newer(told: Any) -> Iterator[Likely]:
    for each in told["content"] or ():
        tops = list(each.get("top_logprobs") or ())[:MOST_LIKELY]
        yield Likely(*_pair(each), tuple(_pair(top) for top in tops))


def _pair(entry: Any) -> tuple[bytes, float]:
    spelt = entry.get("bytes")
    token = bytes(spelt) if isinstance(spelt, list) else _text(entry["token"])
    return token, _number(entry["logprob"])


def _older(told: Any) -> Iterator[Likely]:
    tokens, numbers = told["tokens"], told["token_logprobs"]
    tops = told.get("top_logprobs") or [{}] * len(tokens)
    for token, number, top in zip(tokens, numbers, tops, strict=True):
        likeliest = list((top or {}).items())[:MOST_LIKELY]
        pairs = tuple((_text(name), _number(value)) for name, value in likeliest)
        yield Likely(_text(token), _number(number), pairs)


def _text(token: Any) -> bytes:
    if not isinstance(token, str):
        raise TypeError
    return token.encode(errors="replace")


def _number(value: Any) -> float:
    if value is None:
        return IMPOSSIBLE
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise TypeError
    return max(IMPOSSIBLE, min(0.0, float(value)))
