"""Signatures of the keyring: Ed25519 (RFC 8032), and with ML-DSA-65 (FIPS 204) beside it on seals.

A hybrid signature holds as long as either scheme does: both halves must verify.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from privacy.errors import SignatureInvalid

ED25519 = "Ed25519"
MLDSA65 = "ML-DSA-65"
ED25519_BYTES = 64
HYBRID_BYTES = ED25519_BYTES + 3309
_CONTEXT = b"sealgate/sealed-v1"


def public_key(seed: bytes, *, algorithm: str) -> bytes:
    """Return the raw public key of a 32-byte seed. algorithm: `Ed25519` or `ML-DSA-65`."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return MLDSA65PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def sign(message: bytes, *, seed: bytes) -> bytes:
    """Return the Ed25519 signature, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def sign_hybrid(message: bytes, *, ed25519_seed: bytes, mldsa65_seed: bytes) -> bytes:
    """Return both signatures, Ed25519 first, 3373 bytes."""
    second = MLDSA65PrivateKey.from_seed_bytes(mldsa65_seed).sign(message, _CONTEXT)
    return sign(message, seed=ed25519_seed) + second


def verify_hybrid(message: bytes, signature: bytes, *, ed25519: bytes, mldsa65: bytes) -> None:
    """Check both signatures under raw public keys of 32 and 1952 bytes.

    Raises:
        SignatureInvalid: Either does not cover the message.
    """
    first, second = signature[:ED25519_BYTES], signature[ED25519_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(ed25519).verify(first, message)
        MLDSA65PublicKey.from_public_bytes(mldsa65).verify(second, message, _CONTEXT)
    except InvalidSignature:
        raise SignatureInvalid("The signature does not cover the message.") from None
