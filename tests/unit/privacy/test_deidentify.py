import json
import re
from re import _parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.deidentify import Pseudonyms, PseudonymsFailed
from privacy.identifiers import KINDS, RECOGNISERS, find, identifies

NOTE = (
    "Patient: Maria Gonzalez, DOB 03/14/1957, MRN: 4471-902. Lives at 12 Oak Street, Springfield, "
    "IL 62704. Call (217) 555-0142 or write maria.g@example.org. Seen by Dr. Okafor on "
    "January 5, 2026."
)


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("Mr. Okonkwo-Bright was seen.", "Okonkwo-Bright", "name"),
        ("Patient name: Zhang, Wei", "Zhang, Wei", "name"),
        ("I spoke to Susan Kowalski.", "Susan Kowalski", "name"),
        ("He lives in Boulder now.", "Boulder", "place"),
        ("at 4500 North Lake Shore Drive", "4500 North Lake Shore Drive", "place"),
        ("in Portland, OR 97201.", "Portland, OR 97201", "place"),
        ("zip 02139", "02139", "place"),
        ("on 2026-01-05", "2026-01-05", "date"),
        ("on 5 March 2024", "5 March 2024", "date"),
        ("on Sept. 3rd", "Sept. 3rd", "date"),
        ("a 94-year-old man", "94", "age"),
        ("phone 617-555-0199", "617-555-0199", "phone"),
        ("reach her at +49 30 901820", "+49 30 901820", "phone"),
        ("fax: 617 555 0100", "617 555 0100", "fax"),
        ("to a.b+c@clinic.example.org", "a.b+c@clinic.example.org", "email"),
        ("SSN 219-09-9999", "219-09-9999", "ssn"),
        ("MRN 00123456", "00123456", "record"),
        ("Member ID: XQH-882134", "XQH-882134", "plan"),
        ("account no. 8812-77", "8812-77", "account"),
        ("DEA AB1234563", "AB1234563", "licence"),
        ("VIN 1HGCM82633A004352", "1HGCM82633A004352", "vehicle"),
        ("pacemaker serial SN-99812A", "SN-99812A", "device"),
        ("see https://portal.example.org/p/8812", "https://portal.example.org/p/8812", "url"),
        ("from 192.0.2.44", "192.0.2.44", "ip"),
        ("fingerprint ID FP-77120", "FP-77120", "biometric"),
        ("image wound_0412.jpg", "wound_0412.jpg", "photo"),
        ("specimen S24-1187", "S24-1187", "number"),
        ("I spoke with Oluchi Oyelaran today.", "Oluchi Oyelaran", "name"),
        ("Ezekiel McAllister was brought in.", "Ezekiel McAllister", "name"),
        ("Later Quill Ferro went home.", "Quill Ferro", "name"),
        ("Her sister Saoirse is here.", "Saoirse", "name"),
        ("signed: Tamsin O'Neill, MD", "Tamsin O'Neill", "name"),
        ("SMITH, JOHN was seen", "SMITH, JOHN", "name"),
        ("transferred out of Larkspur General", "Larkspur General", "place"),
        ("originally from the Millbrook", "Millbrook", "place"),
        ("at PO Box 1182", "PO Box 1182", "place"),
        ("in Larkspur, Ohio", "Larkspur, Ohio", "place"),
        ("last seen 3/14", "3/14", "date"),
        ("in March 2024", "March 2024", "date"),
        ("on 04/2023", "04/2023", "date"),
        ("on 14-Mar-24", "14-Mar-24", "date"),
        ("at 2026-01-05T10:30:00Z", "2026-01-05T10:30:00Z", "date"),
        ("a ninety-four-year-old", "ninety-four", "age"),
        ("93yo woman", "93", "age"),
        ("in her nineties", "nineties", "age"),
        ("pager 555-0142", "555-0142", "phone"),
        ("call 617-555-0199 ext. 12", "617-555-0199 ext. 12", "phone"),
        ("see portal.example.com/u/12", "portal.example.com/u/12", "url"),
        ("as @quill_ferro", "@quill_ferro", "url"),
        ("filed under A12-34567", "A12-34567", "record"),
        ("card 4111 1111 1111 1111", "4111 1111 1111 1111", "account"),
        ("registration SPY 876", "SPY 876", "vehicle"),
        ("it says AB-1234567 there", "AB-1234567", "number"),
        ("it says 12345678 there", "12345678", "number"),
    ],
)
def test_identifier_is_found_as_what_it_is(text, value, kind):
    found = [(text[f.start : f.end], f.kind) for f in find(text)]
    assert (value, kind) in found


@pytest.mark.parametrize(
    "text",
    [
        "The patient was stable and afebrile.",
        "Blood pressure 120/80, pulse 72, temperature 37.2.",
        "Give 500 mg amoxicillin three times a day for 7 days.",
        "May increase the dose. Will follow up in March.",
        "A 45-year-old man with type 2 diabetes.",
        "Version 1.2.3 of the protocol applies.",
        "pH 7.35, pCO2 44, HCO3 24.",
        "Pain 7/10 today, strength 5/5 on both sides, vision 20/40.",
        "Crohn Disease and Barrett Esophagus are stable. Continue Metformin and Lipitor.",
        "Chief Complaint: Chest pain. Past Medical History: Type 2 Diabetes.",
        "Left Ventricular Ejection Fraction is 55 %. Blood Pressure was normal.",
        "Platelets 250,000; WBC 7.4; INR 2.3; CD4 205; vitamin B12 400; HbA1c 6.1.",
        "Started on Amoxicillin 500 mg. The Glasgow Coma Scale is 15.",
        "Please give 100-200 mg over 30-60 minutes, every 4-6 h, ICD-10 E11.65.",
        "A woman of 89 years. He is 72 years old. A two-year-old boy.",
        "COVID-19 and SARS-CoV-2 were negative; HLA-B27 positive.",
    ],
)
def test_plain_medicine_identifies_nobody(text):
    assert find(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Explain how Machine Learning works with Random Forest, please.",
        "What did Aristotle Onasson say in March 2024 about the moon?",
        '{"model": "auto", "seed": 12345678, "user": "x"}',
        "Compare example.com with the city near Larkspur.",
    ],
)
def test_what_may_be_a_name_is_hidden_and_makes_nobodys_text_a_patients(text):
    assert find(text)
    assert not identifies(text)


def test_what_is_surely_an_identifier_makes_a_text_a_patients():
    assert identifies("Patient: Quill Ferro")
    assert identifies("MRN 00123456")
    assert identifies("Write to a@b.example.org")


def test_every_safe_harbor_kind_has_a_recogniser():
    # 164.514(b)(2)(i)(A) to (R); the age over 89 belongs to (C).
    assert set(KINDS) == {
        *("name", "place", "date", "age", "phone", "fax", "email", "ssn", "record", "plan"),
        *("account", "licence", "vehicle", "device", "url", "ip", "biometric", "photo", "number"),
    }


def test_note_goes_out_without_its_values_and_comes_back_with_them():
    pseudonyms = Pseudonyms()
    hidden = pseudonyms.hide(NOTE)
    for value in ("Gonzalez", "1957", "4471", "Oak", "62704", "555-0142", "@example", "Okafor"):
        assert value not in hidden
    assert pseudonyms.restore(hidden) == NOTE


def test_value_that_is_known_is_hidden_where_nothing_announces_it():
    pseudonyms = Pseudonyms()
    hidden = pseudonyms.hide("Patient: Quill Ferro. Later Quill Ferro went home.")
    assert "Quill" not in hidden
    assert len(set(re.findall(r"NAME_\w+", hidden))) == 1


def test_value_that_a_later_text_announces_is_hidden_in_the_earlier_ones():
    pseudonyms = Pseudonyms()
    pseudonyms.hide("Patient: Quill Ferro.")
    early = pseudonyms.hide("Quill Ferro slept well.")
    assert "Quill" not in early
    assert pseudonyms.restore(early) == "Quill Ferro slept well."


def test_counts_tell_kinds_and_no_value():
    pseudonyms = Pseudonyms()
    pseudonyms.hide("Mr. Ames and Mr. Ames met Ms. Brook on 2026-01-05.")
    assert pseudonyms.counts == {"name": 2, "date": 1}


def test_two_requests_share_no_pseudonym():
    first, second = (Pseudonyms().hide(NOTE) for _ in range(2))
    assert not set(re.findall(r"[A-Z]+_[0-9A-F]{10}", first)) & set(
        re.findall(r"[A-Z]+_[0-9A-F]{10}", second)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_stream_is_restored_wherever_it_is_cut(size):
    pseudonyms = Pseudonyms()
    hidden = pseudonyms.hide(NOTE)
    restorer = pseudonyms.restorer()
    told = [restorer.feed(hidden[i : i + size]) for i in range(0, len(hidden), size)]
    assert "".join([*told, restorer.finish()]) == NOTE


def test_stream_of_plain_text_is_hardly_held():
    restorer = Pseudonyms().restorer()
    assert restorer.feed("all well, ") == "all well, "


def test_arguments_of_a_tool_stay_json():
    pseudonyms = Pseudonyms()
    call = pseudonyms.hide_json({"to": 'Mr. Quote "Ace" Smith', "note": ["Dr. House", 5, None]})
    assert "House" not in json.dumps(call)
    pseudonyms._by_pseudonym[call["note"][0].split()[-1]] = 'Ho"use'
    assert json.loads(pseudonyms.restore_json_text(json.dumps(call)))["note"][0] == 'Dr. Ho"use'


def test_recogniser_that_fails_lets_nothing_out():
    def broken(_):
        raise RuntimeError

    with pytest.raises(PseudonymsFailed):
        Pseudonyms(recognise=broken).hide("Mr. Smith")


def test_unknown_pseudonym_is_left_alone():
    assert Pseudonyms().restore("NAME_0123456789") == "NAME_0123456789"


def test_value_that_touches_a_letter_comes_back():
    pseudonyms = Pseudonyms()
    assert pseudonyms.restore(pseudonyms.hide("A219-09-9999B")) == "A219-09-9999B"


@given(st.text(max_size=300))
def test_any_text_comes_back(text):
    pseudonyms = Pseudonyms()
    assert pseudonyms.restore(pseudonyms.hide(text)) == text


@pytest.mark.parametrize(
    "text", ["A" * 50_000, "a@" * 20_000, "1-" * 20_000, "Aa " * 20_000, ": " * 20_000, "0:" * 9000]
)
def test_hostile_text_takes_bounded_time(text):
    # The default limit of a test would end this one if a pattern went quadratic and worse.
    find(text)


# Runs of blanks that give none back: no recogniser begins among them, so none is read again.
BLANK_RUNS = {str(_parser.parse(run)[0]) for run in (r"\s*+", r"[ \t]++")}


def unbounded(parsed):
    """Return whether a parsed pattern repeats something without a limit, looking ahead included."""
    if isinstance(parsed, tuple) and str(parsed) in BLANK_RUNS:
        return False
    if isinstance(parsed, tuple | list | _parser.SubPattern):
        return any(unbounded(each) for each in parsed)
    return parsed is _parser.MAXREPEAT


def test_no_recogniser_looks_beyond_a_bounded_stretch_of_text():
    """One that did would take hours for a text that is made for it, before a tier is chosen."""
    assert unbounded(_parser.parse(r"a(?=b*c)"))
    assert unbounded(_parser.parse(r"(?:a|b{2,}){3}"))
    assert unbounded(_parser.parse(r"a\s*b"))
    assert unbounded(_parser.parse(r"a(?:\s*+b)*"))
    assert unbounded(_parser.parse(r"a[a-z]*+b"))
    assert not unbounded(_parser.parse(r"(?:a|b{2,9}){3}"))
    assert not unbounded(_parser.parse(r"a(?:\s*+b){2}[ \t]++"))
    for recogniser in RECOGNISERS:
        assert not unbounded(_parser.parse(recogniser.pattern.pattern)), recogniser.pattern.pattern


@pytest.mark.parametrize(
    "text",
    [
        *(" ", "\t", "\n", " \t\r\n", "id" + " " * 9999, "id no id no id" + "\n" * 9999),
        *("Dr." + "\t" * 9999, "Patient:" + " " * 9999 + "\n", "March" + " " * 9999 + "of"),
        *("James" + " " * 99 + "A.", "Aa" + " " * 9999, "5" + " " * 9999, "aged" + " " * 9999),
        *("a.com/", "www.", "http://www.", "www.,"),
    ],
)
def test_long_runs_are_read_in_time_that_grows_with_them(text):
    # The default limit of a test would end this one if they were read once for each character.
    told = text * (400_000 // len(text)) + "\nWrite to ann@ward.example."
    assert any(told[f.start : f.end] == "ann@ward.example" for f in find(told))


@pytest.mark.parametrize(
    "text", ["ID ", "id" + " " * 99, "MRN-", "Aa-", "Patient:" + " " * 99, "plate\n", "A. "]
)
def test_text_that_is_made_for_recognisers_is_read_to_its_end(text):
    told = text * (60_000 // len(text)) + "\nWrite to ann@ward.example."
    assert identifies(told)
    assert any(told[f.start : f.end] == "ann@ward.example" for f in find(told))
