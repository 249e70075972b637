"""Guessing keys: an address that was wrong too often is not listened to for a while.

A right key does not count, so that clients behind one address do not lock each other out by
working; a wrong one does, whoever sends it.
"""

from collections import OrderedDict
from collections.abc import Callable

from gateway.errors import RequestRefused

# Addresses remembered at most; the one heard of least recently goes first.
REMEMBERED = 10_000


class Throttle:
    """Counts wrong keys by address. For one event loop; holds no lock.

    most: wrong keys within `window_s`. clock: seconds that never go back.
    """

    def __init__(self, *, most: int, window_s: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._window_s = window_s
        self._clock = clock
        # How many were wrong, and since when, by address.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def require_calm(self, address: str | None) -> None:
        """Raise if the address was wrong too often.

        Raises:
            RequestRefused: 429 `too_many_attempts`; the key was not even looked at.
        """
        count, since = self._wrong.get(_network(address), (0, 0.0))
        left_s = since + self._window_s - self._clock()
        if count >= self._most and left_s > 0:
            raise RequestRefused(
                f"Too many wrong keys came from this address. Try again in {left_s:.0f} s.",
                status=429,
                kind="rate_limit_error",
                code="too_many_attempts",
                retry_after_s=left_s,
            )

    def wrong(self, address: str | None) -> None:
        """Count a wrong key."""
        name, now = _network(address), self._clock()
        count, since = self._wrong.pop(name, (0, now))
        if now - since >= self._window_s:
            count, since = 0, now
        self._wrong[name] = (count + 1, since)
        if len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)


def _network(address: str | None) -> str:
    """Return what counts as one address: an IPv6 host owns its whole /64."""
    if address is None:
        return "unknown"
    if ":" not in address or "." in address:
        return address
    groups = address.split("%")[0].split("::")[0].split(":")
    return ":".join([*groups, "0", "0", "0", "0"][:4])
