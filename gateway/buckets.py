"""A token bucket, which a minute limit is kept by."""

from dataclasses import dataclass

_MINUTE_S = 60.0


@dataclass(slots=True)
class Bucket:
    """A token bucket: holds a minute's worth and fills evenly. Time is the caller's.

    spent: since other gateways were last told.
    """

    left: float
    seen_s: float
    spent: float = 0.0

    def take(self, amount: float) -> None:
        """Take out, or put back by a negative amount."""
        self.left -= amount
        self.spent += amount

    def learn(self, left: float, now: float) -> None:
        """Take over what all gateways left, less what was taken here since that was told."""
        self.left, self.seen_s = left - self.spent, now

    def told(self) -> float:
        """Return what was taken since this was last asked."""
        spent, self.spent = self.spent, 0.0
        return spent

    def wait_s(self, amount: float, *, per_minute: int, now: float) -> float:
        """Fill up, and return how long until `amount` is there: 0 if it is."""
        gained = (now - self.seen_s) * per_minute / _MINUTE_S
        self.left = min(float(per_minute), self.left + gained)
        self.seen_s = now
        return max(0.0, (amount - self.left) * _MINUTE_S / per_minute)

    def full(self, *, per_minute: int, now: float) -> bool:
        """Whether it holds all that it can by now."""
        return self.left + (now - self.seen_s) * per_minute / _MINUTE_S >= per_minute
