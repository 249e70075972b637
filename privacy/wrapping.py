"""Keys under keys: AES-256-GCM-SIV (RFC 8452), the wrapped key's identity as associated data."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from privacy.errors import KeyringTampered

NONCE_BYTES = 12


def wrap(key: bytes, *, under: bytes, identity: bytes) -> bytes:
    """Return nonce ‖ ciphertext of `key`. under: 32 bytes."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCMSIV(under).encrypt(nonce, key, identity)


def unwrap(wrapped: bytes, *, under: bytes, identity: bytes) -> bytes:
    """Return what `wrap` wrapped.

    Raises:
        KeyringTampered: Another key, another identity, or changed bytes.
    """
    nonce, ciphertext = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
    try:
        return AESGCMSIV(under).decrypt(nonce, ciphertext, identity)
    except (InvalidTag, ValueError):
        raise KeyringTampered(
            "A wrapped key does not open as what it says it is. Restore the keyring's backup."
        ) from None
