"""Published vectors of the signatures and of the recovery key, and an oracle of HPKE."""

import hashlib
import hmac
import json
import re

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy import signatures
from privacy.derivation import bind
from privacy.errors import BackupUnusable, SignatureInvalid
from privacy.recovery import RecoveryKey, seal_to, unseal
from privacy.signatures import ED25519, MLDSA65

# DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: the numbers of RFC 9180, section 7.
KEM_ID, KDF_ID, AEAD_ID = 0x20, 1, 2
KEM_SUITE = b"KEM" + KEM_ID.to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(each.to_bytes(2, "big") for each in (KEM_ID, KDF_ID, AEAD_ID))
BACKUP = bytes(range(16))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# RFC 6979, A.2.5: the private key, and r and s of two messages with SHA-256.
RFC6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC6979 = (
    (
        b"sample",
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    (
        b"test",
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
)


def extract(suite, salt, label, key):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key, "sha256")


def expand(suite, key, label, info, length):
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    output = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + labelled + bytes([number]), "sha256")
        output += block
    return output[:length]


def hpke_opened(sealed, private, *, info, aad=b"", sequence=0):
    """Decrypt by the text of RFC 9180, sections 4.1 and 5.1, base mode."""
    own = X25519PrivateKey.from_private_bytes(private)
    encapsulated, ciphertext = sealed[:32], sealed[32:]
    shared = own.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    context = encapsulated + own.public_key().public_bytes_raw()
    prk = extract(KEM_SUITE, b"", b"eae_prk", shared)
    secret = expand(KEM_SUITE, prk, b"shared_secret", context, 32)
    schedule = b"\0" + extract(SUITE, b"", b"psk_id_hash", b"")
    schedule += extract(SUITE, b"", b"info_hash", info)
    key = extract(SUITE, secret, b"secret", b"")
    nonce = int.from_bytes(expand(SUITE, key, b"base_nonce", schedule, 12), "big") ^ sequence
    cipher = AESGCM(expand(SUITE, key, b"key", schedule, 32))
    return cipher.decrypt(nonce.to_bytes(12, "big"), ciphertext, aad)


def test_the_oracle_of_hpke_agrees_with_the_vectors_of_rfc_9180(vectors):
    suites = json.loads((vectors / "HPKE" / "test-vectors.json").read_text())
    wanted = {"mode": 0, "kem_id": KEM_ID, "kdf_id": KDF_ID, "aead_id": AEAD_ID}
    [suite] = [each for each in suites if wanted.items() <= each.items()]
    told = {name: bytes.fromhex(suite[name]) for name in ("enc", "skRm", "info")}
    for sequence, each in enumerate(suite["encryptions"][:255]):
        ciphertext, aad, plain = (bytes.fromhex(each[name]) for name in ("ct", "aad", "pt"))
        options = {"info": told["info"], "aad": aad, "sequence": sequence}
        assert hpke_opened(told["enc"] + ciphertext, told["skRm"], **options) == plain
        with pytest.raises(InvalidTag):
            hpke_opened(told["enc"] + ciphertext, told["skRm"], **{**options, "aad": b"x"})
    assert len(suite["encryptions"]) > 1


def test_a_recovery_key_is_hpke_as_the_oracle_has_it():
    recovery, key = RecoveryKey.generate(), bytes(range(100, 132))
    sealed = seal_to(recovery.public(), key, backup=BACKUP)
    info = bind(b"sealgate/backup-v1/recovery", BACKUP)
    assert len(sealed) == 80
    assert hpke_opened(sealed, recovery.value, info=info) == key
    assert unseal(recovery, sealed, backup=BACKUP) == key


def test_every_byte_of_a_sealed_backup_key_counts():
    recovery = RecoveryKey.generate()
    sealed = seal_to(recovery.public(), bytes(32), backup=BACKUP)
    for at in range(len(sealed)):
        for bit in (1, 0x80):
            # The highest bit of an X25519 point is not part of it (RFC 7748, section 5), but HPKE
            # binds the encapsulated key as it was sent.
            wrong = bytearray(sealed)
            wrong[at] ^= bit
            with pytest.raises(BackupUnusable):
                unseal(recovery, bytes(wrong), backup=BACKUP)
    for length in range(len(sealed)):
        with pytest.raises(BackupUnusable):
            unseal(recovery, sealed[:length], backup=BACKUP)
    with pytest.raises(BackupUnusable):
        unseal(recovery, sealed, backup=bytes(16))
    # A point of small order would give everybody the same secret.
    with pytest.raises(BackupUnusable):
        unseal(recovery, bytes(32) + sealed[32:], backup=BACKUP)


def test_a_recovery_line_of_a_point_of_small_order_is_refused():
    for value in (0, 1):
        line = f"sealgate-recovery-v1-public-{value.to_bytes(32, 'little').hex()}"
        with pytest.raises(BackupUnusable):
            seal_to(line, bytes(32), backup=BACKUP)


def test_x25519(vectors):
    told = (vectors / "asymmetric" / "X25519" / "rfc7748.txt").read_text()
    values = re.findall(r"^(?:INPUT_SCALAR|INPUT_U|OUTPUT_U) = (.*)$", told, re.MULTILINE)
    triples = list(zip(*[iter(map(bytes.fromhex, values))] * 3, strict=True))
    for scalar, point, output in triples:
        public = X25519PublicKey.from_public_bytes(point)
        assert X25519PrivateKey.from_private_bytes(scalar).exchange(public) == output
    assert len(triples) == told.count("COUNT") >= 2


def test_ed25519(vectors):
    lines = (vectors / "asymmetric" / "Ed25519" / "sign.input").read_text().splitlines()
    for line in lines[:256]:
        secret, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        seed, signature = secret[:32], signed[:64]
        assert signatures.public_key(seed, algorithm=ED25519) == public
        assert signatures.sign(message, seed=seed) == signature


def known_answers(path):
    each = {}
    for line in path.read_text().splitlines():
        found = re.fullmatch(r"(\w+) = ?([0-9a-fA-F]*)", line)
        if found and found[1] == "count" and each:
            yield each
            each = {}
        if found:
            each[found[1]] = found[2]
    yield each


def test_mldsa65(vectors):
    count = 0
    for each in known_answers(vectors / "asymmetric" / "MLDSA" / "kat_MLDSA_65_det_pure.rsp"):
        seed, public, message, context, signed = (
            bytes.fromhex(each[name]) for name in ("xi", "pk", "msg", "ctx", "sm")
        )
        assert signatures.public_key(seed, algorithm=MLDSA65) == public
        key, signature = MLDSA65PublicKey.from_public_bytes(public), signed[:3309]
        key.verify(signature, message, context)
        for wrong, text, label in (
            (signature, message + b"x", context),
            (signature, message, context[:-1] if context else b"x"),
            (signature[:-1] + bytes([signature[-1] ^ 1]), message, context),
        ):
            with pytest.raises(InvalidSignature):
                key.verify(wrong, text, label)
        count += 1
    assert count >= 50


def test_both_halves_of_a_hybrid_signature_are_the_schemes_own():
    seeds = {"ed25519_seed": bytes(32), "mldsa65_seed": bytes([1]) * 32}
    signature = signatures.sign_hybrid(b"message", **seeds)
    ed25519 = signatures.public_key(bytes(32), algorithm=ED25519)
    mldsa65 = signatures.public_key(bytes([1]) * 32, algorithm=MLDSA65)
    keys = {"ed25519": ed25519, "mldsa65": mldsa65}
    signatures.verify_hybrid(b"message", signature, **keys)
    assert signature[:64] == signatures.sign(b"message", seed=bytes(32))
    MLDSA65PublicKey.from_public_bytes(mldsa65).verify(
        signature[64:], b"message", b"sealgate/sealed-v1"
    )
    for length in (0, 63, 64, 65, len(signature) - 1):
        with pytest.raises(SignatureInvalid):
            signatures.verify_hybrid(b"message", signature[:length], **keys)
    with pytest.raises(SignatureInvalid):
        signatures.verify_hybrid(b"message", signature + b"\0", **keys)
    # A half that was made for something else, without the context, does not count.
    with pytest.raises(SignatureInvalid):
        signatures.verify_hybrid(b"other", signature, **keys)


@pytest.mark.parametrize(("message", "r", "s"), RFC6979)
def test_documents_are_signed_with_the_nonces_of_rfc_6979(monkeypatch, message, r, s):
    key = ec.derive_private_key(RFC6979_KEY, ec.SECP256R1())
    monkeypatch.setattr(signatures, "_p256", lambda _: key)
    signature = signatures.sign_p256(message, seed=b"")
    assert decode_dss_signature(signature) == (r, min(s, P256_ORDER - s))


def test_a_p256_key_is_the_one_that_the_format_names():
    wide = int.from_bytes(hashlib.sha512(b"sealgate/keyring-v1/p256" + bytes(32)).digest(), "big")
    key = ec.derive_private_key(wide % (P256_ORDER - 1) + 1, ec.SECP256R1()).public_key()
    point = signatures.public_key(bytes(32), algorithm=signatures.P256)
    assert ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point) == key
