"""Signatures of the keyring: Ed25519 (RFC 8032), and with ML-DSA-65 (FIPS 204) beside it on seals.

A hybrid signature holds as long as either scheme does: both halves must verify. Documents are
signed with ECDSA over P-256 (FIPS 186-5), which readers of PDF know; few of them know Ed25519.
"""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privacy.errors import SignatureInvalid

ED25519 = "Ed25519"
MLDSA65 = "ML-DSA-65"
P256 = "ECDSA-P256"
ED25519_BYTES = 64
HYBRID_BYTES = ED25519_BYTES + 3309
_CONTEXT = b"sealgate/sealed-v1"
# The order of P-256's group; SP 800-186, section 3.2.1.3.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def public_key(seed: bytes, *, algorithm: str) -> bytes:
    """Return the raw public key of a 32-byte seed.

    algorithm: `Ed25519`, `ML-DSA-65`, or `ECDSA-P256` (an uncompressed point, 65 bytes).
    """
    if algorithm == P256:
        point = _p256(seed).public_key()
        return point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
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


def sign_p256(message: bytes, *, seed: bytes) -> bytes:
    """Return the ECDSA signature with SHA-256 in DER; one message has one signature.

    The nonce is RFC 6979's and of s and -s the smaller is taken, so nobody can turn the signature
    into another valid one.
    """
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(_p256(seed).sign(message, algorithm))
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def _p256(seed: bytes) -> ec.EllipticCurvePrivateKey:
    # 512 bits reduced by a 256-bit order leave no bias to speak of (FIPS 186-5, A.2.1).
    wide = int.from_bytes(hashlib.sha512(b"sealgate/keyring-v1/p256" + seed).digest(), "big")
    return ec.derive_private_key(wide % (_P256_ORDER - 1) + 1, ec.SECP256R1())
