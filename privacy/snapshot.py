"""One authenticated state of a keyring: finding keys in it, and unwrapping them. Writes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from privacy import derivation, records, signatures
from privacy.derivation import Contexts, derive_key
from privacy.errors import KeyDestroyed, KeyUnknown
from privacy.genesis import PURPOSES, SIGNING_KEYS, wrapped_record
from privacy.memory import LockedBytes
from privacy.records import Content, Master, SigningKey, WrappedDataKey
from privacy.references import Reference
from privacy.wrapping import unwrap

AnyKey = Master | SigningKey | WrappedDataKey
_Key = TypeVar("_Key", Master, SigningKey, WrappedDataKey)


@dataclass(frozen=True, slots=True)
class SealKeys:
    """The public keys of one epoch of `seal`. ed25519: 32 bytes. mldsa65: 1952 bytes."""

    epoch: int
    ed25519: bytes
    mldsa65: bytes

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise SignatureInvalid unless both keys signed the message."""
        signatures.verify_hybrid(message, signature, ed25519=self.ed25519, mldsa65=self.mldsa65)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content and the key-encryption key that it was written under."""

    content: Content
    kek: LockedBytes = field(repr=False)

    def open(self, record: AnyKey) -> bytes:
        """Return the key that a record wraps.

        Raises:
            KeyDestroyed: It was destroyed.
        """
        if record.state == records.DESTROYED:
            raise KeyDestroyed(
                f"The key {reference(record)} was destroyed. What it protected is gone for good."
            )
        return unwrap(record.wrapped, under=self.wrapping_key(), identity=record.identity())

    def wrap(self, record: _Key, key: bytes) -> _Key:
        """Return the record with `key` in it, to be written beside this content."""
        return wrapped_record(record, key, wrapping_key=self.wrapping_key())

    def wrapping_key(self) -> bytes:
        """Return what keys in the content are wrapped under."""
        return wrapping_key(self.kek)

    def master(self, purpose: str, epoch: int | None) -> Master:
        """Return a purpose's master of that epoch, the active one for None.

        Raises:
            KeyUnknown: No such purpose or epoch.
        """
        masters = [master for master in self.content.masters if master.purpose == purpose]
        if not masters:
            raise KeyUnknown(
                f"The keyring serves no such purpose. Name one of {', '.join(PURPOSES)}."
            )
        if epoch is None:
            return _active(masters)
        for master in masters:
            if master.epoch == epoch:
                return master
        raise KeyUnknown(f"The keyring has no epoch {epoch} of {purpose}. Name one it has.")

    def derive_each(self, purpose: str, contexts: Contexts, epoch: int | None) -> list[bytes]:
        """Derive a 32-byte key for each context, as Keyring.derive."""
        master = self.master(purpose, epoch)
        key, label = self.open(master), b"sealgate/keyring-v1/derive"
        parts = (purpose.encode(), derivation.number(master.epoch))
        return [derive_key(key, label, *parts, *context) for context in contexts]

    def signing_key(self, name: str, algorithm: str) -> SigningKey:
        """Return the active signing key of that name and algorithm.

        Raises:
            KeyUnknown: There is none.
        """
        found = self.signing_keys(name, algorithm)
        if not found:
            raise KeyUnknown(
                "The keyring has no such signing key. Name checkpoint, report or seal."
            )
        return _active(found)

    def signing_keys(self, name: str, algorithm: str) -> list[SigningKey]:
        """Return every epoch of a signing key, in whatever state, the newest first."""
        found = [
            key
            for key in self.content.signing_keys
            if (key.name, key.algorithm) == (name, algorithm)
        ]
        return sorted(found, key=lambda key: key.epoch, reverse=True)

    def readable_epochs(self, purpose: str) -> list[int]:
        """Return the epochs of a purpose that can be derived from, the active one first.

        Raises:
            KeyUnknown: No such purpose.
        """
        active = self.master(purpose, None).epoch
        unreadable = (records.DESTROYED, records.PRE_ACTIVE)
        earlier = [
            master.epoch
            for master in self.content.masters
            if master.purpose == purpose
            and master.epoch != active
            and master.state not in unreadable
        ]
        return [active, *sorted(earlier, reverse=True)]

    def public_keys(self, name: str) -> list[bytes]:
        """Return the Ed25519 public keys that are trusted as `name`, the active one first.

        Raises:
            KeyUnknown: No signing key has that name.
        """
        active = self.signing_key(name, signatures.ED25519)
        earlier = [
            key.public
            for key in self.signing_keys(name, signatures.ED25519)
            if _trusted(key) and key.epoch != active.epoch
        ]
        return [active.public, *earlier]

    def trusted_seals(self) -> list[SealKeys]:
        """Return the public keys of each epoch whose seals still hold, the newest first."""
        second = {key.epoch: key.public for key in self.signing_keys("seal", signatures.MLDSA65)}
        return [
            SealKeys(key.epoch, key.public, second[key.epoch])
            for key in self.signing_keys("seal", signatures.ED25519)
            if _trusted(key) and key.epoch in second
        ]

    def data_key(self, key_id: str) -> WrappedDataKey:
        """Return a data key by its id.

        Raises:
            KeyUnknown: There is none of that id.
        """
        for record in self.content.data_keys:
            if record.id == key_id:
                return record
        raise KeyUnknown("This keyring has no such data key. Use the keyring that sealed the file.")

    def every(self) -> Iterator[AnyKey]:
        """Yield every key but the KEK."""
        yield from self.content.masters
        yield from self.content.signing_keys
        yield from self.content.data_keys

    def named(self, name: Reference) -> list[AnyKey]:
        """Return what a reference with a number names: a key, or a signer's of every algorithm.

        Raises:
            KeyUnknown: The keyring has none.
        """
        found = [key for key in self.named_all(name) if number(key) == name.number]
        if not found:
            raise KeyUnknown(f"The keyring has no key {name}. `sealgate keys list` shows them.")
        return found

    def named_all(self, name: Reference) -> list[AnyKey]:
        """Return every epoch or generation of what a reference names."""
        return [
            key
            for key in self.every()
            if (known := reference(key)).name == name.name and known.model == name.model
        ]


def reference(key: AnyKey) -> Reference:
    """Name a key in full."""
    match key:
        case Master():
            return Reference(key.purpose, key.epoch)
        case SigningKey():
            return Reference(key.name, key.epoch)
        case WrappedDataKey():
            return Reference(key.model_id, key.generation, model=True)


def number(key: AnyKey) -> int:
    """Return a key's epoch, or generation."""
    return key.generation if isinstance(key, WrappedDataKey) else key.epoch


def algorithms(name: str) -> list[str]:
    """Return what a signer signs with."""
    return [algorithm for signer, algorithm in SIGNING_KEYS if signer == name]


def wrapping_key(kek: LockedBytes) -> bytes:
    """Derive what wraps a keyring's keys."""
    return derive_key(kek.read(), b"sealgate/keyring-v1/wrapping")


def _trusted(key: SigningKey) -> bool:
    """Whether signatures by this key hold: a destroyed one's do, nobody can make more of them."""
    return not key.compromised and key.state != records.PRE_ACTIVE


def _active(keys: "list[_Key]") -> _Key:
    """Return the active one of several epochs."""
    for key in keys:
        if key.state == records.ACTIVE:
            return key
    raise KeyUnknown(f"No epoch of {reference(keys[0]).name} is active. Rotate it first.")
