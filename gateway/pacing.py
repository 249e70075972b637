"""How often one caller may do what is costly, or what answers could be learnt from by asking."""

from collections import deque
from collections.abc import Callable

from gateway.errors import RequestRefused

_MINUTE_S = 60.0


class Pace:
    """Counts each caller's calls over the last minute. For one event loop; holds no lock.

    per_minute: calls allowed. clock: seconds that never go back.
    """

    def __init__(self, *, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._calls: dict[str, deque[float]] = {}

    def take(self, caller: str) -> None:
        """Count a call.

        Raises:
            RequestRefused: 429 `rate_limit_exceeded`; the call does not count.
        """
        now = self._clock()
        self._forget(now)
        calls = self._calls.setdefault(caller, deque())
        if len(calls) >= self._per_minute:
            wait_s = max(1, round(calls[0] + _MINUTE_S - now))
            raise RequestRefused(
                f"This credential may ask {self._per_minute} times a minute. "
                f"Try again in {wait_s} s.",
                status=429,
                kind="rate_limit_error",
                code="rate_limit_exceeded",
            )
        calls.append(now)

    def _forget(self, now: float) -> None:
        """Drop calls older than a minute, and callers without any: what is held stays bounded."""
        for caller in list(self._calls):
            calls = self._calls[caller]
            while calls and calls[0] <= now - _MINUTE_S:
                calls.popleft()
            if not calls:
                del self._calls[caller]
