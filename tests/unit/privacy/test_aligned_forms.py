import re

import pytest

from privacy.deidentify import Pseudonyms
from privacy.identifiers import KINDS, find

# A form of columns: what stands before a value, with its blanks cut out, and the value.
FORM = [
    ("Dr.", "Smithers", "name"),
    ("Patient:", "Quill Ferro", "name"),
    ("Name:", "Ferro, Quill", "name"),
    ("Next of kin:", "Maria Gonzalez", "name"),
    ("Emergency contact", "Tobias Harrow", "name"),
    ("Sister", "Saoirse", "name"),
    ("Address:", "12 Oak Street", "place"),
    ("Zip code:", "62704", "place"),
    ("Date of birth:", "03/14/1957", "date"),
    ("Seen on", "3/14", "date"),
    ("Age:", "94", "age"),
    ("Telephone number:", "(217) 555-0142", "phone"),
    ("Ext:", "4471", "phone"),
    ("Fax:", "217-555-0143", "fax"),
    ("E-mail:", "q.ferro@example.org", "email"),
    ("SSN:", "219 09 9999", "ssn"),
    ("MRN:", "12345678", "record"),
    ("Medical record no.", "88-1234", "record"),
    ("Member ID:", "ZZ9812", "plan"),
    ("Account number:", "99-12345", "account"),
    ("License #", "D1234567", "licence"),
    ("Plate:", "SPY 876", "vehicle"),
    ("Device serial:", "XK99-123A", "device"),
    ("Portal:", "https://portal.example.org/p/8812", "url"),
    ("Logged in from:", "192.0.2.44", "ip"),
    ("Fingerprint ID:", "FP-7712", "biometric"),
    ("Photograph:", "face_0412.jpg", "photo"),
    ("Specimen", "S24-118", "number"),
]
GAPS = {
    "one space": " ",
    "9 spaces": " " * 9,
    "40 spaces": " " * 40,
    "12 tabs": "\t" * 12,
    "1000 of both": " \t" * 500,
}


def test_aligned_form_holds_every_kind_of_identifier():
    assert {kind for _, _, kind in FORM} == set(KINDS)


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize(("label", "value", "kind"), FORM)
def test_value_is_found_however_far_from_its_label_it_is_set(label, value, kind, gap):
    text = f"{label}{gap}{value}\n"
    assert [(text[f.start : f.end], f.kind) for f in find(text)] == [(value, kind)]


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
def test_aligned_form_goes_out_without_its_values_and_comes_back_with_them(gap):
    form = "".join(f"{label}{gap}{value}\n" for label, value, _ in FORM)
    pseudonyms = Pseudonyms()
    hidden = pseudonyms.hide(form)
    assert not [value for _, value, _ in FORM if re.search(rf"\b{re.escape(value)}", hidden)]
    assert pseudonyms.restore(hidden) == form


@pytest.mark.parametrize("gap", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize(
    "words",
    ["March 12, 2024", "12 March 2024", "12th of March 2024", "March 2024", "James A. Harrow"],
)
def test_value_of_several_words_is_found_whole_however_far_apart_they_are(words, gap):
    text = words.replace(" of ", "|").replace(" ", gap).replace("|", f"{gap}of ")
    assert [(f.start, f.end) for f in find(text)] == [(0, len(text))]


@pytest.mark.parametrize("gap", ["\n", "\r\n" * 5, "\n" + " " * 40])
def test_code_is_found_in_a_line_below_its_label(gap):
    text = f"MRN:{gap}12345678"
    assert [(text[f.start : f.end], f.kind) for f in find(text)] == [("12345678", "record")]


def test_long_address_is_found_to_its_end():
    for text in ("portal.example.com/u/" + "x" * 3000, "https://a.example/u?k=" + "x" * 3000):
        assert [(f.start, f.end) for f in find(text)] == [(0, len(text))]
