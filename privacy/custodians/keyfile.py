"""A key file as custodian: for a start that nobody attends. Whoever reads it opens the keyring."""

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privacy.derivation import KEY_BYTES, bind, derive_key
from privacy.durability import sync_directory
from privacy.errors import CustodianUnusable, KeyringLocked, KeyringTampered
from privacy.wrapping import unwrap, wrap

KIND = "keyfile"
_LABEL = b"sealgate/keyring-v1/keyfile"
_IDENTITY = bind(b"sealgate/keyring-v1/custodian", KIND.encode())


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The 32-byte file at `path`. It is read when the keyring is made or unlocked."""

    path: Path

    @staticmethod
    def create(path: Path) -> "KeyFile":
        """Make a fresh key file, readable by its owner alone.

        Raises:
            CustodianUnusable: A file is there already, or none can be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            sync_directory(path.parent)
        except OSError as error:
            raise CustodianUnusable(
                f"The key file {path} cannot be made: {error.strerror}. Name another place."
            ) from None
        return KeyFile(path)

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this key file."""
        wrapped = wrap(kek, under=self._key(), identity=_IDENTITY)
        return {"kind": KIND, "wrapped": base64.b64encode(wrapped).decode()}

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The record is another key file's, or no key file's.
            CustodianUnusable: The file cannot be read, or is no key file.
        """
        if record.get("kind") != KIND:
            raise KeyringLocked(
                f"This keyring opens with a {record.get('kind')}, not with a key file."
            )
        try:
            wrapped = base64.b64decode(str(record["wrapped"]), validate=True)
            return unwrap(wrapped, under=self._key(), identity=_IDENTITY)
        except (KeyError, ValueError, KeyringTampered):
            raise KeyringLocked(
                f"The key file {self.path} does not open this keyring. Name the right one."
            ) from None

    def _key(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(KEY_BYTES + 1)
        except OSError as error:
            raise CustodianUnusable(
                f"The key file {self.path} cannot be read: {error.strerror}. Name the right one."
            ) from None
        if mode & 0o007:
            raise CustodianUnusable(
                f"Everybody may read the key file {self.path}. Run `chmod 600` on it."
            )
        if len(content) != KEY_BYTES:
            raise CustodianUnusable(
                f"{self.path} is no key file: one is {KEY_BYTES} bytes. Name the right one."
            )
        return derive_key(content, _LABEL)
