"""Backups of a keyring: one encrypted file, opened by k of n shares or a recovery key.

It holds every key that is not destroyed, as the keyring's own file under a key of the backup. So
a backup made before a key was destroyed still holds that key: see docs/keys.md on what that means
for crypto-shredding. See docs/formats/backup-v1.md for the bytes.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import rfc8785
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from msgspec.structs import replace

from privacy import keystore, records, states
from privacy.derivation import KEY_BYTES, bind, derive_key
from privacy.errors import BackupUnusable, PrivacyError
from privacy.keyring import Custodian, Keyring
from privacy.memory import LockedBytes
from privacy.recovery import RecoveryKey, seal_to, unseal
from privacy.shares import Share, combine, split
from privacy.snapshot import Snapshot

FORMAT = "sealgate/backup-v1"
_CUSTODIAN: dict[str, str | int] = {"kind": "backup"}


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a backup says in the clear; all of it is bound to the body.

    id: 32 hex digits. threshold, shares: of a split backup. recipient, sealed_key: of one that
    is sealed to a recovery key.
    """

    format: str
    id: str
    created_s: int
    threshold: int = 0
    shares: int = 0
    recipient: str = ""
    sealed_key: bytes = b""


class BackupFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    envelope: Envelope
    body: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """A backup for the holder of a recovery key."""

    data: bytes = field(repr=False)
    id: str


@dataclass(frozen=True, slots=True)
class Split:
    """A backup and the shares that open it, each for another keeper."""

    data: bytes = field(repr=False)
    id: str
    shares: list[Share] = field(repr=False)


def split_backup(keyring: Keyring, *, threshold: int, shares: int, now_s: int) -> Split:
    """Back a keyring up under a key that exists in shares alone.

    Raises:
        BackupUnusable: The numbers make no sense.
        LibraryMissing: The library of the shares is not installed.
    """
    key, backup = secrets.token_bytes(KEY_BYTES), secrets.token_hex(16)
    made = split(key, threshold=threshold, shares=shares, backup=backup[:8])
    envelope = Envelope(FORMAT, backup, now_s, threshold=threshold, shares=shares)
    return Split(_encode(keyring.snapshot(), envelope, key), backup, made)


def sealed_backup(keyring: Keyring, *, recipient: str, now_s: int) -> Sealed:
    """Back a keyring up to a public recovery key.

    Raises:
        BackupUnusable: That is no public recovery key.
    """
    key, backup = secrets.token_bytes(KEY_BYTES), secrets.token_hex(16)
    sealed_key = seal_to(recipient, key, backup=bytes.fromhex(backup))
    envelope = Envelope(FORMAT, backup, now_s, recipient=recipient, sealed_key=sealed_key)
    return Sealed(_encode(keyring.snapshot(), envelope, key), backup)


def with_shares(shares: Sequence[str]) -> Callable[[Envelope], bytes]:
    """Return what opens a backup by its shares' texts."""

    def key(envelope: Envelope) -> bytes:
        found = [Share.parse(text) for text in shares]
        if any(not envelope.id.startswith(share.backup) for share in found):
            raise BackupUnusable("A share is of another backup. Give those of this one.")
        return combine(found)

    return key


def with_recovery_key(private: RecoveryKey) -> Callable[[Envelope], bytes]:
    """Return what opens a backup by its recovery key."""
    return lambda envelope: unseal(private, envelope.sealed_key, backup=bytes.fromhex(envelope.id))


def opened(data: bytes, unlock: Callable[[Envelope], bytes]) -> tuple[Envelope, Snapshot]:
    """Decrypt a backup. unlock: `with_shares` or `with_recovery_key`.

    Raises:
        BackupUnusable: It does not open so, or was changed.
    """
    try:
        file = msgspec.json.decode(data, type=BackupFile)
        bytes.fromhex(file.envelope.id)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        raise _damaged() from None
    if file.envelope.format != FORMAT:
        raise _damaged()
    key = unlock(file.envelope)
    decryptor = Cobblestone256Decryptor(key, _context(file.envelope))
    try:
        raw = decryptor.update(file.body) + decryptor.finalize()
    except InvalidTag:
        raise BackupUnusable(
            "The backup does not open: a share or key is another's, or its bytes were changed."
        ) from None
    kek = LockedBytes(_kek(key))
    try:
        content = records.authenticate(records.decode(raw), kek=kek.read())
    except PrivacyError:
        raise _damaged() from None
    return file.envelope, Snapshot(content, kek)


def restore(
    directory: Path,
    snapshot: Snapshot,
    *,
    custodian: Custodian,
    act: states.Act,
    amend: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot,
) -> None:
    """Make a keyring of a backup, under a fresh KEK and a custodian of today.

    amend: takes out what was destroyed or compromised after the backup was made.

    Raises:
        KeyringExists: The directory holds something.
        KeyringUnusable: It cannot be written; nothing was.
        CustodianUnusable: The custodian cannot keep a key.
    """
    kek = states.fresh_kek()
    after = states.rekeyed(amend(snapshot), kek=kek, custodian=custodian.wrap(kek.read()), act=act)
    content = replace(after.content, revision=after.content.revision + 1)
    keystore.create(directory, content, kek=kek.read())


def _encode(snapshot: Snapshot, envelope: Envelope, key: bytes) -> bytes:
    kek = LockedBytes(_kek(key))
    # What waits for the log waits in the keyring that goes on; a request to destroy lapses.
    quiet = replace(snapshot.content, transitions=[], destructions=[])
    inside = states.rewrapped(Snapshot(quiet, snapshot.kek), kek)
    content = replace(inside.content, custodian=dict(_CUSTODIAN))
    encryptor = Cobblestone256Encryptor(key, _context(envelope))
    raw = records.encode(content, kek=kek.read())
    body = encryptor.update(raw) + encryptor.finalize()
    plain: Any = msgspec.to_builtins(BackupFile(envelope, body))
    return rfc8785.dumps(plain) + b"\n"


def _context(envelope: Envelope) -> bytes:
    plain: Any = msgspec.to_builtins(envelope)
    return bind(b"sealgate/backup-v1/body", rfc8785.dumps(plain))


def _kek(key: bytes) -> bytes:
    return derive_key(key, b"sealgate/backup-v1/kek")


def _damaged() -> BackupUnusable:
    return BackupUnusable("That is no backup of this version, or it is damaged. Use another copy.")
