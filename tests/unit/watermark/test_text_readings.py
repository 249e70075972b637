# ruff: noqa: RUF001 - Letters that are taken for others are what this is about.
import time
import unicodedata

import numpy as np
import pytest

from watermark.fingerprint import fingerprint
from watermark.lookalikes import LATIN
from watermark.readings import MOST_READINGS, readings

PLAIN = (
    "The nurse wrote the dose down. She asked Dr. Lee (again) whether it was right.\n"
    "\n"
    "1. First, look at the chart.\n"
    "2. Then tell the ward, and I will sign."
)


def last(text):
    return readings(text)[-1].text


def test_ordinary_text_has_one_reading():
    assert [each.text for each in readings(PLAIN)] == [PLAIN]
    assert [each.text for each in readings("")] == [""]


@pytest.mark.parametrize(
    "hidden",
    ["\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\ufe0f", "\U000e0101", "\x00"],
)
def test_characters_without_ink_are_left_out(hidden):
    disguised = hidden.join(PLAIN)
    first, second, *_ = readings(disguised)
    assert (first.text, second.text) == (disguised, PLAIN)


def test_marks_stacked_on_letters_are_left_out_and_accents_stay():
    assert last("T\u0336h\u0336e\u0336 caf\u0065\u0301 is open.") == "The café is open."


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000", "  ", " \u00a0 "])
def test_any_white_space_is_a_space(space):
    assert last(PLAIN.replace(" ", space)) == PLAIN


@pytest.mark.parametrize("end", ["\r\n", "\r", "\u2028", "  \n"])
def test_any_line_end_is_a_line_feed(end):
    assert last(PLAIN.replace("\n", end)) == PLAIN


def test_empty_lines_in_excess_go():
    assert last(PLAIN.replace("\n\n", "\n\n\n\n")) == PLAIN


def test_lookalikes_become_latin_where_latin_was_meant():
    back = {letter: alike for alike, letter in LATIN.items()}
    for share in (1, 2, 3):
        disguised = "".join(
            back.get(c, c) if i % share == 0 else c for i, c in enumerate("The open access case.")
        )
        assert last(disguised + " And a plain sentence after it.") == (
            "The open access case. And a plain sentence after it."
        )


@pytest.mark.parametrize(
    "text", ["Москва — столица России, и она очень стара.", "Η Αθήνα είναι πρωτεύουσα της Ελλάδας."]
)
def test_text_in_another_script_keeps_it(text):
    assert last(text) == text


def test_full_width_and_mathematical_letters_become_plain():
    assert last("Ｔｈｅ 𝐝𝐨𝐬𝐞 was right.") == "The dose was right."


def test_lines_broken_to_fit_are_joined_and_lists_stay():
    wrapped = (
        "The ward was quiet when the night shift began, and the two\n"
        "nurses shared the rounds until the older one went home.\n"
        "\n"
        "A list:\n"
        "1. One\n"
        "2. Two"
    )
    assert last(wrapped) == wrapped.replace("two\nnurses", "two nurses")


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_text_in_one_case_gets_its_sentences_back(change):
    text = "The dose was right. She signed it, and I did too.\nThen we left."
    assert last(change(text)) == text


def test_every_lookalike_survives_normalisation():
    assert all(unicodedata.normalize("NFKC", alike) == alike for alike in LATIN)


def test_text_of_ordinary_case_keeps_it():
    assert last("iPhone users, NASA and I agree.  Yes.") == "iPhone users, NASA and I agree. Yes."


def test_spans_lead_back_to_the_original():
    disguised = "\u200b".join("Ｔｈｅ   dose\r\n\r\nwas right. İstanbul.")
    for reading in readings(disguised):
        assert len(reading.origins) == len(reading.text)
        assert (np.diff(reading.origins) >= 0).all()
    reading = readings(disguised)[1]
    place = reading.text.index("dose")
    start, end = reading.span(place, place + 4)
    assert disguised[start:end].replace("\u200b", "") == "dose"


def test_first_word_of_a_text_a_line_and_a_sentence_gets_its_capital():
    shouted = '"STOP." THEY DID... "WHY?" (I ASKED.)  - NO.\n* THE END! ) YES. É. 5 OF 6'
    assert last(shouted) == (
        '"Stop." They did... "Why?" (I asked.)  - No.\n* The end! ) Yes. É. 5 of 6'.replace(
            "  ", " "
        )
    )


def test_marks_beyond_what_a_letter_can_bear_are_no_more_than_a_disguise():
    assert last("".join(letter + "\u20d2" * 50 for letter in "Dose")) == "Dose"


def test_every_disguise_at_once_has_few_readings():
    disguised = "\u200b".join(PLAIN.lower().replace("a", "а").replace(" ", "\u00a0\u00a0"))
    assert 1 < len(readings(disguised)) <= MOST_READINGS


@pytest.mark.parametrize(
    "text",
    ["\u0301" * 50_000, "а" * 50_000, " \n" * 50_000, "\ud800 lone", "\x00\x01\x02" * 20_000,
     "ﷺ" * 5_000, "\n" * 50_000, " " * 50_000, "a" + "\u0327\u0301" * 100_000,
     "\u05d0" + "\u05c1\u05b0" * 100_000, ". " * 100_000, "a" + ". " * 100_000],
    ids=["marks", "lookalikes", "line ends", "surrogate", "binary", "expanding", "feeds", "spaces",
         "unordered marks", "unordered points", "stops", "stops behind a word"],
)  # fmt: skip
def test_hostile_text_is_read_in_time_that_its_length_bounds(text):
    began = time.process_time()
    found = readings(text)
    fingerprint(text, key=bytes(32))
    assert time.process_time() - began < 20
    assert all(len(each.text) == len(each.origins) for each in found)
    assert all(len(each.text) < 1.1 * len(text) + 10 for each in found)
