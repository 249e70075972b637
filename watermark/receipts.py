"""Signed receipts: what a deployment says it answered, checkable with its public key alone.

A receipt is a JWS in compact form (RFC 7515) over JSON claims, signed with Ed25519 (RFC 8037):
docs/formats/receipt-v1.md. The key stays where it is; signing is a function that is passed in.
What was answered stands in it as a commitment under a salt of its own, so that neither the log
nor the receipt tells the text to who has to guess it.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from watermark.errors import ReceiptInvalid

TYPE = "sealgate-receipt+jwt"
ALGORITHM = "EdDSA"
VERSION = 1
KEY_BYTES = 32
# A receipt of eight choices has some 3,000 characters.
LIMIT_CHARACTERS = 100_000

_SALT_LABEL = b"sealgate/receipt-v1/salt"


@dataclass(frozen=True, slots=True)
class Output:
    """One choice of the answer. salt: 32 bytes. commitment: 32 bytes, HMAC-SHA256 of the text."""

    choice: int
    tokens: int
    salt: bytes
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt claims.

    issuer: the log's origin. issued_s: Unix seconds. entry: index of the answer's outcome in the
    log. size, root: the checkpoint that covers it; root has 32 bytes.
    """

    issuer: str
    request_id: str
    issued_s: int
    model_id: str
    model_digest: str
    ending: str
    outputs: tuple[Output, ...]
    entry: int
    size: int
    root: bytes


def salt(key: bytes, choice: int) -> bytes:
    """Derive the salt of one choice. key: 32 bytes, of the request."""
    return _mac(key, _SALT_LABEL + choice.to_bytes(4, "big"))


def commitment(text: str, *, salt: bytes) -> bytes:
    """Commit to a text: to the bytes of its UTF-8 form, as the client received it."""
    return _mac(salt, text.encode())


def _mac(key: bytes, message: bytes) -> bytes:
    # Not `hmac.digest`: that lets go of the interpreter's lock for a microsecond's work.
    return hmac.new(key, message, hashlib.sha256).digest()


def key_id(public_key: bytes) -> str:
    """Name a public key: the thumbprint of its JWK (RFC 7638)."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _encoded(public_key)}
    return _encoded(hashlib.sha256(_json(members)).digest())


def public_jwk(public_key: bytes) -> dict[str, str]:
    """Return a public key as a JWK (RFC 8037). public_key: raw Ed25519, 32 bytes."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _encoded(public_key),
        "alg": ALGORITHM,
        "use": "sig",
        "kid": key_id(public_key),
    }


def read_jwk(text: str | bytes) -> bytes:
    """Return the raw Ed25519 public key of a JWK.

    Raises:
        ReceiptInvalid: It is not one.
    """
    fields = _object(text, "The key")
    if (fields.get("kty"), fields.get("crv")) != ("OKP", "Ed25519"):
        raise ReceiptInvalid("The key is no Ed25519 key in JWK form.")
    key = _decoded(fields.get("x"))
    if len(key) != KEY_BYTES:
        raise ReceiptInvalid(f"The key is no Ed25519 key: its x is not {KEY_BYTES} bytes.")
    return key


def sign(receipt: Receipt, *, public_key: bytes, signer: Callable[[bytes], bytes]) -> str:
    """Return the receipt as a compact JWS. signer: makes the public key's Ed25519 signature."""
    header = {"alg": ALGORITHM, "kid": key_id(public_key), "typ": TYPE}
    signed = f"{_encoded(_json(header))}.{_encoded(_json(_claims(receipt)))}"
    return f"{signed}.{_encoded(signer(signed.encode()))}"


def verify(token: str, *, public_key: bytes) -> Receipt:
    """Return what a receipt claims, once its signature holds.

    Raises:
        ReceiptInvalid: It is malformed, of another type or version, or not signed by this key.
    """
    # 1. The form, before anything is decoded.
    parts = token.strip().split(".")
    if len(token) > LIMIT_CHARACTERS or len(parts) != 3:  # noqa: PLR2004 - RFC 7515, 3.1.
        raise ReceiptInvalid("This is no receipt: a compact JWS has three parts.")
    # 2. The header: one type and one algorithm, never what the token asks for.
    header = _object(_decoded(parts[0]), "The receipt's header")
    if (header.get("typ"), header.get("alg")) != (TYPE, ALGORITHM) or "crit" in header:
        raise ReceiptInvalid("This is no receipt of this kind: its header says otherwise.")
    if header.get("kid") != key_id(public_key):
        raise ReceiptInvalid("The receipt names another key than the one given.")
    # 3. The signature, over the parts as they stand.
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            _decoded(parts[2]), f"{parts[0]}.{parts[1]}".encode()
        )
    except (InvalidSignature, ValueError):
        raise ReceiptInvalid("The receipt's signature does not hold.") from None
    # 4. The claims, which are now the signer's own.
    return _receipt(_object(_decoded(parts[1]), "The receipt"))


def check_text(receipt: Receipt, text: str) -> Output:
    """Return the choice whose text this is, to the last byte.

    Raises:
        ReceiptInvalid: It is none of them.
    """
    for output in receipt.outputs:
        if hmac.compare_digest(commitment(text, salt=output.salt), output.commitment):
            return output
    raise ReceiptInvalid("The text is not what the receipt was given for; not one byte may differ.")


def _claims(receipt: Receipt) -> dict[str, Any]:
    return {
        "iss": receipt.issuer,
        "iat": receipt.issued_s,
        "jti": receipt.request_id,
        "ver": VERSION,
        "model": {"id": receipt.model_id, "digest": receipt.model_digest},
        "ending": receipt.ending,
        "outputs": [
            {
                "choice": output.choice,
                "tokens": output.tokens,
                "salt": _encoded(output.salt),
                "commitment": f"hmac-sha256:{output.commitment.hex()}",
            }
            for output in receipt.outputs
        ],
        "entry": receipt.entry,
        "checkpoint": {"size": receipt.size, "root": _encoded(receipt.root)},
    }


def _receipt(claims: dict[str, Any]) -> Receipt:
    if claims.get("ver") != VERSION:
        raise ReceiptInvalid(f"The receipt is of another version; this reads version {VERSION}.")
    try:
        return Receipt(
            issuer=str(claims["iss"]),
            request_id=str(claims["jti"]),
            issued_s=int(claims["iat"]),
            model_id=str(claims["model"]["id"]),
            model_digest=str(claims["model"]["digest"]),
            ending=str(claims["ending"]),
            outputs=tuple(_output(each) for each in claims["outputs"]),
            entry=int(claims["entry"]),
            size=int(claims["checkpoint"]["size"]),
            root=_decoded(claims["checkpoint"]["root"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ReceiptInvalid("The receipt lacks a claim, or one has the wrong type.") from None


def _output(fields: dict[str, Any]) -> Output:
    digest = bytes.fromhex(str(fields["commitment"]).removeprefix("hmac-sha256:"))
    return Output(int(fields["choice"]), int(fields["tokens"]), _decoded(fields["salt"]), digest)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ReceiptInvalid(f"{what} is not JSON.") from None
    if not isinstance(value, dict):
        raise ReceiptInvalid(f"{what} is no JSON object.")
    return value


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ReceiptInvalid("The receipt lacks a part.")
    try:
        padded = text + "=" * (-len(text) % 4)
        data = base64.b64decode(padded.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ReceiptInvalid("A part of the receipt is no base64url.") from None
    # One spelling for each value, so that no second receipt has the same signature.
    if _encoded(data) != text:
        raise ReceiptInvalid("A part of the receipt is no base64url in its one form.")
    return data
