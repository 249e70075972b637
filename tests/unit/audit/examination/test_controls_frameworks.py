"""What each catalogue beyond the Security Rule concludes, and what breaks it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from audit.controls.catalogue import FRAMEWORKS, Kind, load
from audit.controls.scope import Period
from audit.controls.verdicts import Verdict

CLIENT = {"uid": "cred_01", "name": "triage", "type": "client"}
FAVOURABLE = {Verdict.PASS, Verdict.PARTIAL}


def _verdicts(findings):
    return {control: finding.verdict for control, finding in findings.items()}


def _failed(findings):
    return {control for control, each in findings.items() if each.verdict is Verdict.FAIL}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_passes_without_entries(findings, empty_log, framework):
    found = _verdicts(findings(empty_log, framework=framework))
    assert FAVOURABLE.isdisjoint(found.values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_passes_on_facts_alone(findings, empty_log, framework):
    system = {"tls": True, "host": "gateway.example", "retention_days": 4000}
    found = _verdicts(findings(empty_log, system=system, framework=framework))
    assert FAVOURABLE.isdisjoint(found.values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_passes_on_a_log_that_was_not_verified(findings, good_log, framework):
    state = replace(good_log.state, verified=False)
    found = _verdicts(findings(good_log, state=state, framework=framework))
    assert FAVOURABLE.isdisjoint(found.values())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_good_log_fails_nothing_and_no_kind_says_too_much(findings, good_log, framework):
    found = findings(good_log, framework=framework)
    assert _failed(found) == set()
    for control in load(framework).controls:
        verdict = found[control.id].verdict
        if control.kind is Kind.ORGANISATIONAL:
            assert verdict is Verdict.NOT_EVIDENCED
        if control.kind is Kind.PARTIAL:
            assert verdict in {Verdict.PARTIAL, Verdict.NO_DATA}
        assert found[control.id].sentence.endswith(".")
        assert "compl" not in found[control.id].sentence.lower().replace("complete", "")


def _no_hmac(log):
    del log.answer(CLIENT)["sealgate"]["choices"][0]["output_hmac"]


def _no_sandbox(log):
    log.answer(CLIENT)["sealgate"]["choices"][0]["sandbox"] = {}


def _no_mark(log):
    del log.answer(CLIENT)["sealgate"]["choices"][0]["mark"]


def _nobody(log):
    log.answer({"uid": "anonymous", "name": "anonymous", "type": "anonymous"})


def _unsealed(log):
    log.system("model.sealed", model_id="other", model_digest="sha256:00", cipher="none")


def _exposed(log):
    log.system("gateway.start", tls=False, host="192.0.2.1")


def _secret_recipient(log):
    log.answer(CLIENT)["sealgate"]["tier"] = "remote"


def _silent_disclosure(log):
    log.access(CLIENT, "disclosure.recorded")


def _label_left_out(log):
    log.answer(CLIENT)["sealgate"]["label"] = {"explicit": True, "implicit": False}


def _reader_misled(log):
    log.answer(CLIENT)["sealgate"]["label"] = {"explicit": False, "implicit": True}


BROKEN = [
    ("hipaa-2025", _no_hmac, {"164.312(d)", "164.312(e)"}),
    ("hipaa-2025", _no_sandbox, {"164.312(a)", "164.312(d)"}),
    ("hipaa-2025", _nobody, {"164.312(f)"}),
    ("hipaa-2025", _unsealed, {"164.312(b)"}),
    ("hipaa-2025", _exposed, {"164.312(b)", "164.312(g)"}),
    ("eu-ai-act", _no_mark, {"AI-Act-12(1)", "AI-Act-12(2)", "AI-Act-50(2)"}),
    ("gdpr", _no_sandbox, {"GDPR-32(1)"}),
    ("gdpr", _unsealed, {"GDPR-32(1)"}),
    ("gdpr", _exposed, {"GDPR-32(1)"}),
    ("gdpr", _nobody, {"GDPR-32(4)"}),
    ("hipaa", _secret_recipient, {"164.528(b)", "164.514(d)(3)"}),
    ("hipaa", _silent_disclosure, {"164.528(b)", "164.514(d)(3)"}),
    ("cn-labelling", _label_left_out, {"CN-Label-5", "GB-45438"}),
    ("cn-labelling", _reader_misled, {"CN-Label-4"}),
]


@pytest.mark.parametrize(
    ("framework", "break_it", "failed"),
    BROKEN,
    ids=[f"{name}-{each.__name__.strip('_')}" for name, each, _ in BROKEN],
)
def test_broken_gateway_fails_what_it_concerns_and_no_other(
    findings, good_log, framework, break_it, failed
):
    break_it(good_log)
    assert _failed(findings(good_log, framework=framework)) == failed


def test_purpose_and_class_are_evidence_of_the_minimum_only_where_stated(findings, good_log):
    assert findings(good_log)["164.502(b)"].verdict is Verdict.NO_DATA
    good_log.intent(CLIENT)["sealgate"].update(purpose="treatment", data_class="phi")
    found = findings(good_log)["164.502(b)"]
    assert found.verdict is Verdict.PARTIAL
    assert "Of 6 requests, 1 name their purpose" in found.sentence


@pytest.mark.parametrize(("recall", "told"), [(973, "97.3 %"), (None, "not measured")])
def test_detectors_are_quoted_with_their_recall(findings, good_log, recall, told):
    assert findings(good_log)["164.514(b)(2)"].verdict is Verdict.NO_DATA
    counts = {"name": 2, "date": 1}
    good_log.intent(CLIENT)["sealgate"]["detections"] = {
        "detector": "rules-1", "counts": counts, "recall_milli": recall
    }  # fmt: skip
    found = findings(good_log)["164.514(b)(2)"]
    assert found.verdict is Verdict.PARTIAL
    assert "3 identifiers" in found.sentence
    assert told in found.sentence


def test_pseudonyms_are_counted(findings, good_log):
    assert findings(good_log)["164.514(c)"].verdict is Verdict.NO_DATA
    good_log.intent(CLIENT)["sealgate"]["pseudonym"] = "p-7f3a"
    assert "1 request" in findings(good_log)["164.514(c)"].sentence


def test_named_recipient_makes_a_disclosure_accounted_for(findings, good_log):
    outcome = good_log.answer(CLIENT)["sealgate"]
    outcome.update(tier="remote", recipient="Example Laboratory")
    outcome["choices"][0]["sandbox"] = {}
    good_log.access(CLIENT, "disclosure.recorded", recipient="Example Registry")
    found = findings(good_log)["164.528(b)"]
    assert found.verdict is Verdict.PARTIAL
    assert "2 disclosures" in found.sentence


def test_gateway_without_remote_tiers_says_that_nothing_left(findings, good_log):
    assert "all 5 requests were answered on this machine" in findings(good_log)[
        "164.528(b)"
    ].sentence  # fmt: skip


def test_steps_on_an_incident_are_evidence_of_breach_handling(findings, good_log):
    breach = ("164.402(Breach)(2)", "164.404(c)", "164.410(c)")
    assert {findings(good_log)[each].verdict for each in breach} == {Verdict.NO_DATA}
    good_log.system("incident.opened", incident="inc_1", severity="high")
    assert {findings(good_log)[each].verdict for each in breach} == {Verdict.PARTIAL}


def test_labels_pass_only_if_every_answer_has_one(findings, good_log):
    assert findings(good_log, framework="cn-labelling")["CN-Label-5"].verdict is Verdict.NO_DATA
    good_log.answer(CLIENT)["sealgate"]["label"] = {"implicit": True}
    found = findings(good_log, framework="cn-labelling")["CN-Label-5"]
    assert found.verdict is Verdict.PARTIAL
    for entry in good_log.entries:
        if entry["sealgate"].get("ending") == "completed":
            entry["sealgate"]["label"] = {"implicit": True}
    assert findings(good_log, framework="cn-labelling")["CN-Label-5"].verdict is Verdict.PASS
    assert findings(good_log, framework="cn-labelling")["CN-Label-4"].verdict is Verdict.NO_DATA


def test_answers_without_any_mark_fail_the_duty_to_mark(findings, make_log):
    log = make_log()
    for entry in log.entries:
        for choice in entry["sealgate"].get("choices", []):
            choice["mark"] = "unmarked"
    assert _failed(findings(log, framework="eu-ai-act")) == {"AI-Act-50(2)"}


@pytest.mark.parametrize(
    ("system", "age_days", "verdict"),
    [
        ({}, 10, Verdict.PARTIAL),
        ({}, 300, Verdict.PASS),
        ({"retention_days": 200}, 10, Verdict.PASS),
        ({"retention_days": 90}, 300, Verdict.FAIL),
    ],
)
def test_six_months_are_shown_by_age_or_by_stated_retention(
    findings, good_log, system, age_days, verdict
):
    start = good_log.at
    good_log.at = start + timedelta(days=age_days)
    good_log.denied()
    period = Period(start - timedelta(days=1), start + timedelta(days=age_days, hours=1))
    found = findings(good_log, system=system, period=period, framework="eu-ai-act")
    assert found["AI-Act-19(1)"].verdict is found["AI-Act-26(6)"].verdict is verdict


def test_missing_entries_keep_logs_from_passing(findings, good_log):
    state = replace(good_log.state, size=len(good_log.entries) + 5)
    found = findings(good_log, state=state, framework="eu-ai-act")
    assert found["AI-Act-19(1)"].verdict is Verdict.NO_DATA


@pytest.mark.parametrize("value", ["many", {"a": 1}, None, [1]])
def test_optional_field_of_another_type_breaks_no_figure(findings, good_log, value):
    intent = good_log.intent(CLIENT)["sealgate"]
    intent.update(acknowledgement_ms=value, pseudonym=value, label=value, detections=value)
    intent["detections"] = {"detector": value, "counts": {"name": value}, "recall_milli": value}
    good_log.system("budget.spent", budget=value, epsilon_micro=value, limit_micro=value)
    good_log.system("log.anchored", lag_ms=value, size=value)
    assert _failed(findings(good_log)) == set()
