"""A recovery key: an X25519 pair whose private half lies elsewhere. HPKE (RFC 9180), base mode.

The suite is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, as `cryptography` has it.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from privacy.derivation import KEY_BYTES, bind
from privacy.errors import BackupUnusable

_PUBLIC, _PRIVATE = "sealgate-recovery-v1-public-", "sealgate-recovery-v1-private-"


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """A private recovery key, 32 bytes."""

    value: bytes = field(repr=False)

    @staticmethod
    def generate() -> "RecoveryKey":
        """Draw a fresh one."""
        return RecoveryKey(X25519PrivateKey.generate().private_bytes_raw())

    @staticmethod
    def parse(text: str) -> "RecoveryKey":
        """Read what `text` made.

        Raises:
            BackupUnusable: It is no private recovery key.
        """
        return RecoveryKey(_parse(text, _PRIVATE))

    def text(self) -> str:
        """Return the line to keep away from the deployment."""
        return _PRIVATE + self.value.hex()

    def public(self) -> str:
        """Return the line that backups are sealed to."""
        public = X25519PrivateKey.from_private_bytes(self.value).public_key()
        return _PUBLIC + public.public_bytes_raw().hex()


def seal_to(public: str, key: bytes, *, backup: bytes) -> bytes:
    """Encrypt a backup's key to a public recovery key, 80 bytes. backup: its id.

    Raises:
        BackupUnusable: That is no public recovery key.
    """
    recipient = X25519PublicKey.from_public_bytes(_parse(public, _PUBLIC))
    try:
        return _suite().encrypt(key, recipient, _info(backup))
    except ValueError:
        # A point of small order, which gives everybody the same secret (RFC 7748, section 6.1).
        raise BackupUnusable("That is no recovery key: its point is not one of a key.") from None


def unseal(private: RecoveryKey, sealed: bytes, *, backup: bytes) -> bytes:
    """Return the key of a backup.

    Raises:
        BackupUnusable: It was sealed to another recovery key, or for another backup.
    """
    key = X25519PrivateKey.from_private_bytes(private.value)
    try:
        return _suite().decrypt(sealed, key, _info(backup))
    except (InvalidTag, ValueError):
        raise BackupUnusable("This recovery key does not open the backup. Use its own.") from None


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _info(backup: bytes) -> bytes:
    return bind(b"sealgate/backup-v1/recovery", backup)


def _parse(text: str, prefix: str) -> bytes:
    line = text.strip()
    try:
        value = bytes.fromhex(line.removeprefix(prefix)) if line.startswith(prefix) else b""
    except ValueError:
        value = b""
    if len(value) != KEY_BYTES:
        raise BackupUnusable(f"That is no recovery key: one begins with {prefix}.")
    return value
