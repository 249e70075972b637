"""Sign a report as a PDF: PAdES baseline B-B (ETSI EN 319 142-1), with what it says attached.

One revision is added: the attachments and the signature that covers them and every byte before.
It is a certifying signature that permits no later change. It carries no time-stamp of another
authority: when a report was made is the log's to say, which records its digest.

The same report, key and time give the same bytes. So a verifier can print a report again and
compare everything, not only what is attached.
"""

import asyncio
import hashlib
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from asn1crypto import cms, x509  # type: ignore[import-untyped]
from pyhanko.pdf_utils import embed, generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter
from pyhanko.sign.signers import cms_embedder, pdf_cms
from pyhanko.sign.signers.pdf_byterange import SignatureObject

from audit.report.certificate import ReportKey, Sign, issue

FIELD = "SealgateReport"
REASON = "Evidence report, made and signed by the gateway"
# Hex digits of the hole: twice what an ECDSA signature with its certificate takes in DER.
HOLE_DIGITS = 4096
MEDIA_TYPE = "application/json"


def sign_report(
    pdf: bytes, *, attachments: Mapping[str, bytes], key: ReportKey, signed_at: datetime
) -> bytes:
    """Return the report, signed, with its attachments (JSON by file name) in the same revision.

    signed_at: with its zone, to the second; the signer's own word, as all of the report is.
    """
    certificate = x509.Certificate.load(issue(key))
    writer = _Revision(io.BytesIO(pdf), tag=_tag(pdf, attachments))
    for name in sorted(attachments):
        _attach(writer, name, attachments[name])
    return _certify(writer, _Signer(certificate, key.sign), signed_at)


class _Revision(IncrementalPdfFileWriter):
    """A revision that follows from its content: no drawn identifier, no clock."""

    def __init__(self, stream: io.BytesIO, *, tag: bytes) -> None:
        super().__init__(stream)
        first = self._document_id[0]
        self._document_id = generic.ArrayObject([first, generic.ByteStringObject(tag)])

    def _update_meta(self) -> None:
        """Leave the dates of the printed report as they are."""


class _Signer(pdf_cms.Signer):
    """Leaves the private key where it is: only the attributes to be signed go there."""

    def __init__(self, certificate: x509.Certificate, sign: Sign) -> None:
        super().__init__(signing_cert=certificate)
        self._sign = sign

    async def async_sign_raw(
        self,
        data: bytes,
        digest_algorithm: str,  # noqa: ARG002 - it is SHA-256, as the key's own
        dry_run: bool = False,  # noqa: ARG002, FBT001, FBT002 - the library's signature
    ) -> bytes:
        """Return the signature over the attributes in DER."""
        return self._sign(data)


def _tag(pdf: bytes, attachments: Mapping[str, bytes]) -> bytes:
    hashed = hashlib.sha256(hashlib.sha256(pdf).digest())
    for name in sorted(attachments):
        hashed.update(hashlib.sha256(name.encode()).digest())
        hashed.update(hashlib.sha256(attachments[name]).digest())
    return hashed.digest()[:16]


def _attach(writer: IncrementalPdfFileWriter, name: str, content: bytes) -> None:
    stream = embed.EmbeddedFileObject.from_file_data(
        writer, content, params=embed.EmbeddedFileParams(), mime_type=MEDIA_TYPE
    )
    embed.embed_file(
        writer,
        embed.FileSpec(
            name,
            file_name=name,
            embedded_data=stream,
            description="The same report for machines",
            af_relationship=generic.pdf_name("/Data"),
        ),
    )


def _certify(writer: IncrementalPdfFileWriter, signer: _Signer, signed_at: datetime) -> bytes:
    # 1. A field without appearance; 2. its dictionary; 3. the file with a hole; 4. the hole.
    steps: Any = cms_embedder.PdfCMSEmbedder().write_cms(field_name=FIELD, writer=writer)
    next(steps)
    placeholder = SignatureObject(
        timestamp=signed_at,
        subfilter=SigSeedSubFilter.PADES,
        reason=REASON,
        bytes_reserved=HOLE_DIGITS,
    )
    steps.send(
        cms_embedder.SigObjSetup(
            sig_placeholder=placeholder,
            mdp_setup=cms_embedder.SigMDPSetup(
                md_algorithm="sha256", certify=True, docmdp_perms=MDPPerm.NO_CHANGES
            ),
        )
    )
    prepared, output = steps.send(cms_embedder.SigIOSetup(md_algorithm="sha256"))
    signature: cms.ContentInfo = asyncio.run(
        signer.async_sign(prepared.document_digest, "sha256", use_pades=True)
    )
    steps.send(signature)
    return bytes(output.getvalue())
