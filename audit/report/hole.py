"""The hole in a signed PDF: the only bytes that its signature does not cover.

So they must be the only bytes that could stand there. Readers are lenient with them: the case of
a digit, what follows the signature, its encoding, unsigned attributes and spare certificates may
all be changed in a file that still validates. Here the signature is taken apart, put together
again as `audit.report.signing` does, and must come out the same to the last bit.

This runs on bytes that nobody vouches for yet, so it does not parse PDF.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from asn1crypto import (  # type: ignore[import-untyped]
    cms,
    core,
    parser,
    tsp,  # noqa: F401 - importing it teaches asn1crypto the attribute that names a certificate
    x509,
)
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from audit.report.errors import ReportForged, ReportUnsigned

_RANGE = re.compile(rb"/ByteRange \[0 (\d{1,12}) (\d{1,12}) (\d{1,12}) *\]")
_DIGITS = re.compile(rb"<([0-9A-F]+)>")
# The order of P-256's group; SP 800-186, section 3.2.1.3.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CHANGED = "The report was changed after it was signed: "


@dataclass(frozen=True, slots=True)
class Hole:
    """What stands in the hole, and the digest of everything around it.

    certificate: DER. attributes: the signed attributes as they are hashed. signature: DER.
    """

    certificate: bytes
    attributes: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    digest: bytes


def read_hole(pdf: bytes) -> Hole:
    """Read the hole of the last signature of a file, which must cover all else.

    Raises:
        ReportUnsigned: There is no signature.
        ReportForged: It does not cover the whole file, or its hole is not canonical.
    """
    start, end = bounds(pdf)
    digits = _DIGITS.fullmatch(pdf[start:end])
    if digits is None:
        raise ReportForged(f"{_CHANGED}its signature is not written in upper-case hex digits.")
    try:
        return _parsed(bytes.fromhex(digits[1].decode("ascii")), pdf[:start] + pdf[end:])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ReportForged(f"{_CHANGED}its signature cannot be read.") from error


def detached(pdf: bytes) -> bytes:
    """Return a report's signature as CMS in DER (RFC 5652), of everything around the hole.

    It is the same signature that the file bears, for tools that know no PDF.

    Raises:
        ReportUnsigned, ReportForged: as `read_hole`.
    """
    start, end = bounds(pdf)
    read_hole(pdf)
    content = bytes.fromhex(pdf[start + 1 : end - 1].decode("ascii"))
    return content[: parser.peek(content)]


def verify_hole(hole: Hole, *, trusted: Sequence[bytes]) -> None:
    """Check that a report key signed what is around the hole.

    trusted: P-256 points that the deployment published, 65 bytes each; any of them will do.

    Raises:
        ReportForged: Another key signed, or the file was changed since.
    """
    # Nothing of the hole is interpreted before its attributes have proved to be a key's own.
    if not any(_signed(hole, point) for point in trusted):
        raise ReportForged(
            "The signature is not that of this deployment's report key, or was changed."
        )
    attributes = {
        each["type"].native: each["values"].native
        for each in cms.CMSAttributes.load(hole.attributes)
    }
    if attributes["message_digest"] != [hole.digest]:
        raise ReportForged(f"{_CHANGED}its bytes are not those that were signed.")
    # ESSCertIDv2 (RFC 5035, section 4) binds the certificate, which nothing else does.
    named = attributes["signing_certificate_v2"][0]["certs"][0]["cert_hash"]
    if named != hashlib.sha256(hole.certificate).digest():
        raise ReportForged(f"{_CHANGED}its certificate is not the one that it was signed with.")


def _signed(hole: Hole, point: bytes) -> bool:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    try:
        key.verify(hole.signature, hole.attributes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def bounds(pdf: bytes) -> tuple[int, int]:
    """Return where the hole starts and ends, its angle brackets included."""
    found = _RANGE.match(pdf, max(pdf.rfind(b"/ByteRange "), 0))
    if found is None:
        raise ReportUnsigned("The file is no signed report.")
    start, end, length = (int(each) for each in found.groups())
    if not 0 < start < end or end + length != len(pdf):
        raise ReportForged(
            "The signature does not cover the whole file: something was added to it or cut off."
        )
    return start, end


def _parsed(content: bytes, around: bytes) -> Hole:
    size = parser.peek(content)
    if content[size:].strip(b"\0"):
        raise ReportForged(f"{_CHANGED}something follows the signature in its hole.")
    info = cms.ContentInfo.load(content[:size], strict=True)
    signed = info["content"]
    signer = signed["signer_infos"][0]
    certificate = signed["certificates"][0].chosen.dump()
    attributes = signer["signed_attrs"].untag().dump()
    signature = signer["signature"].native
    if _assembled(certificate, attributes, signature) != content[:size]:
        raise ReportForged(f"{_CHANGED}its signature is not in the form that the gateway writes.")
    _require_smaller(signature)
    return Hole(certificate, attributes, signature, hashlib.sha256(around).digest())


def _assembled(certificate: bytes, attributes: bytes, signature: bytes) -> bytes:
    """Put a signature together: one signer, one certificate, nothing that is not signed."""
    holder = x509.Certificate.load(certificate)
    digest = {"algorithm": "sha256"}
    signer = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            {
                "issuer_and_serial_number": {
                    "issuer": holder.issuer,
                    "serial_number": holder.serial_number,
                }
            }
        ),
        "digest_algorithm": digest,
        "signed_attrs": cms.CMSAttributes.load(attributes),
        "signature_algorithm": {"algorithm": "sha256_ecdsa"},
        "signature": core.OctetString(signature),
    }
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "data"},
            "certificates": [cms.CertificateChoices(name="certificate", value=holder)],
            "signer_infos": [signer],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())


def _require_smaller(signature: bytes) -> None:
    """Refuse the other signature that anybody can make of one: (r, n - s) beside (r, s)."""
    _, s = decode_dss_signature(signature)
    if s > _ORDER // 2:
        raise ReportForged(f"{_CHANGED}its signature was replaced by its twin.")
