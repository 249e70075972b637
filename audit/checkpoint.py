"""Signed tree heads: C2SP tlog-checkpoint, a signed note with one Ed25519 signature of the log.

The key's name is the log's origin. Signatures of other keys (witnesses) may follow ours.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.errors import CheckpointInvalid
from audit.merkle import HASH_BYTES

ED25519 = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 4
NOTE_LIMIT_BYTES = 65_536
SIZE_PATTERN = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
# Control characters other than newline.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
# What a key name may be (C2SP signed-note): no space of any kind, no plus sign.
NAME_PATTERN = re.compile(r"[^\s+]+")


# Name, key id, signature.
_Signature = tuple[str, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to at one size. root: 32 bytes."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text, which is what gets signed (tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The key that a log's checkpoints verify under. public_key: raw Ed25519, 32 bytes."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that name the key in a signature line (signed-note, "Signatures")."""
        named = self.name.encode() + b"\n" + ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def encode(self) -> str:
        """Return the one-line form that an operator publishes: `name+id+key`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public_key)}"

    @staticmethod
    def decode(text: str) -> "VerifierKey":
        """Read the one-line form.

        Raises:
            CheckpointInvalid: It is not one, or its id is not that of its key.
        """
        parts = text.strip().split("+", 2)
        encoded = _unbase64(parts[-1])
        if len(parts) != 3 or len(encoded) != 1 + KEY_BYTES or encoded[:1] != ED25519:  # noqa: PLR2004 - name, id, key.
            raise CheckpointInvalid("This is no verifier key: it reads `name+id+key`, Ed25519.")
        key = VerifierKey(parts[0], encoded[1:])
        if not NAME_PATTERN.fullmatch(key.name) or key.key_id.hex() != parts[1]:
            raise CheckpointInvalid("The verifier key's name and id do not belong to its key.")
        return key


def sign(checkpoint: Checkpoint, *, public_key: bytes, signer: Callable[[bytes], bytes]) -> str:
    """Return the signed note.

    Raises:
        CheckpointInvalid: What `signer` made is no signature of `public_key`.
    """
    text = checkpoint.text()
    signature = signer(text.encode())
    key = VerifierKey(checkpoint.origin, public_key)
    _verify_signature(key, signature, text)
    return f"{text}\n\u2014 {key.name} {_base64(key.key_id + signature)}\n"


def verify(
    note: str, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Checkpoint:
    """Return the checkpoint that a signed note holds.

    earlier: keys that the log was signed with before its key was rotated; any of them will do.

    Raises:
        CheckpointInvalid: It is malformed, of another log, or not signed by such a key.
    """
    text, signatures = _parts(note)
    checkpoint = _parse(text)
    if checkpoint.origin != origin:
        raise _of_another_log(checkpoint.origin, origin, text, signatures, (public_key, *earlier))
    _require_signed(
        text, signatures, [VerifierKey(origin, each) for each in (public_key, *earlier)]
    )
    return checkpoint


def unverified(note: str) -> Checkpoint:
    """Return what a signed note says, whoever signed it.

    Raises:
        CheckpointInvalid: It is malformed.
    """
    text, _ = _parts(note)
    return _parse(text)


def _parts(note: str) -> tuple[str, list[_Signature]]:
    """Split a note at its last empty line into its text and its signature lines."""
    if not isinstance(note, str) or len(note) > NOTE_LIMIT_BYTES or CONTROL.search(note):
        raise CheckpointInvalid("The note is no text, too long, or holds control characters.")
    body, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise CheckpointInvalid("The note has no signature.")
    return body + "\n", [_signature_line(line) for line in lines[:-1].split("\n")]


def _signature_line(line: str) -> _Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    raw = _unbase64(encoded)
    if dash != "\u2014" or not NAME_PATTERN.fullmatch(name) or len(raw) <= KEY_ID_BYTES:
        raise CheckpointInvalid("A signature line is malformed.")
    return name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:]


def _parse(text: str) -> Checkpoint:
    """Read the three lines; this log writes no extension lines and takes none."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:  # noqa: PLR2004 - three lines, each ended.
        raise CheckpointInvalid("A checkpoint's text has exactly three lines.")
    root = _unbase64(lines[2])
    if not SIZE_PATTERN.fullmatch(lines[1]) or len(root) != HASH_BYTES:
        raise CheckpointInvalid("The checkpoint's size or root is malformed.")
    return Checkpoint(lines[0], int(lines[1]), root)


def _require_signed(
    text: str, signatures: Sequence[_Signature], keys: Sequence[VerifierKey]
) -> None:
    """Require that one of the keys signed, and that whatever claims to be theirs is."""
    # Signatures of unknown keys are ignored; every one that claims ours must hold (signed-note).
    ours = [
        (key, signature)
        for name, key_id, signature in signatures
        for key in keys
        if (name, key_id) == (key.name, key.key_id)
    ]
    if not ours:
        raise CheckpointInvalid(
            f"No signature is by the key {keys[0].name}+{keys[0].key_id.hex()}."
        )
    for key, signature in ours:
        _verify_signature(key, signature, text)


def _of_another_log(
    told: str,
    origin: str,
    text: str,
    signatures: Sequence[_Signature],
    public_keys: Sequence[bytes],
) -> CheckpointInvalid:
    """Return what to say of another log's checkpoint: more, if our own key signed it."""
    other = f"The checkpoint is of the log {told!r}, not of {origin!r}."
    try:
        _require_signed(text, signatures, [VerifierKey(told, each) for each in public_keys])
    except CheckpointInvalid:
        return CheckpointInvalid(other)
    return CheckpointInvalid(
        f"{other} The same key signed it: if that is this log, set `origin` to {told!r} again. "
        "A log keeps the name that it began with."
    )


def _verify_signature(key: VerifierKey, signature: bytes, text: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise CheckpointInvalid(
            f"The checkpoint's signature does not hold under {key.name}+{key.key_id.hex()}."
        ) from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    """Decode base64 (RFC 4648 section 4), or return nothing where it has no canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _base64(data) == text else b""
