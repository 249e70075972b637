"""An endpoint's load as seen from here, joined with what it says of itself.

Its own word may be stale or false: what we gave it ourselves is always counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.backends.base import Load

# Weight of the newest time: about the last ten answers count.
SMOOTHING = 0.2


class Observed:
    """Counts for one event loop; holds no lock. clock: seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running = 0
        self._tokens = 0
        self._ttft_s: float | None = None
        self._itl_s: float | None = None
        self._told = (0, 0, 0.0)
        self._told_at: float | None = None

    @property
    def load(self) -> Load:
        """Join both."""
        running, waiting, fraction = self._told
        told_at = self._told_at
        return Load(
            running=max(running, self._running),
            waiting=waiting,
            kv_fraction=fraction,
            outstanding_tokens=self._tokens,
            ewma_ttft_s=self._ttft_s,
            ewma_itl_s=self._itl_s,
            age_s=float("inf") if told_at is None else self._clock() - told_at,
        )

    def told(self, running: int, waiting: int, kv_fraction: float) -> None:
        """Note what the endpoint says of itself."""
        self._told, self._told_at = (running, waiting, kv_fraction), self._clock()

    @contextmanager
    def answering(self, tokens: int) -> Iterator["Watch"]:
        """Count one answer of at most so many tokens while it lasts."""
        watch = Watch(self, tokens, self._clock())
        self._running += 1
        self._tokens += tokens
        try:
            yield watch
        finally:
            self._running -= 1
            self._tokens -= watch.left

    def first(self, seconds: float) -> None:
        """Note the time to a first token."""
        self._ttft_s = _smoothed(self._ttft_s, seconds)

    def next(self, seconds: float) -> None:
        """Note the time between two tokens."""
        self._itl_s = _smoothed(self._itl_s, seconds)
        self._tokens -= 1


class Watch:
    """Times one answer."""

    def __init__(self, observed: Observed, tokens: int, now: float) -> None:
        self._observed = observed
        self._last = now
        self._begun = False
        self.left = tokens

    def token(self) -> None:
        """Note that text came."""
        now = self._observed._clock()  # noqa: SLF001 - two halves of one thing
        elapsed, self._last = now - self._last, now
        if not self._begun:
            self._begun = True
            self._observed.first(elapsed)
        elif self.left > 1:
            self.left -= 1
            self._observed.next(elapsed)


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + SMOOTHING * (now - before)
