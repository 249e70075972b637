import importlib.util

import pytest

from privacy.deidentify import Pseudonyms
from privacy.identifiers import find
from privacy.presidio import PresidioMissing, finder

INSTALLED = importlib.util.find_spec("presidio_analyzer") is not None


@pytest.mark.skipif(INSTALLED, reason="Presidio is installed")
def test_presidio_that_is_asked_for_and_absent_is_named():
    with pytest.raises(PresidioMissing, match=r"sealgate\[presidio\]"):
        finder()


@pytest.mark.skipif(not INSTALLED, reason="Presidio is not installed")
def test_presidio_finds_what_has_a_check_digit_and_we_do_not_know():
    # A DEA number whose last digit checks, and a bitcoin address.
    text = "AB1234563 sent it to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa."
    found = [(text[f.start : f.end], f.kind) for f in finder()(text)]
    assert ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "account") in found
    assert "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa" not in [text[f.start : f.end] for f in find(text)]


@pytest.mark.skipif(not INSTALLED, reason="Presidio is not installed")
def test_presidio_adds_to_our_own_and_takes_nothing_away():
    text = "Patient: Maria Gonzalez, MRN 00123456, card 4111111111111111, on 2026-01-05."
    both = {i for f in finder()(text) for i in range(f.start, f.end)}
    assert both >= {i for f in find(text) for i in range(f.start, f.end)}
    pseudonyms = Pseudonyms(finder())
    hidden = pseudonyms.hide(text)
    assert "4111" not in hidden
    assert pseudonyms.restore(hidden) == text


@pytest.mark.skipif(not INSTALLED, reason="Presidio is not installed")
def test_plain_numbers_are_left_alone():
    assert finder()("Give 500 mg for 7 days; platelets 250000.") == []
