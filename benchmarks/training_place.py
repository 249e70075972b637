"""A keyring, a ledger and a folder for the length of one measurement."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.training.vault import Vault


@contextmanager
def vault() -> Iterator[Vault]:
    """Give a vault of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sealgate-bench-") as place:
        home = Path(place)
        KeyFile.create(home / "key")
        keyring = Keyring.create(home / "keyring", KeyFile(home / "key"))
        opened = Vault.open(home / "training", keyring=keyring)
        try:
            yield opened
        finally:
            opened.close()
