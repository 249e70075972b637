"""The keyring: every key of a deployment, wrapped on disk, opened by its custodian.

It keeps the key-encryption key in memory and unwraps the others when they are used. What it
answers is always what the file says now: another process may rotate or seal meanwhile. It does
not guard its own process's memory; who holds it runs undumpable.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from privacy import keystore, records, signatures
from privacy.derivation import KEY_BYTES, derive_key, number
from privacy.errors import KeyUnknown
from privacy.genesis import PURPOSES, first_content, fresh_master, wrapped_record
from privacy.keystore import Keystore
from privacy.records import Content, Master, SigningKey, WrappedDataKey
from privacy.wrapping import unwrap


class Custodian(Protocol):
    """What keeps the key-encryption key: a passphrase, a key file, one day a hardware module."""

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the record, with its `kind`, that gives `kek` back to this custodian."""
        ...

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a record, or raise KeyringLocked."""
        ...


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one generation of a model. id: 32 hex digits. key: 32 bytes."""

    id: str
    model_id: str
    generation: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DocumentKey:
    """The public half of the key that signs documents. public: P-256 point, 65 bytes."""

    public: bytes
    created_s: int


class Keyring:
    """An unlocked keyring. Made by `create` or `unlock`; safe to share between threads."""

    def __init__(self, directory: Path, *, kek: bytes, clock: Callable[[], float]) -> None:
        self._store = Keystore(directory, kek=kek)
        self._wrapping_key = _wrapping_key(kek)
        self._clock = clock

    @staticmethod
    def create(
        directory: Path, custodian: Custodian, *, clock: Callable[[], float] = time.time
    ) -> "Keyring":
        """Make a keyring of fresh keys in a directory that does not exist yet, or is empty.

        Raises:
            KeyringExists: The directory holds something.
            KeyringUnusable: It cannot be written.
            CustodianUnusable: The custodian cannot keep a key.
        """
        kek = secrets.token_bytes(KEY_BYTES)
        content = first_content(
            custodian.wrap(kek), wrapping_key=_wrapping_key(kek), created_s=int(clock())
        )
        keystore.create(directory, content, kek=kek)
        return Keyring(directory, kek=kek, clock=clock)

    @staticmethod
    def unlock(
        directory: Path, custodian: Custodian, *, clock: Callable[[], float] = time.time
    ) -> "Keyring":
        """Open the keyring in `directory`.

        Raises:
            KeyringMissing: There is none.
            KeyringLocked: The custodian is not its own.
            KeyringTampered: Its file was changed from outside.
            CustodianUnusable: The custodian's own file cannot be read.
        """
        _, raw = keystore.read(directory)
        kek = custodian.unwrap(records.decode(raw).content.custodian)
        keyring = Keyring(directory, kek=kek, clock=clock)
        keyring._store.content()
        return keyring

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive the 32-byte key of a purpose and context, in the active or an earlier epoch.

        Raises:
            KeyUnknown: No such purpose or epoch.
        """
        master = self._master(purpose, epoch)
        return derive_key(
            self._open(master),
            b"sealgate/keyring-v1/derive",
            purpose.encode(),
            number(master.epoch),
            *context,
        )

    def active_epoch(self, purpose: str) -> int:
        """Return the epoch that new keys of `purpose` belong to; the first is 1."""
        return self._master(purpose, None).epoch

    def rotate(self, purpose: str) -> int:
        """Begin the next epoch of `purpose` and return it. Earlier ones stay readable."""

        def next_epoch(content: Content) -> Content:
            epoch = _newest(content, purpose).epoch + 1
            wrapping_key, created_s = self._wrapping_key, int(self._clock())
            earlier = [
                replace(m, state=records.DECRYPT_ONLY) if m.purpose == purpose else m
                for m in content.masters
            ]
            new = fresh_master(purpose, epoch, wrapping_key=wrapping_key, created_s=created_s)
            return replace(content, masters=[*earlier, new])

        return _newest(self._store.change(next_epoch), purpose).epoch

    def public_key(self, name: str) -> bytes:
        """Return the raw Ed25519 public key of `checkpoint`, `report` or `seal`, 32 bytes."""
        return self._signing_key(name, signatures.ED25519).public

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with Ed25519, 64 bytes. The message carries its own domain separation.

        Raises:
            KeyUnknown: No signing key has that name.
        """
        key = self._signing_key(name, signatures.ED25519)
        return signatures.sign(message, seed=self._open(key))

    def document_key(self) -> DocumentKey:
        """Return the public half of the key that signs reports as documents.

        Raises:
            KeyUnknown: This keyring was made before there was one.
        """
        key = self._signing_key("report", signatures.P256)
        return DocumentKey(key.public, key.created_s)

    def sign_document(self, message: bytes) -> bytes:
        """Sign a document's attributes with ECDSA over P-256 and SHA-256, in DER.

        Raises:
            KeyUnknown: This keyring was made before there was such a key.
        """
        key = self._signing_key("report", signatures.P256)
        return signatures.sign_p256(message, seed=self._open(key))

    def sign_seal(self, message: bytes) -> bytes:
        """Sign a seal with Ed25519 and ML-DSA-65, 3373 bytes."""
        return signatures.sign_hybrid(
            message,
            ed25519_seed=self._open(self._signing_key("seal", signatures.ED25519)),
            mldsa65_seed=self._open(self._signing_key("seal", signatures.MLDSA65)),
        )

    def verify_seal(self, message: bytes, signature: bytes) -> None:
        """Raise SignatureInvalid unless both of this keyring's seal keys signed the message."""
        signatures.verify_hybrid(
            message,
            signature,
            ed25519=self._signing_key("seal", signatures.ED25519).public,
            mldsa65=self._signing_key("seal", signatures.MLDSA65).public,
        )

    def data_key(self, key_id: str) -> DataKey:
        """Return a data key by its id.

        Raises:
            KeyUnknown: This keyring has none of that id.
        """
        for record in self._store.content().data_keys:
            if record.id == key_id:
                return DataKey(record.id, record.model_id, record.generation, self._open(record))
        raise KeyUnknown("This keyring has no such data key. Use the keyring that sealed the file.")

    def fresh_data_key(self, model_id: str) -> DataKey:
        """Return a random key for the model's next generation, not yet stored."""
        content = self._store.content()
        keyed = (key.generation for key in content.data_keys if key.model_id == model_id)
        generation = max((content.floors.get(model_id, 0), *keyed)) + 1
        return DataKey(secrets.token_hex(16), model_id, generation, secrets.token_bytes(KEY_BYTES))

    def store_data_key(self, key: DataKey) -> None:
        """Store a data key durably."""
        record = wrapped_record(
            WrappedDataKey(
                id=key.id,
                model_id=key.model_id,
                generation=key.generation,
                state=records.ACTIVE,
                created_s=int(self._clock()),
                wrapped=b"",
            ),
            key.key,
            wrapping_key=self._wrapping_key,
        )
        self._store.change(lambda content: replace(content, data_keys=[*content.data_keys, record]))

    def smallest_generation(self, model_id: str) -> int:
        """Return the smallest generation of the model that is accepted; 0 accepts any."""
        return self._store.content().floors.get(model_id, 0)

    def accept_generation(self, model_id: str, generation: int) -> None:
        """Refuse every generation of the model below this one from now on."""

        def raised(content: Content) -> Content:
            floor = max(generation, content.floors.get(model_id, 0))
            return replace(content, floors={**content.floors, model_id: floor})

        if self.smallest_generation(model_id) < generation:
            self._store.change(raised)

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """Hold the right to seal: one at a time over this keyring."""
        with self._store.lock("sealing.lock"):
            yield

    def _open(self, record: Master | SigningKey | WrappedDataKey) -> bytes:
        return unwrap(record.wrapped, under=self._wrapping_key, identity=record.identity())

    def _master(self, purpose: str, epoch: int | None) -> Master:
        newest = _newest(self._store.content(), purpose)
        if epoch is None or epoch == newest.epoch:
            return newest
        for master in self._store.content().masters:
            if (master.purpose, master.epoch) == (purpose, epoch):
                return master
        raise KeyUnknown(f"The keyring has no epoch {epoch} of {purpose}. Name one it has.")

    def _signing_key(self, name: str, algorithm: str) -> SigningKey:
        for key in self._store.content().signing_keys:
            if (key.name, key.algorithm) == (name, algorithm):
                return key
        raise KeyUnknown("The keyring has no such signing key. Name checkpoint, report or seal.")


def _wrapping_key(kek: bytes) -> bytes:
    return derive_key(kek, b"sealgate/keyring-v1/wrapping")


def _newest(content: Content, purpose: str) -> Master:
    masters = [master for master in content.masters if master.purpose == purpose]
    if not masters:
        raise KeyUnknown(f"The keyring serves no such purpose. Name one of {', '.join(PURPOSES)}.")
    return max(masters, key=lambda master: master.epoch)
