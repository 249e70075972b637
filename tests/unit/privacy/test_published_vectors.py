"""Published vectors of what keys and seals are made of, and an oracle of the chunked encryption."""

import base64
import hashlib
import json
import re
import zlib
from collections import Counter

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import KeyringTampered
from privacy.wrapping import unwrap

CHUNK, TAG, SALT, COMMITMENT = 16384, 16, 24, 32
KEY = bytes(range(32))


def opened(ciphertext, *, key, context, algorithm, aead=b"AEAD_AES_256_GCM", size=32):
    """Decrypt by the text of C2SP chunked-encryption, sections "Key derivation" to "AEAD usage"."""
    if len(key) != size or len(ciphertext) < SALT + COMMITMENT + TAG:
        raise InvalidTag
    salt, rest = ciphertext[:SALT], ciphertext[SALT:]
    info = b"c2sp.org/chunked-encryption@v1+" + aead + b"\0" + salt + context
    derived = HKDFExpand(algorithm=algorithm, length=size + 12 + COMMITMENT, info=info).derive(key)
    inner, nonce = derived[:size], int.from_bytes(derived[size : size + 12], "big")
    if rest[:COMMITMENT] != derived[size + 12 :]:
        raise InvalidTag
    body, plain = rest[COMMITMENT:], b""
    chunks = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)]
    if not chunks or len(chunks[-1]) >= CHUNK + TAG or len(chunks[-1]) < TAG:
        raise InvalidTag
    for number, chunk in enumerate(chunks):
        plain += AESGCM(inner).decrypt((nonce ^ number).to_bytes(12, "big"), chunk, None)
    return plain


def expanded(data):
    return zlib.decompress(data, wbits=zlib.MAX_WBITS | 32)


def by_library(ciphertext, context):
    decryptor = Cobblestone256Decryptor(KEY, context)
    return decryptor.update(ciphertext) + decryptor.finalize()


def records(path):
    """Yield the records of a NIST-style vector file as dicts of lower-case names."""
    record = {}
    for line in path.read_text().splitlines():
        found = re.match(r"\s*([A-Za-z]\w*)\s*[:=]\s*(\S*)\s*$", line)
        if found and found[1].lower() == "count" and record:
            yield record
            record = {}
        if found:
            record[found[1].lower()] = found[2].removeprefix("0x")
    yield record


def test_the_oracle_agrees_with_the_published_vectors(vectors):
    document = json.loads((vectors / "chunked-encryption" / "vectors.json").read_text())
    seen = set()
    for vector in document["vectors"]:
        sizes = {"AEAD_AES_128_GCM": 16, "AEAD_AES_256_GCM": 32}
        if vector["aead"] not in sizes or vector.get("ciphertext") is None:
            continue
        options = {
            "key": bytes.fromhex(vector["key"]),
            "context": vector["context"].encode(),
            "aead": vector["aead"].encode(),
            "size": sizes[vector["aead"]],
        }
        ciphertext = base64.b64decode(vector["ciphertext"])
        if vector.get("compressed"):
            ciphertext = expanded(ciphertext)
        found = None
        for algorithm in (hashes.SHA256(), hashes.SHA512()):
            try:
                found = opened(ciphertext, algorithm=algorithm, **options)
            except InvalidTag:
                continue
        if vector["expect"] == "success":
            assert found is not None, vector["name"]
            assert hashlib.sha256(found).hexdigest() == vector["payload_sha256"]
        else:
            assert found is None, vector["name"]
        seen.add((vector["aead"], vector["expect"] == "success"))
    assert len(seen) == 4


@settings(max_examples=30, deadline=None)
@given(
    length=st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]),
    context=st.binary(max_size=40),
)
def test_the_library_does_what_the_oracle_does(length, context):
    plain = (bytes(range(256)) * (length // 256 + 1))[:length]
    encryptor = Cobblestone256Encryptor(KEY, context)
    ciphertext = encryptor.update(plain) + encryptor.finalize()
    assert len(ciphertext) == length + 56 + TAG * (length // CHUNK + 1)
    assert opened(ciphertext, key=KEY, context=context, algorithm=hashes.SHA512()) == plain
    for wrong in (ciphertext[:-1], ciphertext[:-TAG], ciphertext + b"\0", ciphertext[1:]):
        with pytest.raises(InvalidTag):
            by_library(wrong, context)
        with pytest.raises(InvalidTag):
            opened(wrong, key=KEY, context=context, algorithm=hashes.SHA512())


def test_aes_gcm(vectors):
    """NIST's, of 256-bit keys and 96-bit nonces: the cipher inside of every chunk."""
    outcomes = Counter()
    for each in records(vectors / "ciphers" / "AES" / "GCM" / "gcmDecrypt256.rsp"):
        if len(each["iv"]) != 24 or len(each["tag"]) != 32:
            continue
        key, iv, aad, ciphertext, tag = (
            bytes.fromhex(each[name]) for name in ("key", "iv", "aad", "ct", "tag")
        )
        if "pt" in each:
            plain = bytes.fromhex(each["pt"])
            assert AESGCM(key).decrypt(iv, ciphertext + tag, aad) == plain
            assert AESGCM(key).encrypt(iv, plain, aad) == ciphertext + tag
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(iv, ciphertext + tag, aad)
        outcomes["pt" in each] += 1
    assert min(outcomes.values()) > 100, outcomes


def test_aes_gcm_siv(vectors):
    count = 0
    for each in records(vectors / "ciphers" / "AES" / "GCM-SIV" / "openssl.txt"):
        if "key" not in each or "iv" not in each:
            continue
        key, iv, plain, aad, sealed, tag = (
            bytes.fromhex(each.get(name, ""))
            for name in ("key", "iv", "plaintext", "aad", "ciphertext", "tag")
        )
        if len(key) != 32 or not plain:
            continue
        assert AESGCMSIV(key).encrypt(iv, plain, aad) == sealed + tag
        # What a keyring unwraps is nonce and ciphertext; one bit of it, or another identity, fails.
        wrapped = iv + sealed + tag
        assert unwrap(wrapped, under=key, identity=aad) == plain
        for wrong, identity in (
            (flipped(wrapped), aad),
            (wrapped[:-1], aad),
            (wrapped, aad + b"x"),
        ):
            with pytest.raises(KeyringTampered):
                unwrap(wrong, under=key, identity=identity)
        count += 1
    assert count > 20


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def test_argon2id(vectors):
    count = 0
    for each in records(vectors / "KDF" / "argon2id.txt"):
        output = bytes.fromhex(each["output"])
        derived = Argon2id(
            salt=bytes.fromhex(each["salt"]),
            length=len(output),
            iterations=int(each["iter"]),
            lanes=int(each["lanes"]),
            memory_cost=int(each["memcost"]),
            ad=bytes.fromhex(each.get("ad", "")) or None,
            secret=bytes.fromhex(each.get("secret", "")) or None,
        ).derive(bytes.fromhex(each["pass"]))
        assert derived == output
        count += 1
    assert count >= 5


def test_hkdf_sha256(vectors):
    count = 0
    for each in records(vectors / "KDF" / "rfc-5869-HKDF-SHA256.txt"):
        if "ikm" not in each:
            continue
        derived = HKDF(
            algorithm=hashes.SHA256(),
            length=int(each["l"]),
            salt=bytes.fromhex(each["salt"]) or None,
            info=bytes.fromhex(each["info"]),
        ).derive(bytes.fromhex(each["ikm"]))
        assert derived.hex() == each["okm"]
        count += 1
    assert count >= 2
