"""The report key's certificate: self-issued X.509, so that readers of PDF can show who signed.

It adds no trust of its own. Whoever checks a report must hold the certificate, or its key, from
the deployment itself and not from the report. It names no end of validity (RFC 5280, 4.1.2.5):
what ends a report key is its removal from the keyring, not a date.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from asn1crypto import algos, keys, pem, x509  # type: ignore[import-untyped]

from audit.report.errors import CertificateMalformed

# The message goes in whole: the signer hashes it with SHA-256. The answer is ECDSA in DER.
Sign = Callable[[bytes], bytes]

FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
NAME_LIMIT = 64
UTC_TIME_ENDS = 2050


@dataclass(frozen=True, slots=True)
class ReportKey:
    """What signs reports. public: an uncompressed P-256 point, 65 bytes. created: with its zone."""

    origin: str
    public: bytes
    created: datetime
    sign: Sign = field(repr=False)


def issue(key: ReportKey) -> bytes:
    """Return the certificate of a report key in DER; one key has one certificate."""
    name = x509.Name.build({"common_name": f"Sealgate reports of {key.origin}"[:NAME_LIMIT]})
    algorithm = algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"})
    body = x509.TbsCertificate(
        {
            "version": "v3",
            "serial_number": _serial(key.public),
            "signature": algorithm,
            "issuer": name,
            "subject": name,
            "validity": {
                "not_before": _time(key.created.astimezone(UTC).replace(microsecond=0)),
                "not_after": _time(FOREVER),
            },
            "subject_public_key_info": _key_info(key.public),
            "extensions": _extensions(key.public),
        }
    )
    return bytes(
        x509.Certificate(
            {
                "tbs_certificate": body,
                "signature_algorithm": algorithm,
                "signature_value": key.sign(body.dump()),
            }
        ).dump()
    )


def armoured(certificate: bytes) -> str:
    """Return a certificate as PEM (RFC 7468)."""
    return str(pem.armor("CERTIFICATE", certificate).decode("ascii"))


def public_key(certificate: bytes) -> bytes:
    """Return the P-256 point of a certificate in DER or PEM, 65 bytes.

    Raises:
        CertificateMalformed: It is no certificate of a P-256 key.
    """
    try:
        if pem.detect(certificate):
            _, _, certificate = pem.unarmor(certificate)
        info = x509.Certificate.load(certificate, strict=True).public_key
        if (info.algorithm, info.curve) == ("ec", ("named", "secp256r1")):
            return bytes(info["public_key"].native)
    except (ValueError, TypeError, KeyError) as error:
        raise CertificateMalformed("The report key's certificate cannot be read.") from error
    raise CertificateMalformed("The certificate is not of a P-256 key, which signs reports.")


def _serial(public: bytes) -> int:
    """Return 16 bytes of the key's digest, positive (RFC 5280, 4.1.2.2)."""
    return int.from_bytes(hashlib.sha256(public).digest()[:16], "big") >> 1 or 1


def _time(moment: datetime) -> x509.Time:
    """Choose the form of a time by its year (RFC 5280, 4.1.2.5)."""
    name = "utc_time" if moment.year < UTC_TIME_ENDS else "general_time"
    return x509.Time({name: moment})


def _key_info(public: bytes) -> keys.PublicKeyInfo:
    algorithm = {
        "algorithm": "ec",
        "parameters": keys.ECDomainParameters(name="named", value="secp256r1"),
    }
    return keys.PublicKeyInfo({"algorithm": algorithm, "public_key": keys.ECPointBitString(public)})


def _extensions(public: bytes) -> list[dict[str, object]]:
    """Return the extensions: an end entity that signs documents and nothing else."""
    # RFC 5280, 4.2.1.2, method (1).
    identifier = hashlib.sha1(public).digest()  # noqa: S324 - an identifier, not a digest
    return [
        {"extn_id": "basic_constraints", "critical": True, "extn_value": {"ca": False}},
        {
            "extn_id": "key_usage",
            "critical": True,
            "extn_value": {"digital_signature", "non_repudiation"},
        },
        {"extn_id": "key_identifier", "critical": False, "extn_value": identifier},
    ]
