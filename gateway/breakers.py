"""Breakers and budgets: when an endpoint is left alone, and how often anything is tried twice.

State machines with the clock passed in; for one event loop, no lock.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strain:
    """When a breaker opens and for how long, in seconds; each reopening doubles the rest."""

    failures: int = 3
    rest_s: float = 2.0
    longest_rest_s: float = 60.0


class Breaker:
    """Closed, open, or half-open with one trial on its way.

    Only answers count, good or failed: an endpoint's own word of its health moves nothing.
    """

    def __init__(self, clock: Callable[[], float], strain: Strain | None = None) -> None:
        self._clock = clock
        self._strain = strain or Strain()
        self._failures = 0
        self._openings = 0
        self._until: float | None = None
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether nothing may go through now."""
        if self._until is None:
            return False
        return self._trial or self._clock() < self._until

    def begin(self) -> None:
        """Note that an answer begins; past an open breaker's rest it is the one trial."""
        if self._until is not None:
            self._trial = True

    def succeeded(self) -> None:
        """Close."""
        self._failures = self._openings = 0
        self._until, self._trial = None, False

    def failed(self) -> None:
        """Count a failure; open at the limit, and at once after a failed trial."""
        self._failures += 1
        if self._until is None and self._failures < self._strain.failures:
            return
        rest = self._strain.rest_s * 2**self._openings
        self._openings = min(self._openings + 1, 16)
        self._until = self._clock() + min(rest, self._strain.longest_rest_s)
        self._trial = False

    def abandoned(self) -> None:
        """Note that an answer was called off by its client: it proves nothing."""
        self._trial = False


class Budget:
    """A share of all requests, saved up to a small reserve: retries 10 %, hedges 2 %."""

    def __init__(self, share: float, *, reserve: float = 1.0, most: float = 10.0) -> None:
        self._share = share
        self._saved = reserve
        self._most = most

    def request(self) -> None:
        """Count a request."""
        self._saved = min(self._most, self._saved + self._share)

    def take(self) -> bool:
        """Take one if it is there."""
        # Ten tenths add up to a hair less than one.
        if self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True
