"""A C2SP witness: it signs a checkpoint only if that extends every one it signed before.

Source: c2sp.org/tlog-witness (the exchange) and c2sp.org/tlog-cosignature (the signature).
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.anchors.kinds import ProofFrom
from audit.anchors.web import Answer, post
from audit.errors import AnchorFailed

COSIGNATURE = b"\x04"
KEY_ID_BYTES = 4
TIME_BYTES = 8
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The key that a witness's cosignatures verify under. public_key: raw Ed25519."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that name the key in a signature line (tlog-cosignature, "Ed25519")."""
        named = self.name.encode() + b"\n" + COSIGNATURE + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def encode(self) -> str:
        """Return the one-line form that a witness publishes."""
        material = base64.b64encode(COSIGNATURE + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @staticmethod
    def decode(text: str) -> "WitnessKey":
        """Read the one-line form.

        Raises:
            AnchorFailed: It is not one.
        """
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            material = base64.b64decode(encoded, validate=True)
            key = WitnessKey(name, material[1:])
            Ed25519PublicKey.from_public_bytes(key.public_key)
        except ValueError:
            raise AnchorFailed("This is no witness's key: it reads `name+id+key`.") from None
        if material[:1] != COSIGNATURE or key.key_id.hex() != key_id:
            raise AnchorFailed("The witness's key is no cosignature key, or its id is another's.")
        return key


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under `url`, known by its key."""

    url: str
    key: WitnessKey
    kind: str = "witness"
    gives_back: bool = False

    @property
    def place(self) -> str:
        """The witness's name."""
        return self.key.name

    def keep(self, note: str, *, since: int, proof_from: ProofFrom, now_ms: int) -> bytes:  # noqa: ARG002 - A witness has its own clock.
        """Ask for a cosignature and return the cosigned note; see `Anchor.keep`."""
        answer = self._ask(note, since, proof_from)
        if answer.status == HTTPStatus.CONFLICT:
            # It knows a later size than we remember, or an earlier one after a loss of its own.
            answer = self._ask(note, _size(answer.body), proof_from)
        if answer.status != HTTPStatus.OK:
            raise AnchorFailed(f"The witness {self.place} answered {answer.status}.")
        receipt = note.encode() + answer.body
        self.check(note, receipt)
        return receipt

    def kept(self) -> Iterator[str]:
        """Yield nothing: a witness gives no checkpoint back; see `Anchor.kept`."""
        return iter(())

    def check(self, note: str, receipt: bytes) -> None:
        """Check the cosignature; see `Anchor.check`."""
        cosigned_at(receipt.decode(errors="replace"), note, self.key)

    def _ask(self, note: str, old: int, proof_from: ProofFrom) -> Answer:
        proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in proof_from(old))
        body = f"old {old}\n{proof}\n{note}"
        return post(
            f"{self.url.rstrip('/')}/add-checkpoint",
            body.encode(),
            headers={"content-type": "text/plain"},
        )


def cosigned_at(receipt: str, note: str, key: WitnessKey) -> int:
    """Return when the witness cosigned `note`, in seconds since 1970.

    Raises:
        AnchorFailed: `receipt` is not `note` with a cosignature of that key.
    """
    if not receipt.startswith(note):
        raise AnchorFailed("The receipt is of another checkpoint.")
    text = note.rpartition("\n\n")[0] + "\n"
    for line in receipt[len(note) :].splitlines():
        claim = _claim(line, key)
        if claim is None:
            continue
        stamp = int.from_bytes(claim[:TIME_BYTES], "big")
        message = f"cosignature/v1\ntime {stamp}\n{text}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(claim[TIME_BYTES:], message)
        except InvalidSignature:
            raise AnchorFailed(f"The cosignature of {key.name} does not hold.") from None
        return stamp
    raise AnchorFailed(f"{key.name} did not cosign the checkpoint.")


def _claim(line: str, key: WitnessKey) -> bytes | None:
    """Return time and signature of a line that claims to be by `key`."""
    prefix = f"\u2014 {key.name} "
    if not line.startswith(prefix):
        return None
    try:
        raw = base64.b64decode(line.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None
    right = len(raw) == KEY_ID_BYTES + TIME_BYTES + SIGNATURE_BYTES
    return raw[KEY_ID_BYTES:] if right and raw[:KEY_ID_BYTES] == key.key_id else None


def _size(body: bytes) -> int:
    """Read the size that a witness names in a conflict (tlog-witness, "add-checkpoint")."""
    text = body.decode(errors="replace").removesuffix("\n")
    if not text.isascii() or not text.isdecimal():
        raise AnchorFailed("The witness named no size.")
    return int(text)
