"""A signed report against the log: what was printed must come out of the entries again."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import rfc8785

from audit.controls.scope import LogState, Period
from audit.controls.verdicts import Figure
from audit.report import recheck as module
from audit.report.errors import ReportContradicted
from audit.report.generate import OSCAL, SUMMARY
from audit.report.oscal import assessment_results
from audit.report.recheck import read_summary, recheck
from audit.report.signature import verify_signature

SYSTEM = {"keys": [{"name": "watermark", "epoch": 1, "state": "active"}], "tls": False}


@pytest.fixture
def stored(log, good_log):
    """Record the good log's entries in a real log."""
    log.record(*good_log.entries)
    return log


@pytest.fixture
def examined(stored, good_log, report, report_key):
    """Make a report of the stored log, as of now."""

    def run(**options):
        found = stored.verify()
        origin = stored.origin
        state = LogState(origin, found.size, found.root, found.note, verified=True)
        return report(good_log, state=state, **{"system": SYSTEM, **options})

    return run


@pytest.fixture
def recheck_it(stored, report_key, tmp_path):
    def run(pdf):
        signed = verify_signature(pdf, public_keys=[report_key.public])
        trust = {
            "origin": stored.origin,
            "log_keys": [stored.public_key],
            "months": tmp_path / "months",
        }
        return recheck(pdf, read_summary(signed), engine=stored.engine, **trust)

    return run


def _summary(report, change):
    """Return the attachments of a report whose summary was changed, its twin along with it."""
    summary = json.loads(report.attachments[SUMMARY])
    twin = report.attachments[OSCAL]
    change(summary)
    if "figures" in summary:
        twin = rfc8785.dumps(assessment_results(summary))
    return {SUMMARY: rfc8785.dumps(summary), OSCAL: twin}


def test_report_comes_out_of_the_log_again_to_the_byte(examined, signed, recheck_it):
    assert recheck_it(signed(examined())).pages is True


def test_report_still_holds_after_the_log_grew(examined, signed, recheck_it, stored, good_log):
    pdf = signed(examined())
    good_log.system("report.generated", framework="hipaa")
    stored.record(good_log.entries[-1])
    assert recheck_it(pdf).pages is True


def test_pages_of_another_release_are_not_compared(examined, signed, recheck_it, monkeypatch):
    pdf = signed(examined())
    monkeypatch.setattr(module, "TYPESETTER", "reportlab 99")
    assert recheck_it(pdf).pages is False


def _more_answers(summary):
    figure = summary["figures"]["endings"]
    figure["data"][0]["requests"] += 1
    figure["sha256"] = Figure("endings", figure["query"], figure["data"]).sha256


def _better_verdict(summary):
    summary["verdicts"]["164.308(a)(1)(ii)(A)"] = "PASS"
    summary["findings"]["164.308(a)(1)(ii)(A)"]["verdict"] = "PASS"
    summary["counts"]["PASS"] += 1
    summary["counts"]["NOT_EVIDENCED"] -= 1


def _other_sentence(summary):
    summary["findings"]["164.312(b)"]["sentence"] = "All is well."


def _other_period(summary):
    summary["period"]["start"] = "2026-10-01T00:00:00Z"


def _other_query(summary):
    figure = summary["figures"]["endings"]
    figure["query"] = "SELECT 1"
    figure["sha256"] = Figure("endings", "SELECT 1", figure["data"]).sha256


def _other_root(summary):
    summary["log"]["root"] = "00" * 32


def _other_size(summary):
    summary["log"]["size"] -= 1


def _beyond_the_log(summary):
    summary["log"]["size"] += 1000


def _other_checkpoint(summary):
    summary["log"]["checkpoint"] = summary["log"]["checkpoint"].replace("sealgate", "elsewhere")


def _other_framework(summary):
    summary["framework"] = "unheard-of"


def _better_facts(summary):
    figure = summary["figures"]["system_facts"]
    figure["data"]["retention_days"] = 10
    figure["sha256"] = Figure("system_facts", figure["query"], figure["data"]).sha256


@pytest.mark.parametrize(
    "change",
    [
        _more_answers,
        _better_verdict,
        _other_sentence,
        _other_period,
        _other_query,
        _other_root,
        _other_size,
        _beyond_the_log,
        _other_checkpoint,
        _other_framework,
        _better_facts,
    ],
    ids=lambda each: each.__name__.strip("_"),
)
def test_summary_that_the_log_does_not_bear_out_is_refused(examined, signed, recheck_it, change):
    made = examined()
    with pytest.raises(ReportContradicted):
        recheck_it(signed(made, attachments=_summary(made, change)))


def test_pages_of_another_period_under_this_summary_are_refused(
    examined, signed, recheck_it, period
):
    longer = examined(period=Period(period.start, period.end + timedelta(days=1)))
    with pytest.raises(ReportContradicted, match="pages"):
        recheck_it(signed(examined(), pdf=longer.pdf))


def test_pages_changed_in_the_signed_revision_are_refused(examined, signed, recheck_it):
    made = examined()
    with pytest.raises(ReportContradicted, match="pages"):
        recheck_it(signed(made, attachments={**made.attachments, "letter.json": b"{}"}))


def test_report_of_another_log_is_refused(examined, signed, recheck_it, good_log, report):
    made = report(good_log, state=replace(good_log.state, origin="sealgate.test/log"))
    with pytest.raises(ReportContradicted, match="another log"):
        recheck_it(signed(made))


def _wrong_digest(summary):
    summary["figures"]["endings"]["sha256"] = "00" * 32


def _wrong_count(summary):
    summary["counts"]["PASS"] += 1


def _two_verdicts(summary):
    summary["verdicts"]["164.312(b)"] = "FAIL"


def _no_figures(summary):
    del summary["figures"]


@pytest.mark.parametrize("change", [_wrong_digest, _wrong_count, _two_verdicts, _no_figures])
def test_summary_that_contradicts_itself_needs_no_log(good_log, report, signed, report_key, change):
    made = report(good_log)
    pdf = signed(made, attachments=_summary(made, change))
    with pytest.raises(ReportContradicted):
        read_summary(verify_signature(pdf, public_keys=[report_key.public]))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"b":1,"a":2}', b"\xff"])
def test_summary_that_is_not_canonical_is_refused(report, good_log, signed, report_key, content):
    pdf = signed(report(good_log), attachments={SUMMARY: content})
    with pytest.raises(ReportContradicted):
        read_summary(verify_signature(pdf, public_keys=[report_key.public]))


def test_report_without_summary_is_refused(report, good_log, signed, report_key):
    pdf = signed(report(good_log), attachments={})
    with pytest.raises(ReportContradicted, match="no summary"):
        read_summary(verify_signature(pdf, public_keys=[report_key.public]))
