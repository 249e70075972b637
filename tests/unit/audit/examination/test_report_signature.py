"""A signed report: what other programs say of it, and every way to change it unnoticed."""

import hashlib
import io
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest
from asn1crypto import cms, x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from reportlab.pdfgen.canvas import Canvas

from audit.report import signing
from audit.report.certificate import armoured, issue, public_key
from audit.report.errors import CertificateMalformed, ReportForged, ReportUnsigned
from audit.report.hole import bounds
from audit.report.signature import verify_signature

AGAIN = """
import hashlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
import conftest
from audit.report.signing import sign_report
page = pathlib.Path(sys.argv[2]).read_bytes()
attachments = {"summary.json": b'{"a":1}', "other.json": b"[]"}
key, at = conftest.make_key(20261101), conftest.END + conftest.DAY
signed = sign_report(page, attachments=attachments, key=key, signed_at=at)
print(hashlib.sha256(signed).hexdigest(), end="")
"""
ATTACHMENTS = {"summary.json": b'{"a":1}', "other.json": b"[]"}
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def page():
    """A one-page PDF: what is printed does not matter to a signature."""
    target = io.BytesIO()
    canvas = Canvas(target, invariant=1)
    canvas.drawString(100, 700, "A report")
    canvas.save()
    return target.getvalue()


@pytest.fixture
def pdf(signed, page):
    return signed(None, pdf=page, attachments=ATTACHMENTS)


@pytest.fixture
def verify(report_key):
    return lambda pdf: verify_signature(pdf, public_keys=[report_key.public])


def _content(pdf):
    """Return the signature in the hole, and the number of bytes there is room for."""
    start, end = bounds(pdf)
    room = bytes.fromhex(pdf[start + 1 : end - 1].decode())
    return cms.ContentInfo.load(room), len(room)


def _refilled(pdf, content):
    start, end = bounds(pdf)
    _, room = _content(pdf)
    digits = content.ljust(room, b"\0").hex().upper().encode()
    assert len(digits) == end - start - 2
    return pdf[: start + 1] + digits + pdf[end - 1 :]


def test_signed_report_holds_and_gives_back_its_attachments(verify, pdf):
    found = verify(pdf)
    assert found.attachments == ATTACHMENTS
    assert found.signed_at.isoformat() == "2026-12-02T00:00:00+00:00"


def test_signature_only_adds_to_what_was_printed(pdf, page):
    assert pdf.startswith(page)


def test_same_report_key_and_time_give_the_same_bytes(signed, page, pdf):
    assert signed(None, pdf=page, attachments=ATTACHMENTS) == pdf


def test_bytes_do_not_depend_on_the_process_or_its_clock(page, pdf, tmp_path, report_key):
    # Each process has hash seeds of its own, and its start is later than this one's.
    (tmp_path / "page.pdf").write_bytes(page)
    run = [sys.executable, "-c", AGAIN, str(Path(__file__).parent), str(tmp_path / "page.pdf")]
    again = subprocess.run(run, capture_output=True, check=True).stdout
    assert again == hashlib.sha256(pdf).hexdigest().encode()


def test_other_attachments_give_another_identifier(signed, page, pdf):
    other = signed(None, pdf=page, attachments={"summary.json": b"{}"})
    ids = [pypdf.PdfReader(io.BytesIO(each)).trailer["/ID"] for each in (pdf, other)]
    assert ids[0][0] == ids[1][0]
    assert ids[0][1] != ids[1][1]


def test_other_readers_find_the_attachments(pdf):
    found = pypdf.PdfReader(io.BytesIO(pdf)).attachments
    assert {name: contents[0] for name, contents in found.items()} == ATTACHMENTS


@pytest.mark.skipif(shutil.which("pdfsig") is None, reason="poppler's pdfsig is not installed")
def test_poppler_finds_a_valid_signature_of_the_whole_document(tmp_path, pdf):
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf)
    pdfsig = [shutil.which("pdfsig"), str(path)]
    told = subprocess.run(pdfsig, capture_output=True, text=True, check=True).stdout
    assert "Signature is Valid" in told
    assert "Total document signed" in told
    assert "ETSI.CAdES.detached" in told


def test_certificate_names_the_log_and_its_key(report_key):
    certificate = issue(report_key)
    assert public_key(certificate) == report_key.public
    assert public_key(armoured(certificate).encode()) == report_key.public
    assert b"Sealgate reports of sealgate.example/log" in certificate


def test_certificate_of_one_key_is_always_the_same(report_key):
    assert issue(report_key) == issue(report_key)


@pytest.mark.parametrize("given", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(given):
    with pytest.raises(CertificateMalformed):
        public_key(given)


def test_another_deployments_report_is_refused(verify, signed, page, other_key):
    with pytest.raises(ReportForged, match="report key"):
        verify(signed(None, pdf=page, attachments=ATTACHMENTS, key=other_key))


def test_report_of_an_earlier_key_holds_while_that_is_trusted(signed, page, report_key, other_key):
    pdf = signed(None, pdf=page, attachments=ATTACHMENTS)
    keys = [other_key.public, report_key.public]
    assert verify_signature(pdf, public_keys=keys).attachments == ATTACHMENTS
    with pytest.raises(ReportForged):
        verify_signature(pdf, public_keys=[])


@pytest.mark.parametrize("given", [b"", b"%PDF-1.4", b"/ByteRange [0 1 2 3]", b"x" * 1000])
def test_what_is_no_signed_report_is_refused(verify, given):
    with pytest.raises((ReportUnsigned, ReportForged)):
        verify(given)


def test_unsigned_report_is_refused(verify, page):
    with pytest.raises(ReportUnsigned):
        verify(page)


def _refuses(verify, pdf):
    """Say whether it is refused as forged or unsigned; anything else raises."""
    try:
        verify(pdf)
    except (ReportForged, ReportUnsigned):
        return True
    return False


def _flipped(pdf, at, bit):
    changed = bytearray(pdf)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_flip_of_a_bit_anywhere_is_noticed(verify, pdf):
    # 11 is prime to 8, so each bit of a byte is flipped somewhere.
    kept = [at for at in range(0, len(pdf), 11) if not _refuses(verify, _flipped(pdf, at, at % 8))]
    assert kept == []


@pytest.mark.slow
def test_flip_of_every_bit_of_the_signature_and_of_every_byte_is_noticed(verify, pdf):
    start, _ = bounds(pdf)
    end = start + 2 * len(_content(pdf)[0].dump()) + 4
    within = ((at, bit) for at in range(start - 60, end) for bit in range(8))
    without = ((at, at % 8) for at in (*range(start - 60), *range(end, len(pdf))))
    flips = itertools.chain(within, without)
    assert [each for each in flips if not _refuses(verify, _flipped(pdf, *each))] == []


def _lowered(pdf):
    start, end = bounds(pdf)
    return pdf[:start] + pdf[start:end].lower() + pdf[end:]


def _retitled(pdf):
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    info = writer.trailer["/Info"]
    info["/Title"] = generic.pdf_string("Another report")
    writer.update_container(info)
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


@pytest.mark.parametrize("change", [_lowered, _retitled, lambda pdf: pdf + b"% comment\n"])
def test_bottom_line_alone_would_not_notice(verify, pdf, report_key, change):
    trusted = ValidationContext(
        trust_roots=[x509.Certificate.load(issue(report_key))], allow_fetching=False
    )
    signature = PdfFileReader(io.BytesIO(change(pdf))).embedded_signatures[0]
    assert validate_pdf_signature(signature, trusted).bottom_line
    assert _refuses(verify, change(pdf))


def test_digits_in_lower_case_are_noticed(verify, pdf):
    with pytest.raises(ReportForged, match="upper-case"):
        verify(_lowered(pdf))


def test_space_between_digits_is_noticed(verify, pdf):
    _, end = bounds(pdf)
    assert pdf[end - 3 : end - 1] == b"00"
    assert _refuses(verify, pdf[: end - 3] + b"  " + pdf[end - 1 :])


def test_bytes_after_the_signature_in_its_hole_are_noticed(verify, pdf):
    info, room = _content(pdf)
    with pytest.raises(ReportForged, match="follows the signature"):
        verify(_refilled(pdf, info.dump().ljust(room - 1, b"\0") + b"\1"))


def test_unsigned_attribute_is_noticed(verify, pdf):
    info, _ = _content(pdf)
    signer = info["content"]["signer_infos"][0]
    attribute = {"type": "content_type", "values": ["data"]}
    signer["unsigned_attrs"] = cms.CMSAttributes([attribute])
    with pytest.raises(ReportForged, match="form"):
        verify(_refilled(pdf, info.dump(force=True)))


def test_spare_certificate_is_noticed(verify, pdf, other_key):
    info, _ = _content(pdf)
    certificates = info["content"]["certificates"]
    spare = cms.CertificateChoices.load(issue(other_key))
    info["content"]["certificates"] = [*certificates, spare]
    assert _refuses(verify, _refilled(pdf, info.dump(force=True)))


def test_swapped_certificate_of_the_same_key_is_noticed(verify, pdf, report_key):
    info, _ = _content(pdf)
    renamed = bytearray(issue(report_key))
    at = renamed.index(b"Sealgate reports")
    renamed[at : at + 8] = b"Somebody"
    content = info.dump().replace(issue(report_key), bytes(renamed))
    assert content != info.dump()
    assert _refuses(verify, _refilled(pdf, content))


def test_twin_of_the_signature_is_noticed(verify, pdf):
    info, _ = _content(pdf)
    signer = info["content"]["signer_infos"][0]
    r, s = decode_dss_signature(signer["signature"].native)
    signer["signature"] = encode_dss_signature(r, ORDER - s)
    with pytest.raises(ReportForged, match="twin"):
        verify(_refilled(pdf, info.dump(force=True)))


def test_signature_of_another_report_is_noticed(verify, signed, page, pdf):
    other = signed(None, pdf=page, attachments={"summary.json": b"{}"})
    info, _ = _content(other)
    with pytest.raises(ReportForged, match="not those that were signed"):
        verify(_refilled(pdf, info.dump()))


def test_appended_revision_is_noticed(verify, pdf):
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    writer.root["/Added"] = generic.pdf_string("later")
    writer.update_root()
    target = io.BytesIO()
    writer.write(target)
    assert target.getvalue().startswith(pdf)
    with pytest.raises(ReportForged, match="whole file"):
        verify(target.getvalue())


def test_revision_of_the_title_alone_is_noticed(verify, pdf):
    with pytest.raises(ReportForged, match="whole file"):
        verify(_retitled(pdf))


@pytest.mark.parametrize("tail", [b"\n", b"\0", b"% comment\n", b"%%EOF\n"])
def test_bytes_behind_the_end_are_noticed(verify, pdf, tail):
    with pytest.raises(ReportForged, match="whole file"):
        verify(pdf + tail)


@pytest.mark.parametrize("cut", [1, 7, 400])
def test_missing_end_is_noticed(verify, pdf, cut):
    assert _refuses(verify, pdf[:-cut])


def test_bytes_before_the_start_are_noticed(verify, pdf):
    assert _refuses(verify, b"\n" + pdf)


def test_second_signature_of_the_same_key_is_noticed(verify, signed, pdf, monkeypatch):
    monkeypatch.setattr(signing, "FIELD", "Second")
    with pytest.raises(ReportForged, match="more than one"):
        verify(signed(None, pdf=pdf, attachments={}))


def test_range_that_leaves_more_out_is_noticed(verify, pdf):
    start, end = bounds(pdf)
    wider = re.sub(rb"/ByteRange \[0 (\d+)", lambda m: b"/ByteRange [0 %d" % (int(m[1]) - 10), pdf)
    assert wider != pdf
    assert bounds(wider) == (start - 10, end)
    assert _refuses(verify, wider)
