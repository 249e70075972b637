"""A sealed file's signature as others check it: an OpenSSF model-signing bundle, version 1.0.

An in-toto statement of the file's digest in a DSSE envelope, signed by the `seal` key of ECDSA
P-256; the project `model_signing` verifies it with the public key alone. It covers the file as it
lies there, ciphertext; what is inside is what the seal's own signatures cover.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privacy import sealed
from privacy.errors import SealMissing
from privacy.keyring import Keyring

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def bundle(path: Path, *, keyring: Keyring) -> bytes:
    """Verify a sealed file and return the bundle that signs it, as JSON.

    Raises:
        SealMissing, SealBroken: It cannot be read, or is not what was sealed.
        KeyUnknown: This keyring was made before it had such a key; rotate `seal`.
    """
    model = sealed.verify(path, keyring=keyring)
    payload = _statement(model.model_id, path.name, _digest(path))
    signature = keyring.sign_document(_pae(payload), "seal")
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(public_key_pem(keyring)).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": _base64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _base64(signature), "keyid": ""}],
        },
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def public_key_pem(keyring: Keyring) -> bytes:
    """Return the public key that bundles verify under, in PEM.

    Raises:
        KeyUnknown: This keyring was made before it had such a key; rotate `seal`.
    """
    point = keyring.document_key("seal").public
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _statement(model_id: str, name: str, digest: bytes) -> bytes:
    # The subject's digest is that of its resources' digests, joined; there is one.
    root = hashlib.sha256(digest).hexdigest()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model_id, "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest.hex()}],
        },
    }
    return json.dumps(statement).encode()


def _pae(payload: bytes) -> bytes:
    """Encode what is signed (DSSE protocol, "PAE"); its prefix is the domain separation."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise SealMissing(f"{path} cannot be read: {error.strerror}.") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
