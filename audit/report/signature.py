"""Whether a file is a report that this deployment's report key signed, whole and unchanged.

A stricter question than a reader of PDF asks: nothing may stand in the file that was not signed,
not even what a reader would call a permitted change. pyHanko has the last word, not the first:
what it parses has been shown to come from the report key.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from asn1crypto import x509  # type: ignore[import-untyped]
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.status import SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from audit.report.errors import ReportForged
from audit.report.hole import read_hole, verify_hole


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report whose signature holds.

    certificate: DER. signed_at: the signer's word. attachments: content by file name.
    """

    certificate: bytes = field(repr=False)
    signed_at: datetime
    attachments: Mapping[str, bytes] = field(repr=False)


def verify_signature(pdf: bytes, *, public_keys: Sequence[bytes]) -> SignedReport:
    """Check a report's signature under the deployment's report keys, P-256 points of 65 bytes.

    public_keys: the active one and earlier ones that are still trusted; any of them will do.

    Raises:
        ReportUnsigned: The file bears no signature.
        ReportForged: The signature is another key's, or does not cover the file as it is.
    """
    # 1. The hole holds one canonical signature, and everything else is covered by it.
    # 2. A report key made it.
    # 3. As PDF: one signature, of the whole file, and pyHanko's bottom line holds.
    hole = read_hole(pdf)
    verify_hole(hole, trusted=public_keys)
    reader = PdfFileReader(io.BytesIO(pdf))
    _require_bottom_line(reader, hole.certificate)
    return SignedReport(
        certificate=hole.certificate,
        signed_at=reader.embedded_signatures[0].self_reported_timestamp,
        attachments=_attachments(reader),
    )


def _require_bottom_line(reader: PdfFileReader, certificate: bytes) -> None:
    if len(reader.embedded_signatures) != 1:
        raise ReportForged("The file bears more than one signature; a report has one.")
    signature = reader.embedded_signatures[0]
    trusted = ValidationContext(
        trust_roots=[x509.Certificate.load(certificate)], allow_fetching=False
    )
    try:
        status = validate_pdf_signature(signature, trusted)
    except SignatureValidationError as error:
        raise ReportForged("The signature is not that of a PDF document.") from error
    if not status.bottom_line or status.coverage is not SignatureCoverageLevel.ENTIRE_FILE:
        raise ReportForged("The signature does not hold for the whole document.")


def _attachments(reader: PdfFileReader) -> dict[str, bytes]:
    """Return the document's attachments by name."""
    try:
        names = reader.root["/Names"]["/EmbeddedFiles"]["/Names"]
    except KeyError:
        return {}
    pairs = [(names[at], names[at + 1]) for at in range(0, len(names), 2)]
    return {str(name): bytes(given["/EF"]["/F"].data) for name, given in pairs}
