"""Content credentials for a text: a C2PA manifest in characters that have no ink.

C2PA 2.4: a manifest store (JUMBF, clause 11) with a claim, its assertions and a COSE signature,
carried behind the text as variation selectors (appendix A.8). Who pastes the text elsewhere takes
it along, unless the place strips such characters. The mark in the words does not depend on it.

The certificate is self-issued: a validator shows the signer as not on its trust list.
"""

import hashlib
import struct
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from watermark.cbor import Tagged, encode

MAGIC = b"C2PATXT\x00"
WRAPPER_VERSION = 1
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_PREFIX = "\ufeff"
_SUFFIX = bytes.fromhex("00110010800000AA00389B71")
_EDDSA = -8
_COSE_SIGN1 = 18
_ALGORITHM, _CERTIFICATES = 1, 33
_ZERO, _FULL = 0x00, 0x10


@dataclass(frozen=True, slots=True)
class Origin:
    """What the manifest says of a text.

    producer: who offers the service. product, version: the software. issued: RFC 3339.
    """

    producer: str
    product: str
    version: str
    request_id: str
    choice: int
    model_id: str
    model_digest: str
    issued: str


@dataclass(frozen=True, slots=True)
class Signer:
    """certificate: DER of an Ed25519 key. sign: makes that key's signature, 64 bytes."""

    certificate: bytes
    sign: Callable[[bytes], bytes]


def credential(text: str, origin: Origin, signer: Signer) -> str:
    """Return the characters to put behind `text`, which is hashed in NFC as the standard says."""
    body = unicodedata.normalize("NFC", text).encode()
    # The manifest names the wrapper's length, so its size is settled with a placeholder first.
    size = len(_store(body, 0, origin, signer))
    return _wrapped(_store(body, _padded_bytes(size), origin, signer), _padded_bytes(size))


def _store(body: bytes, wrapper_bytes: int, origin: Origin, signer: Signer) -> bytes:
    name = f"urn:c2pa:{_identifier(origin)}"
    assertions = {
        "c2pa.actions.v2": _actions(origin),
        "c2pa.hash.data": _binding(body, wrapper_bytes),
        "org.sealgate.aigc": _aigc(origin),
    }
    boxes = {label: _cbor_box(b"cbor", label, value) for label, value in assertions.items()}
    claim = encode(_claim(name, boxes, origin))
    signed = _signature(claim, signer)
    manifest = _superbox(
        b"c2ma",
        name,
        _superbox(b"c2as", "c2pa.assertions", *boxes.values()),
        _superbox(b"c2cl", "c2pa.claim.v2", _box(b"cbor", claim)),
        _superbox(b"c2cs", "c2pa.signature", _box(b"cbor", signed)),
    )
    return _superbox(b"c2pa", "c2pa", manifest)


def _actions(origin: Origin) -> Mapping[str, Any]:
    created = {
        "action": "c2pa.created",
        "when": Tagged(0, origin.issued),
        "digitalSourceType": GENERATED,
        "softwareAgent": {"name": origin.product, "version": origin.version},
    }
    return {"actions": [created]}


def _binding(body: bytes, wrapper_bytes: int) -> Mapping[str, Any]:
    """Bind the manifest to the text: everything but the wrapper behind it is hashed."""
    return {
        # As bytes of fixed width: whatever the length is, the manifest's size stays the same.
        "exclusions": [{"start": _Wide(len(body)), "length": _Wide(wrapper_bytes)}],
        "alg": "sha256",
        "hash": hashlib.sha256(body).digest(),
        "pad": b"",
    }


def _aigc(origin: Origin) -> Mapping[str, Any]:
    """Return the implicit label of GB 45438-2025: generated, by whom, in which request."""
    return {
        "AIGC": {
            "Label": "1",
            "ContentProducer": origin.producer,
            "ProduceID": f"{origin.request_id}/{origin.choice}",
            "ReservedCode1": origin.model_digest,
            "ContentPropagator": origin.producer,
            "PropagateID": f"{origin.request_id}/{origin.choice}",
            "ReservedCode2": "",
        },
        "model": origin.model_id,
    }


def _claim(name: str, boxes: Mapping[str, bytes], origin: Origin) -> Mapping[str, Any]:
    return {
        "instanceID": f"xmp:iid:{_identifier(origin)}",
        "claim_generator_info": {"name": origin.product, "version": origin.version},
        "signature": f"self#jumbf=/c2pa/{name}/c2pa.signature",
        "created_assertions": [
            {
                "url": f"self#jumbf=c2pa.assertions/{label}",
                # Over the box without its own header of eight bytes (clause 8.4.2.3).
                "hash": hashlib.sha256(box[8:]).digest(),
            }
            for label, box in boxes.items()
        ],
        "alg": "sha256",
    }


def _signature(claim: bytes, signer: Signer) -> bytes:
    """Return a COSE_Sign1 with a detached payload (RFC 9052, 4.4)."""
    protected = encode({_ALGORITHM: _EDDSA, _CERTIFICATES: [signer.certificate]})
    signature = signer.sign(encode(["Signature1", protected, b"", claim]))
    return encode(Tagged(_COSE_SIGN1, [protected, {}, None, signature]))


def _identifier(origin: Origin) -> uuid.UUID:
    named = f"{origin.request_id}/{origin.choice}/{origin.issued}".encode()
    return uuid.UUID(bytes=hashlib.sha256(named).digest()[:16], version=4)


def _cbor_box(kind: bytes, label: str, value: Any) -> bytes:
    return _superbox(kind, label, _box(b"cbor", encode(value)))


def _superbox(kind: bytes, label: str, *children: bytes) -> bytes:
    """Return a JUMBF superbox (ISO 19566-5): its description first, requestable by its label."""
    description = kind + _SUFFIX + b"\x03" + label.encode() + b"\x00"
    return _box(b"jumb", _box(b"jumd", description) + b"".join(children))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _padded_bytes(manifest_bytes: int) -> int:
    """Return the wrapper's length in UTF-8: its longest, and room to pad up to it exactly."""
    return 3 + (13 + manifest_bytes) * 4 + 6


def _wrapped(manifest: bytes, length: int) -> str:
    header = struct.pack(">8sBI", MAGIC, WRAPPER_VERSION, len(manifest))
    wrapper = _PREFIX + "".join(_selector(byte) for byte in header + manifest)
    gap = length - len(wrapper.encode())
    # A gap of 6 or more is a sum of threes and fours.
    fours = gap % 3
    return wrapper + _selector(_FULL) * fours + _selector(_ZERO) * ((gap - 4 * fours) // 3)


def _selector(byte: int) -> str:
    """Return the variation selector of a byte: three bytes in UTF-8 below 16, else four."""
    return chr(0xFE00 + byte) if byte < _FULL else chr(0xE0100 + byte - _FULL)


class _Wide(int):
    """A number that is encoded in four bytes whatever its value."""

    def to_cbor(self) -> bytes:
        """Return the encoded number."""
        return b"\x1a" + struct.pack(">I", self)
