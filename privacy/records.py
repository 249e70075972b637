"""The keyring's file: its records, and the check that nobody changed them.

See docs/formats/keyring-v1.md. Holds wrapped keys only; never unwraps one.
"""

import hmac

import msgspec

from privacy.derivation import bind, derive_key, number
from privacy.errors import KeyringTampered

FORMAT = "sealgate/keyring-v1"

# The states of a key, NIST SP 800-57 part 1, section 7.
PRE_ACTIVE = "pre-active"
ACTIVE = "active"
DECRYPT_ONLY = "decrypt-only"
COMPROMISED = "compromised"
DESTROYED = "destroyed"
# No state, but a step towards one that the log takes in as well.
DESTRUCTION_REQUESTED = "destruction-requested"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every record of the file is: immutable, and of exactly these members."""


class Master(Record, frozen=True):
    """The secret of one purpose and epoch."""

    purpose: str
    epoch: int
    state: str
    created_s: int
    wrapped: bytes

    def identity(self) -> bytes:
        """Return the associated data it is wrapped with."""
        return bind(b"sealgate/keyring-v1/master", self.purpose.encode(), number(self.epoch))


class SigningKey(Record, frozen=True):
    """A signing key. algorithm: `Ed25519`, `ML-DSA-65` or `ECDSA-P256`. public: raw.

    compromised: also once it was destroyed afterwards; its signatures are never trusted again.
    """

    name: str
    algorithm: str
    state: str
    created_s: int
    public: bytes
    wrapped: bytes
    epoch: int = 1
    compromised: bool = False

    def identity(self) -> bytes:
        """Return the associated data it is wrapped with; the first epoch is not spelt out."""
        parts = [self.name.encode(), self.algorithm.encode()]
        if self.epoch > 1:
            parts.append(number(self.epoch))
        return bind(b"sealgate/keyring-v1/signing-key", *parts)


class WrappedDataKey(Record, frozen=True):
    """The key of one generation of a model. id: 32 hex digits."""

    id: str
    model_id: str
    generation: int
    state: str
    created_s: int
    wrapped: bytes

    def identity(self) -> bytes:
        """Return the associated data it is wrapped with."""
        return bind(
            b"sealgate/keyring-v1/data-key",
            self.id.encode(),
            self.model_id.encode(),
            number(self.generation),
        )


class Transition(Record, frozen=True):
    """A change of a key's state that the audit log has yet to take in.

    id: unique, 24 hex digits. key: a reference, as `watermark@2`. old: None for a new key.
    confirmed_by: the second principal of a destruction. public: of a new signing key, each
    algorithm's in hex.
    """

    id: str
    key: str
    old: str | None
    new: str
    at_s: int
    actor: str
    reason: str
    confirmed_by: str = ""
    public: dict[str, str] = {}


class Destruction(Record, frozen=True):
    """One principal's request to destroy a key, good until another confirms it in time."""

    key: str
    actor: str
    reason: str
    requested_s: int
    expires_s: int


class Content(Record, frozen=True):
    """Everything the file says."""

    format: str
    revision: int
    created_s: int
    custodian: dict[str, str | int]
    masters: list[Master]
    signing_keys: list[SigningKey]
    data_keys: list[WrappedDataKey]
    floors: dict[str, int]
    kek_epoch: int = 1
    kek_created_s: int = 0
    destructions: list[Destruction] = []
    transitions: list[Transition] = []


class KeyringFile(Record, frozen=True):
    """The file: content and its authentication code."""

    content: Content
    mac: bytes


def decode(raw: bytes) -> KeyringFile:
    """Decode the file's bytes, not yet authenticated.

    Raises:
        KeyringTampered: They are not the canonical form of a keyring of this version.
    """
    try:
        file = msgspec.json.decode(raw, type=KeyringFile)
        whole = _canonical(file) == raw and file.content.format == FORMAT
    except (msgspec.MsgspecError, UnicodeDecodeError):
        whole = False
    if not whole:
        raise KeyringTampered(
            "The keyring's file is damaged or of another version. Restore it from its backup."
        )
    return file


def authenticate(file: KeyringFile, *, kek: bytes) -> Content:
    """Return the content of a file that was written under `kek`.

    Raises:
        KeyringTampered: It was changed since.
    """
    if not hmac.compare_digest(file.mac, _mac(file.content, kek)):
        raise KeyringTampered(
            "The keyring's file was changed from outside. Restore it from its backup."
        )
    return file.content


def encode(content: Content, *, kek: bytes) -> bytes:
    """Return the bytes of a file with this content."""
    return _canonical(KeyringFile(content, _mac(content, kek)))


def _mac(content: Content, kek: bytes) -> bytes:
    key = derive_key(kek, b"sealgate/keyring-v1/authentication")
    return hmac.digest(key, _canonical(content), "sha256")


def _canonical(record: Record) -> bytes:
    # For what a keyring holds (text, whole numbers, bytes, member names in ASCII) this is the form
    # of RFC 8785, at a hundredth of the time; a test compares the two.
    return msgspec.json.encode(record, order="sorted")
