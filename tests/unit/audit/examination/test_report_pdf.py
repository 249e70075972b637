"""The report as a reader sees it: complete, numbered, reproducible, and never markup."""

import functools
import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pypdf
import pytest
import rfc8785
from reportlab.pdfbase.pdfmetrics import stringWidth

from audit.controls.catalogue import FRAMEWORKS, load
from audit.controls.errors import FrameworkUnknown
from audit.controls.records import GIVEN, STATEMENTS
from audit.controls.scope import Period
from audit.controls.verdicts import Figure, Verdict
from audit.report.charts import Series, draw_daily
from audit.report.generate import generate_report
from audit.report.typography import ANSWERED, REGULAR, fitted, printable

HOSTILE = "<b>x</b>&amp;&"
FORMAT_PAGE = Path(__file__).parents[4] / "docs" / "formats" / "report-v1.md"


@functools.cache
def _pages(pdf):
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def _text(pdf):
    return "\n".join(_pages(pdf))


def _squeezed(text):
    return re.sub(r"\s+", "", text)


def test_pdf_names_every_control_every_verdict_and_the_root(report, good_log):
    text = _text(report(good_log).pdf)
    assert good_log.state.root_hex in text
    for control in load("hipaa").controls:
        assert control.id in text
    for verdict in Verdict:
        assert verdict.value in text


def test_every_page_has_its_number_and_the_total(report, good_log):
    pages = _pages(report(good_log).pdf)
    for number, text in enumerate(pages, 1):
        assert f"page {number} of {len(pages)}" in text


def test_every_bookmark_leads_to_the_page_of_its_heading(report, good_log):
    reader = pypdf.PdfReader(io.BytesIO(report(good_log).pdf))
    assert len(reader.outline) == 19
    for each in reader.outline:
        page = reader.pages[reader.get_destination_page_number(each)]
        assert each.title in page.extract_text()


def test_contents_fit_the_title_page(report, good_log):
    for framework in FRAMEWORKS:
        pages = _pages(report(good_log, framework=framework).pdf)
        assert "Checkpoint and signature" in pages[0]
        assert "Scope, period and limits" in pages[1]


def test_document_is_dated_when_it_was_made(report, good_log):
    reader = pypdf.PdfReader(io.BytesIO(report(good_log).pdf))
    assert reader.metadata.creation_date == datetime(2026, 12, 2, tzinfo=UTC)


def test_appendix_lists_every_entry_of_the_period_once(report, good_log):
    pages = _pages(report(good_log).pdf)
    listed = next(page for page in pages if "Appendix: entries" in page and "Phase" in page)
    lines = re.findall(r"(?m)^(\d+) 2026-11-01 ", listed)
    assert lines == [str(index) for index, _ in good_log.events]
    assert "192.0.2.7" not in listed
    assert "officer desk" not in listed


@pytest.mark.parametrize(
    "content",
    ["cred_" + "w" * 16, "cred_0123456789abcdef", "W" * 256, "\u4e2d" * 60, "i" * 9000, "a\nb", ""],
    ids=lambda content: content[:8] + str(len(content)),
)
def test_cell_of_the_appendix_stays_within_its_column(content):
    width, size = 70.0, 6.2
    shown = fitted(content, width, size)
    assert stringWidth(shown, REGULAR, size) <= width
    assert "\n" not in shown
    if not shown.endswith("..."):
        assert shown == printable(content.replace("\n", " "))


def test_appendix_shows_a_credentials_whole_id(report, empty_log):
    name = "cred_dddddddddddddddd"
    empty_log.denied(user={"uid": name, "name": "n", "type": "client"})
    assert name in _text(report(empty_log, fresh=True).pdf).split("Appendix: entries")[-1]


@pytest.mark.slow
def test_appendix_stops_at_its_limit_and_says_so(report, empty_log):
    for _ in range(10_020):
        empty_log.at -= timedelta(milliseconds=990)
        empty_log.denied()
    made = report(empty_log, fresh=True)
    assert len(made.summary["figures"]["entries_listed"]["data"]) == 10_000
    assert "first 10,000 entries; 20 more are in the log alone" in _text(made.pdf)


def _stated(log):
    client = {"uid": "cred_01", "name": "triage", "type": "client"}
    intent = log.intent(client)
    intent["sealgate"].update(
        purpose="treatment",
        data_class="phi",
        pseudonym="p-secret",
        detections={"detector": "rules-1", "recall_milli": 973, "counts": {"surname": 2}},
    )
    outcome = log.outcome(intent)["sealgate"]
    outcome.update(tier="remote", recipient="Example Laboratory", acknowledgement_ms=3)
    log.system("budget.spent", budget="cohort", epsilon_micro=250_000, limit_micro=1_000_000)
    log.system("log.anchored", kind="witness", size=9, lag_ms=1_250)
    log.system("incident.opened", incident="inc_1", severity="high")
    log.system(
        "model.sealed",
        model_id="cohort-notes",
        model_digest=f"sha256:{'cd' * 32}",
        cipher="AES-256-GCM (Cobblestone)",
        training_certificate=f"sha256:{'ce' * 32}",
        training={
            "run": "run_1",
            "epsilon": "2.9871234",
            "delta": "1e-05",
            "relation": "add-or-remove-one",
            "audit_bound": "0.31",
            "audit_cap": "3.5",
            "audit_control": None,
        },
    )


@pytest.mark.parametrize(
    "printed",
    [
        "treatment",
        "phi",
        "97.3 %",
        "surname",
        "Example Laboratory",
        "cohort",
        "0.250",
        "1.000",
        "witness",
        "1,250",
        "incident.opened",
        "inc_1",
        "Anchor lag: the longest",
        "seconds, longest of day",
        "Models that were trained privately",
        "cohort-notes",
        "2.987",
        "1e-05",
        "0.31",
        "3.5",
        "Acknowledgement of 1 entries by the log: median 3 ms",
    ],
)
def test_what_entries_state_is_printed(report, good_log, printed):
    _stated(good_log)
    assert printed in _text(report(good_log).pdf)


def test_pseudonym_is_in_no_report(report, good_log):
    _stated(good_log)
    made = report(good_log)
    assert "p-secret" not in _text(made.pdf) + json.dumps(made.summary)


@pytest.mark.parametrize(
    "told",
    [
        "No request records what a detector",
        "No expense of a privacy budget",
        "No model that was trained privately is on record",
        "No disclosure is recorded",
        "no step is recorded",
        "No anchor was given to this report",
        "No entry of the period records an anchor",
        "do not say how long the log took",
    ],
)
def test_what_nobody_stated_is_said_to_be_unstated(report, good_log, told):
    assert told in " ".join(_text(report(good_log).pdf).split())


def test_places_that_hold_checkpoints_are_printed_with_their_lag(report, good_log):
    anchors = [{"kind": "witness", "place": "https://witness.example", "size": 15, "taken": 0}]
    text = _text(report(good_log, system={"anchors": anchors}).pdf)
    assert re.search(r"witness.example\s+1970-01-01T00:00:00Z\s+15\s+4\b", text)


def test_age_of_keys_is_printed_and_drawn(report, good_log):
    keys = [
        {"name": "audit-hmac@1", "created": "2026-11-02", "state": "active"},
        {"name": "watermark@1", "created": "2026-10-02", "state": "decrypt-only"},
    ]
    text = _text(report(good_log, system={"keys": keys}).pdf)
    assert "Age of the active keys" in text
    assert re.search(r"audit-hmac@1\s+2026-11-02\s+30", text)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_prints_every_paragraph_and_its_limits(report, good_log, framework):
    text = _squeezed(_text(report(good_log, framework=framework).pdf))
    catalogue = load(framework)
    for each in (*[control.id for control in catalogue.controls], *catalogue.limits):
        assert _squeezed(each) in text


def test_same_arguments_give_the_same_bytes(report, good_log):
    first, second = report(good_log, fresh=True), report(good_log, fresh=True)
    assert first.pdf == second.pdf
    assert rfc8785.dumps(first.summary) == rfc8785.dumps(second.summary)


def test_log_state_and_checkpoint_are_printed(report, good_log):
    text = _text(report(good_log).pdf)
    assert "unanchored" in text
    for line in good_log.state.checkpoint_note.split():
        assert line in text
    anchored = _text(report(good_log, state=replace(good_log.state, anchored=True)).pdf)
    assert "unanchored" not in anchored


def test_failure_is_told_in_the_summary(report, good_log):
    good_log.answer({"uid": "anonymous", "name": "anonymous", "type": "anonymous"})
    pages = _pages(report(good_log).pdf)
    told = next(page for page in pages if "Contradicted by the records" in page)
    assert "164.312(d) Person or entity authentication" in told


def test_every_digest_is_printed(report, good_log):
    made = report(good_log)
    text = _text(made.pdf)
    for figure in made.summary["figures"].values():
        assert figure["sha256"] in text


def test_digests_of_the_summary_recompute_after_a_round_trip(report, good_log):
    summary = json.loads(json.dumps(report(good_log).summary))
    assert set(summary["figures"]) == {*STATEMENTS, *GIVEN}
    for name, figure in summary["figures"].items():
        assert Figure(name, figure["query"], figure["data"]).sha256 == figure["sha256"]


def test_summary_agrees_with_itself(report, good_log):
    summary = report(good_log).summary
    assert len(summary["verdicts"]) == 80
    verdicts = list(summary["verdicts"].values())
    assert summary["counts"] == {each.value: verdicts.count(each.value) for each in Verdict}
    for control, finding in summary["findings"].items():
        assert finding["verdict"] == summary["verdicts"][control]
        assert set(finding["figures"]) <= set(summary["figures"])
    assert summary["log"]["root"] == good_log.state.root_hex
    assert summary["log"]["checkpoint"] == good_log.state.checkpoint_note
    assert summary["period"] == {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}


def test_empty_log_makes_a_report_that_passes_nothing(report, empty_log):
    made = report(empty_log)
    assert made.summary["counts"]["PASS"] == made.summary["counts"]["PARTIAL"] == 0
    assert "No answer was completed in the period" in _text(made.pdf)


NAMES = [
    (HOSTILE, HOSTILE),
    ("<para>", "<para>"),
    ('<img src="file:///etc/passwd"/>', '<img src="file:///etc/passwd"/>'),
    ("<font color", "<font color"),
    ("放射科", "[U+653E][U+5C04][U+79D1]"),
    ("tab\tbell\a", "tab[U+0009]bell[U+0007]"),
    ("Überweisung", "Überweisung"),
    ("a" * 5000, "a" * 20),
    ("\N{RIGHT-TO-LEFT OVERRIDE}evil", "[U+202E]evil"),
]


def test_names_are_printed_as_text(report, good_log):
    for at, (name, _) in enumerate(NAMES):
        good_log.answer(good_log.client(name, f"cred_odd_{at}"))
    text = _squeezed(_text(report(good_log).pdf))
    assert [name for name, printed in NAMES if _squeezed(printed) not in text] == []


def test_every_text_from_outside_is_printed_as_text(report, good_log):
    good_log.denied(HOSTILE)
    outcome = good_log.answer(good_log.client(HOSTILE, HOSTILE), mark=HOSTILE)
    outcome["sealgate"]["model"].update(id=HOSTILE, digest=HOSTILE)
    outcome["sealgate"].update(tier=HOSTILE, ending="completed")
    outcome["sealgate"]["choices"][0]["sandbox"] = {HOSTILE: HOSTILE}
    good_log.system("key.created", name=HOSTILE, epoch=HOSTILE)
    good_log.system(f"credential.{HOSTILE}")
    good_log.system("gateway.start", tls=HOSTILE, host=HOSTILE)
    good_log.system("model.sealed", model_id=HOSTILE, model_digest=HOSTILE, cipher=HOSTILE)
    state = replace(good_log.state, origin=HOSTILE, problem=HOSTILE, checkpoint_note=HOSTILE)
    system = {
        "keys": [{"name": HOSTILE, "created": HOSTILE, "state": HOSTILE}],
        "models": [{"id": HOSTILE, "digest": HOSTILE, "cipher": HOSTILE, "signature": HOSTILE}],
        "anchors": [{"kind": HOSTILE, "place": HOSTILE, "taken": HOSTILE}],
        "host": HOSTILE,
    }
    text = _text(report(good_log, state=state, system=system).pdf)
    assert text.count("<b>x</b>") > 12


def test_only_names_of_credentials_are_personal(report, good_log):
    operator = {"uid": "operator", "name": "m.muster", "type": "operator"}
    good_log.access(operator, "audit.verify")
    made = report(good_log)
    everything = _text(made.pdf) + json.dumps(made.summary)
    assert "triage" in everything
    for secret in ("m.muster", "192.0.2.7", "cd" * 32):
        assert secret not in everything


def test_year_of_many_answers_is_printed(report, empty_log):
    clients = [empty_log.client(f"client {at}", f"cred_{at:04}") for at in range(40)]
    for at in range(1000):
        empty_log.at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=8 * at)
        empty_log.answer(clients[at % 40], latency_ms=at * 40)
    year = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    text = _text(report(empty_log, period=year).pdf)
    assert "15 more are not" in text
    assert "12 days (UTC), by first day" in text


def test_long_period_is_grouped_without_losing_a_count():
    days = [date(2026, 1, 1) + timedelta(days=at) for at in range(365)]
    drawing = draw_daily(days, [Series("answered", ANSWERED, (1,) * 365)], unit="requests")
    chart = next(each for each in drawing.contents if hasattr(each, "data"))
    assert len(chart.data[0]) <= 31
    assert sum(chart.data[0]) == 365


def test_printable_keeps_letters_and_names_what_it_cannot_show():
    assert printable("Zoë\n—") == "Zoë\n—"
    assert printable("\x1b[31m") == "[U+001B][31m"


def test_unknown_framework_makes_no_report(good_log, period):
    with pytest.raises(FrameworkUnknown):
        generate_report(
            framework="iso",
            start=period.start,
            end=period.end,
            events=good_log.events,
            log=good_log.state,
            system={},
            now=period.end,
            version="0",
        )


def test_format_page_lists_every_figure_verdict_and_key(report, good_log):
    page = FORMAT_PAGE.read_text(encoding="utf-8")
    summary = report(good_log).summary
    findings = next(iter(summary["findings"].values()))
    for name in (*STATEMENTS, *GIVEN, *Verdict, *summary, *summary["log"], *findings):
        assert f"`{name}`" in page
