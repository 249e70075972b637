"""Where training keeps things: keys, the ledger, and a directory for checkpoints and weights."""

from dataclasses import dataclass, field
from pathlib import Path

from privacy.keyring import Keyring
from privacy.training import tables
from privacy.training.ledger import Ledger

LEDGER_FILE = "ledger.db"
CHECKPOINT_FILE = "checkpoint.sealed"
WEIGHTS_FILE = "weights.sealed"
CERTIFICATE_FILE = "certificate.json"


@dataclass(frozen=True, slots=True)
class Vault:
    """An unlocked keyring, a ledger and a directory. A person's runs may share one."""

    keyring: Keyring = field(repr=False)
    ledger: Ledger
    directory: Path

    @staticmethod
    def open(directory: Path, *, keyring: Keyring, ledger_url: str | None = None) -> "Vault":
        """Open a vault, made if it is not there.

        ledger_url: an SQLAlchemy URL of a shared PostgreSQL; a file in the directory if absent.

        Raises:
            LedgerUnavailable: The ledger's database cannot be opened.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = tables.open_database(ledger_url or str(directory / LEDGER_FILE))
        return Vault(keyring, Ledger(engine, signer=keyring), directory)

    def close(self) -> None:
        """Let go of the ledger's database."""
        self.ledger.close()

    def record_key(self) -> bytes:
        """Return the key of the records' fingerprints. It stays when keys are rotated.

        A key that changed would make known records look new, and give them a new budget.
        """
        return self.keyring.derive("audit-hmac", b"training/records", epoch=1)

    def run_file(self, run_id: str, name: str) -> Path:
        """Return where a run keeps a file, in a directory that exists."""
        place = self.directory / run_id
        place.mkdir(exist_ok=True, mode=0o700)
        return place / name
