"""What training has spent of each dataset's privacy budget, read from the home's ledger."""

from dataclasses import dataclass
from pathlib import Path

from privacy.training import tables
from privacy.training.errors import LedgerUnavailable
from privacy.training.ledger import Ledger

# As `sealgate train` lays the home out.
_LEDGER = Path("training") / "ledger.db"


@dataclass(frozen=True, slots=True)
class Account:
    """A budget at its δ. spent: an upper bound on the ε that is charged so far. left: 0 to 1."""

    name: str
    records: int
    epsilon: float
    delta: float
    spent: float
    left: float


class _Nobody:
    """Signs nothing: a ledger that is only read needs no key."""

    def sign(self, name: str, message: bytes) -> bytes:
        """Refuse."""
        raise LedgerUnavailable(f"The console does not write the ledger ({name}, {len(message)}).")

    def public_key(self, name: str) -> bytes:
        """Refuse."""
        raise LedgerUnavailable(f"The console does not verify the ledger ({name}).")


def accounts(home: Path) -> list[Account] | None:
    """Return the budgets, or None where nothing was ever trained here.

    Raises:
        LedgerUnavailable: The ledger is there and cannot be read.
    """
    path = home / _LEDGER
    if not path.is_file():
        return None
    ledger = Ledger(tables.open_database(str(path)), signer=_Nobody())
    try:
        return [
            Account(
                each.name,
                each.records,
                each.budget.epsilon,
                each.budget.delta,
                each.spent,
                each.left,
            )
            for each in ledger.accounts()
        ]
    finally:
        ledger.close()
