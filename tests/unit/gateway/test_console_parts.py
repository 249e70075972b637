"""The console's small parts: catalogues of messages, charts, counts, what is said of numbers."""

import ast
import hashlib
import json
import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import gateway
from audit.sequencer import Sequencer
from audit.store import open_log
from gateway.console import charts, daybook
from gateway.console.daybook import Daybook
from gateway.console.languages import LANGUAGES, chosen, words
from gateway.console.pages.text import odds, pieces
from gateway.console.rendering import number, share
from gateway.provenance import Passage
from tests.unit.gateway.console_parts import answered, refused

CONSOLE = Path(charts.__file__).parent
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
OPERATIONS = Path(gateway.__file__).parents[1] / "docs" / "operations.md"
# What a message's key ends with that is said of one thing alone.
ONE = ".one"
KEY = r"\bt(?:\.counted)?\('([^']+)'[,)]"
# The log that cannot be written, and what the search form says of its own fields.
NEVER_IN_AN_ENTRY = {"log_unavailable", "filter_unclear", "day_unclear", "period_empty"}
# Read well with one, too: "1 answered", "1 of 5 entries".
SAID_OF_ANY = {"overview.killed_signal", "proof.holds"}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def fields(message):
    return {name for _, name, _, _ in string.Formatter().parse(message) if name}


def test_catalogues_have_the_same_messages_with_the_same_fields():
    english, chinese = (words(code).messages for code in LANGUAGES)
    assert {key for key in english if not key.endswith(ONE)} == chinese.keys()
    for key, message in chinese.items():
        assert fields(message) == fields(english[key]), key
    for key, message in [*english.items(), *chinese.items()]:
        assert message.strip() == message != "", key
        assert fields(message) <= fields(chinese[key.removesuffix(ONE)]), key


def test_chinese_is_chinese():
    same = {k for k, v in words("zh").messages.items() if v == words("en").messages[k]}
    assert same == {"report.oscal"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_message_of_a_template_is_in_the_catalogue(template):
    text = template.read_text(encoding="utf-8")
    assert re.findall(KEY, text) or template.stem.startswith(("_", "alone"))
    for key in re.findall(KEY, text):
        assert key in words("en").messages, key
    # A key that is put together needs all that begin so; at least one must be there.
    for prefix in re.findall(r"\bt(?:\.known)?\('([^']+)' ~", text):
        assert any(key.startswith(prefix) for key in words("en").messages), prefix


def test_every_message_is_used():
    text = "".join(
        path.read_text(encoding="utf-8") for path in [*TEMPLATES, *CONSOLE.rglob("*.py")]
    )
    whole = set(re.findall(r"['\"]([a-z_]+\.[a-z_]+(?:\.[a-z]+)?)['\"]", text))
    prefixes = tuple(re.findall(r"['\"f]([a-z_]+\.[a-z_]*)(?:' ~|\{)", text))
    prefixes += ("mark.", "class.", "overview.marks", "overview.classes", "report.", "menu.")
    keys = {key.removesuffix(ONE) for key in words("en").messages}
    assert [k for k in sorted(keys) if k not in whole and not k.startswith(prefixes)] == []


def test_one_of_something_is_not_said_as_many():
    english, chinese = (words(code) for code in LANGUAGES)
    assert english.counted("event.tokens", 1, count="1") == "one token"
    assert english.counted("event.tokens", 0, count="0") == "0 tokens"
    assert english.counted("event.tokens", 2, count="2") == "2 tokens"
    assert chinese.counted("event.tokens", 1, count="1") == chinese("event.tokens", count="1")
    # A message that names something counted, right behind its number, has a form for one of it.
    for key, message in english.messages.items():
        if re.search(r"\{(count|minutes|size)\} [a-z ]*s\b", message):
            assert f"{key}{ONE}" in english.messages or key in SAID_OF_ANY, key


def refusals():
    """Every code that a request can be refused with and that the log's entry then holds."""
    table = OPERATIONS.read_text(encoding="utf-8").split("### Error codes")[1].split("\n## ")[0]
    codes = {"invalid_request", *re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE)}
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        values = [k.value for call in calls for k in call.keywords if k.arg == "code"]
        codes |= {v.value for v in values if isinstance(v, ast.Constant) and v.value}
    return sorted(codes - NEVER_IN_AN_ENTRY)


@pytest.mark.parametrize("code", refusals())
def test_every_reason_of_a_refusal_has_its_label_and_its_advice(code):
    for language in LANGUAGES:
        assert f"reason.{code}" in words(language).messages
        assert f"why.{code}" in words(language).messages


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        (None, None, "en"),
        (None, "zh-TW,zh;q=0.9", "zh"),
        (None, "de, fr", "en"),
        (None, "en;q=0.2, zh;q=0.8", "zh"),
        (None, "zh;q=0, en", "en"),
        (None, ";;q=x,,zh;q=abc", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
    ],
)
def test_language_is_the_cookies_then_the_headers(cookie, accepted, code):
    assert chosen(cookie, accepted).code == code


@pytest.mark.parametrize(
    ("code", "exponent", "said"),
    [
        ("en", 6, "1 million (10⁶)"),
        ("en", 10, "10 billion (10¹⁰)"),
        ("en", 14, "100 trillion (10¹⁴)"),
        ("en", 40, "10⁴⁰"),
        ("en", 0, "10⁰"),
        ("zh", 6, "100 万 (10⁶)"),
        ("zh", 12, "1 万亿 (10¹²)"),
    ],
)
def test_power_of_ten_is_said_in_words(code, exponent, said):
    assert words(code).power(exponent) == said


@pytest.mark.parametrize(
    ("p", "exponent"), [(3.2e-11, 10), (1e-6, 6), (1.0, 0), (0.0, 0), (0.5, 0)]
)
def test_odds_never_say_more_than_the_bound(p, exponent):
    assert odds(p) == exponent
    assert p == 0 or p <= 10.0**-exponent


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 0, "—"),
        (0, 9, "0\u00a0%"),
        (9, 9, "100\u00a0%"),
        (1, 3, "33.3\u00a0%"),
        (1, 10**6, "< 0.1\u00a0%"),
        (10**6 - 1, 10**6, "> 99.9\u00a0%"),
    ],
)
def test_share_says_all_and_nothing_only_where_it_is_so(part, whole, said):
    assert share(part, whole) == said


def test_numbers_are_written_with_thousands_apart():
    assert (number(1234567), number(None), number(0)) == ("1,234,567", "—", "0")


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=40))
def test_bars_stay_inside_and_stand_for_their_counts(counts):
    days = [(f"2026-01-{n:02}", {"a": a, "b": b}) for n, (a, b) in enumerate(counts)]
    chart = charts.stacked(days)
    for bar in chart.bars:
        assert 0 <= bar.y <= bar.y + bar.height <= chart.floor + 1
        assert chart.left <= bar.x <= bar.x + bar.width <= chart.width
    assert chart.total == sum(a + b for a, b in counts)
    assert len(chart.bars) == sum((a > 0) + (b > 0) for a, b in counts)
    assert dict(chart.rows) == {day: c for day, c in days if any(c.values())}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_parts_fill_the_whole(counts):
    chart = charts.divided([(str(n), count) for n, count in enumerate(counts)])
    assert chart.total == sum(counts)
    assert sum(part.width for part in chart.parts) == pytest.approx(
        100 if any(counts) else 0, abs=0.1
    )


def test_ages_are_held_against_the_mark():
    chart = charts.ages([("old", 400), ("new", 0)], mark=365)
    assert [(row.name, row.beyond) for row in chart.rows] == [("old", True), ("new", False)]
    assert 0 < chart.at <= 100
    assert max(row.width for row in chart.rows) <= 100


def passage(start, end):
    return Passage(1e-9, "log", 0.9, 1, ("req",), "t", 1, "m", start, end)


def test_text_is_cut_at_its_marks_and_nothing_of_them_is_lost():
    text = "a" * 3000 + "MARKED" + "b" * 3000 + "AGAIN" + "c" * 3000
    cut = pieces(text, (passage(6006, 6011), passage(3000, 3006)))
    assert [(p.passage, p.text) for p in cut if p.passage] == [(2, "MARKED"), (1, "AGAIN")]
    assert len("".join(p.text for p in cut)) < 4000


@given(
    st.text(max_size=200), st.lists(st.tuples(st.integers(0, 220), st.integers(0, 220)), max_size=4)
)
def test_short_text_is_shown_whole_whatever_its_marks(text, spans):
    cut = pieces(text, tuple(passage(*span) for span in spans))
    assert "".join(piece.text for piece in cut) == text


@pytest.fixture
def log(tmp_path):
    engine = open_log(tmp_path / "log.db")
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    sequencer = Sequencer(engine, origin="x/log", public_key=public, sign=key.sign)
    sequencer.start()
    yield engine, lambda *events: [sequencer.submit(e).result(20) for e in events]
    sequencer.close()
    engine.dispose()


def test_daybook_counts_each_day_once(log):
    engine, record = log
    book = Daybook(engine)
    assert book.tally(now=NOW).total("requests") == 0
    yesterday = NOW - timedelta(days=1)
    record(*answered("a", now=yesterday, end="signal"), refused("b", "policy_denied", now=NOW))
    record(*answered("c", now=NOW, data_class="public", mark="weak", end="refused call"))
    for _ in range(2):
        tally = book.tally(now=NOW)
        by_day = {day.isoformat(): counted for day, counted in tally.days}
        assert (len(by_day), by_day["2026-11-23"].requests, by_day["2026-11-24"].denied) == (
            30,
            1,
            1,
        )
        assert tally.totals("marks") == {"traceable": 1, "weak": 1}
        assert tally.totals("classes") == {"phi": 1, "public": 1}
        assert tally.totals("refusals") == {"policy_denied": 1}
        assert tally.totals("stopped") == {"signal": 1, "refused call": 1}
        assert not tally.partial


def test_daybook_forgets_what_is_older_than_its_window(log):
    engine, record = log
    book = Daybook(engine)
    record(*answered("a", now=NOW))
    assert book.tally(now=NOW).total("requests") == 1
    assert book.tally(now=NOW + timedelta(days=29)).total("requests") == 1
    assert book.tally(now=NOW + timedelta(days=30)).total("requests") == 0


def test_daybook_of_a_long_log_says_that_it_read_a_part(log, monkeypatch):
    engine, record = log
    monkeypatch.setattr(daybook, "FIRST_LIMIT", 4)
    record(*(e for n in range(5) for e in answered(f"r{n}", now=NOW)))
    tally = Daybook(engine).tally(now=NOW)
    assert (tally.partial, tally.total("requests")) == (True, 2)


def test_files_of_others_are_what_their_note_says():
    note = json.loads((CONSOLE / "static" / "htmx.json").read_text(encoding="utf-8"))
    content = (CONSOLE / "static" / note["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == note["sha256"]
    assert note["version"] in note["file"]
    assert (CONSOLE / "static" / note["licence_file"]).is_file()
