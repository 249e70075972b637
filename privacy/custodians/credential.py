"""A systemd credential as custodian: a key file that the service manager decrypts for one unit.

`systemd-creds encrypt` binds it to this machine's TPM or host key; `LoadCredentialEncrypted=`
puts it, decrypted, where only the unit's processes read it (systemd.exec(5), "Credentials").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privacy.custodians.keyfile import KeyFile
from privacy.custodians.records import require_kind
from privacy.errors import CustodianUnusable

KIND = "systemd-credential"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class SystemdCredential:
    """The credential `name` in the directory that the service manager names. 32 bytes."""

    name: str
    directory: Path

    @staticmethod
    def of_unit(name: str, environment: Mapping[str, str]) -> "SystemdCredential":
        """Find the credential of the unit that this process runs in.

        environment: of this process; CREDENTIALS_DIRECTORY in it is a path, not a secret.

        Raises:
            CustodianUnusable: The unit was given no credentials, or the name cannot be one.
        """
        directory = environment.get("CREDENTIALS_DIRECTORY")
        if not directory or not _NAME.fullmatch(name) or name in (".", ".."):
            raise CustodianUnusable(
                f"This process has no systemd credential {name[:64]!r}. Start it from a unit with "
                "LoadCredentialEncrypted=."
            )
        return SystemdCredential(name, Path(directory))

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this credential."""
        return {**self._file().wrap(kek), "kind": KIND, "name": self.name}

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The record is another credential's, or no credential's.
            CustodianUnusable: The credential cannot be read.
        """
        require_kind(record, KIND, means="a systemd credential")
        kept = {name: value for name, value in record.items() if name != "name"}
        return self._file().unwrap({**kept, "kind": "keyfile"})

    def _file(self) -> KeyFile:
        return KeyFile(self.directory / self.name)
