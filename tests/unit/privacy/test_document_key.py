"""The key that signs documents: one signature a message, and no twin of it."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from privacy import signatures
from privacy.keyring import Keyring

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _verifier(point):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def test_signature_verifies_under_the_published_point(keyring):
    signature = keyring.sign_document(b"attributes")
    key = keyring.document_key()
    assert len(key.public) == 65
    _verifier(key.public).verify(signature, b"attributes", ec.ECDSA(hashes.SHA256()))


def test_key_survives_another_opening(tmp_path, keyring, key_file):
    again = Keyring.unlock(tmp_path / "keyring", key_file)
    assert again.document_key() == keyring.document_key()
    assert again.sign_document(b"x") == keyring.sign_document(b"x")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_message_has_one_signature_and_its_twin_is_not_it(seed, message):
    signature = signatures.sign_p256(message, seed=seed)
    assert signatures.sign_p256(message, seed=seed) == signature
    r, s = decode_dss_signature(signature)
    assert 0 < s <= ORDER // 2
    twin = encode_dss_signature(r, ORDER - s)
    point = signatures.public_key(seed, algorithm=signatures.P256)
    # The twin does verify: that is why the smaller is taken.
    _verifier(point).verify(twin, message, ec.ECDSA(hashes.SHA256()))


def test_every_seed_gives_a_scalar():
    for seed in (bytes(32), b"\xff" * 32):
        assert len(signatures.public_key(seed, algorithm=signatures.P256)) == 65
