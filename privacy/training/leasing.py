"""The leases of a run: steps are charged in the ledger before they are made, a few at a time."""

from dataclasses import replace

from privacy.training.exchange import Exchange
from privacy.training.ledger import Ledger, Reservation


class Leases:
    """Hands out the right to make one step after the other.

    at_once: steps charged in one entry; a crash loses at most that many.
    """

    def __init__(
        self, ledger: Ledger, reservation: Reservation, *, at_once: int, ranks: Exchange
    ) -> None:
        self._ledger = ledger
        self._at_once = at_once
        self._ranks = ranks
        self._ahead = 0
        self.reservation = reservation

    @property
    def left(self) -> int:
        """How many steps can still be made."""
        return self._ahead + self.reservation.left

    def take(self) -> None:
        """Return once one more step is charged, durably.

        Raises:
            PlanExhausted: Every planned step was charged.
            LeaseFenced: Another process took the run over.
            LedgerUnavailable: It cannot be charged, so it must not be made.
        """
        if self._ahead == 0:
            steps = max(1, min(self._at_once, self.reservation.left))
            leased = self._ranks.led(lambda: self._ledger.lease(self.reservation, steps).leased)
            self._ahead = leased - self.reservation.leased
            self.reservation = replace(self.reservation, leased=leased)
        self._ahead -= 1
