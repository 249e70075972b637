"""The keyring: every key of a deployment, wrapped on disk, opened by its custodian.

It keeps the key-encryption key in memory and unwraps the others when they are used. What it
answers is always what the file says now: another process may rotate or seal meanwhile. How keys
change their state is in `privacy.states`. It does not guard its own process's memory; who holds
it runs undumpable.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from privacy import keystore, records, signatures, states
from privacy.derivation import KEY_BYTES, Contexts
from privacy.errors import SignatureInvalid
from privacy.genesis import first_content
from privacy.keystore import Keystore
from privacy.memory import LockedBytes
from privacy.records import Content, WrappedDataKey
from privacy.references import Reference
from privacy.snapshot import SealKeys, Snapshot, wrapping_key


class Custodian(Protocol):
    """What keeps the key-encryption key: a passphrase, a key file, a service, a hardware module."""

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

    def __init__(
        self,
        directory: Path,
        *,
        kek: bytes,
        custodian: Custodian,
        clock: Callable[[], float],
    ) -> None:
        self._store = Keystore(directory, kek=kek, reopen=custodian.unwrap)
        self._custodian = custodian
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
            custodian.wrap(kek),
            wrapping_key=wrapping_key(LockedBytes(kek)),
            created_s=int(clock()),
        )
        keystore.create(directory, content, kek=kek)
        return Keyring(directory, kek=kek, custodian=custodian, clock=clock)

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
        keyring = Keyring(directory, kek=kek, custodian=custodian, clock=clock)
        keyring.snapshot()
        return keyring

    def snapshot(self) -> Snapshot:
        """Return the keyring's state as the file says it now."""
        return self._store.snapshot()

    def change(self, change: Callable[[Snapshot], Content]) -> Snapshot:
        """Replace the content by a step of `privacy.states`, durably, no other writer in between.

        Raises:
            KeyringUnusable: It cannot be written; the old content stands.
        """
        return self._store.change(change)

    def rekey(self, *, act: states.Act, custodian: Custodian | None = None) -> None:
        """Put every key under a fresh KEK, kept by `custodian`, or by the same as before.

        Raises:
            CustodianUnusable: The custodian cannot keep a key; the old KEK stands.
            KeyringUnusable: The keyring cannot be written; the old KEK stands.
        """
        keeper = custodian or self._custodian
        kek = states.fresh_kek()
        record = keeper.wrap(kek.read())
        self._store.replace(
            lambda snapshot: states.rekeyed(snapshot, kek=kek, custodian=record, act=act)
        )
        self._custodian = keeper
        self._store.reopen = keeper.unwrap

    def act(self, *, actor: str, reason: str) -> states.Act:
        """Describe a change that happens now."""
        return states.Act(actor, reason, int(self._clock()))

    def rotate(self, name: str, *, actor: str = "system", reason: str = "rotation") -> int:
        """Begin the next epoch of a purpose or signer and return it. Earlier ones stay readable.

        Raises:
            KeyUnknown: There is no purpose or signer of that name.
            TransitionForbidden: It is a model's key or the KEK.
        """
        reference, act = Reference.parse(name), self.act(actor=actor, reason=reason)
        after = self.change(lambda s: states.rotated(s, reference, act=act))
        return states.active_number(after, reference)

    def derive(self, purpose: str, *context: bytes, epoch: int | None = None) -> bytes:
        """Derive the 32-byte key of a purpose and context, in the active or an earlier epoch.

        Raises:
            KeyUnknown: No such purpose or epoch.
            KeyDestroyed: The epoch was destroyed.
        """
        return self.derive_each(purpose, [context], epoch)[0]

    def derive_each(self, purpose: str, contexts: Contexts, epoch: int | None) -> list[bytes]:
        """Derive a key for each of many contexts, as `derive`."""
        return self.snapshot().derive_each(purpose, contexts, epoch)

    def active_epoch(self, purpose: str) -> int:
        """Return the epoch that new keys of `purpose` belong to; the first is 1."""
        return self.snapshot().master(purpose, None).epoch

    def epochs(self, purpose: str) -> list[int]:
        """Return the epochs of a purpose that can be derived from, the active one first."""
        return self.snapshot().readable_epochs(purpose)

    def public_key(self, name: str) -> bytes:
        """Return the raw Ed25519 public key of `checkpoint`, `report` or `seal`, 32 bytes."""
        return self.snapshot().signing_key(name, signatures.ED25519).public

    def public_keys(self, name: str) -> list[bytes]:
        """Return the Ed25519 public keys that are trusted as `name`, the active one first.

        Those of epochs that were ever compromised are not among them; `history` has them.
        """
        return self.snapshot().public_keys(name)

    def history(self, name: str) -> list[bytes]:
        """Return every Ed25519 public key that ever signed as `name`, the newest first.

        Only for signatures over what is established otherwise, as an old checkpoint's root is.
        """
        keys = self.snapshot().signing_keys(name, signatures.ED25519)
        return [key.public for key in keys if key.state != records.PRE_ACTIVE]

    def sign(self, name: str, message: bytes) -> bytes:
        """Sign with Ed25519, 64 bytes. The message carries its own domain separation.

        Raises:
            KeyUnknown: No signing key has that name.
        """
        snapshot = self.snapshot()
        key = snapshot.signing_key(name, signatures.ED25519)
        return signatures.sign(message, seed=snapshot.open(key))

    def document_key(self, name: str = "report") -> DocumentKey:
        """Return the public half of the key that signs documents, reports unless named otherwise.

        Raises:
            KeyUnknown: This keyring was made before there was one.
        """
        key = self.snapshot().signing_key(name, signatures.P256)
        return DocumentKey(key.public, key.created_s)

    def sign_document(self, message: bytes, name: str = "report") -> bytes:
        """Sign a document's attributes with ECDSA over P-256 and SHA-256, in DER.

        Raises:
            KeyUnknown: This keyring was made before there was such a key.
        """
        snapshot = self.snapshot()
        key = snapshot.signing_key(name, signatures.P256)
        return signatures.sign_p256(message, seed=snapshot.open(key))

    def seal_keys(self) -> list[SealKeys]:
        """Return the public keys of each epoch whose seals hold, the newest first.

        Whoever has them and a sealed file checks its signature, docs/formats/sealed-v1.md.
        """
        return self.snapshot().trusted_seals()

    def sign_seal(self, message: bytes) -> bytes:
        """Sign a seal with Ed25519 and ML-DSA-65, 3373 bytes."""
        snapshot = self.snapshot()
        ed25519 = snapshot.signing_key("seal", signatures.ED25519)
        mldsa65 = snapshot.signing_key("seal", signatures.MLDSA65)
        seeds = (snapshot.open(ed25519), snapshot.open(mldsa65))
        return signatures.sign_hybrid(message, ed25519_seed=seeds[0], mldsa65_seed=seeds[1])

    def verify_seal(self, message: bytes, signature: bytes) -> None:
        """Raise SignatureInvalid unless both seal keys of one trusted epoch signed the message."""
        for keys in self.seal_keys():
            try:
                keys.verify(message, signature)
            except SignatureInvalid:
                continue
            return
        raise SignatureInvalid("No seal key that is trusted signed the message.")

    def data_key(self, key_id: str) -> DataKey:
        """Return a data key by its id.

        Raises:
            KeyUnknown: This keyring has none of that id.
            KeyDestroyed: It was destroyed.
        """
        snapshot = self.snapshot()
        record = snapshot.data_key(key_id)
        return DataKey(record.id, record.model_id, record.generation, snapshot.open(record))

    def fresh_data_key(self, model_id: str) -> DataKey:
        """Return a random key for the model's next generation, not yet stored."""
        content = self.snapshot().content
        keyed = (key.generation for key in content.data_keys if key.model_id == model_id)
        generation = max((content.floors.get(model_id, 0), *keyed)) + 1
        return DataKey(secrets.token_hex(16), model_id, generation, secrets.token_bytes(KEY_BYTES))

    def store_data_key(
        self, key: DataKey, *, actor: str = "system", reason: str = "sealed"
    ) -> None:
        """Store a data key durably, not yet in use: `accept_generation` makes it the active one."""
        act = self.act(actor=actor, reason=reason)
        record = WrappedDataKey(
            id=key.id,
            model_id=key.model_id,
            generation=key.generation,
            state=records.PRE_ACTIVE,
            created_s=act.at_s,
            wrapped=b"",
        )
        self.change(lambda s: states.stored(s, s.wrap(record, key.key), act=act))

    def smallest_generation(self, model_id: str) -> int:
        """Return the smallest generation of the model that is accepted; 0 accepts any."""
        return self.snapshot().content.floors.get(model_id, 0)

    def accept_generation(
        self, model_id: str, generation: int, *, actor: str = "system", reason: str = "in place"
    ) -> None:
        """Refuse every generation of the model below this one from now on."""
        act = self.act(actor=actor, reason=reason)
        if self.smallest_generation(model_id) < generation:
            self.change(lambda s: states.accepted(s, model_id, generation, act=act))

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """Hold the right to seal: one at a time over this keyring."""
        with self._store.lock("sealing.lock"):
            yield
