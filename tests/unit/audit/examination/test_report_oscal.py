"""The report's twin in OSCAL: valid by NIST's model, and of one mind with the summary."""

import json
from dataclasses import replace

import pytest
import rfc8785

from audit.controls.catalogue import FRAMEWORKS
from audit.controls.verdicts import Verdict
from audit.report.errors import ReportContradicted
from audit.report.generate import OSCAL, SUMMARY
from audit.report.oscal import OSCAL_VERSION, assessment_results, control_token
from audit.report.recheck import read_summary
from audit.report.signature import verify_signature


@pytest.fixture
def model():
    return pytest.importorskip("trestle.oscal.assessment_results")


def _results(report):
    return assessment_results(report.summary)["assessment-results"]


def test_twin_is_valid_assessment_results(model, report, good_log):
    twin = json.loads(report(good_log).attachments[OSCAL])
    read = model.AssessmentResults.model_validate(twin["assessment-results"])
    assert len(read.results[0].findings) == len(report(good_log).summary["verdicts"])


def test_twin_of_an_empty_or_tampered_log_is_valid(model, report, empty_log, good_log):
    state = replace(good_log.state, verified=False, problem="entry 3\nis changed.", root_hex="")
    for made in (report(empty_log), report(good_log, state=state)):
        model.AssessmentResults.model_validate(_results(made))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_twin_follows_from_the_summary_as_it_is_read_back(model, report, good_log, framework):
    made = report(good_log, framework=framework)
    read_back = json.loads(made.attachments[SUMMARY])
    assert rfc8785.dumps(assessment_results(read_back)) == made.attachments[OSCAL]
    model.AssessmentResults.model_validate(_results(made))


def test_version_is_the_one_that_the_model_knows(model):
    from trestle.oscal import OSCAL_VERSION as KNOWN  # noqa: PLC0415 - only where it is installed

    assert OSCAL_VERSION == KNOWN


def test_identifiers_are_unique_and_refer_to_each_other(report, good_log):
    results = _results(report(good_log))
    result = results["results"][0]
    observations = [each["uuid"] for each in result["observations"]]
    findings = [each["uuid"] for each in result["findings"]]
    everything = [results["uuid"], result["uuid"], *observations, *findings]
    assert len(set(everything)) == len(everything)
    for finding in result["findings"]:
        for each in finding.get("related-observations", []):
            assert each["observation-uuid"] in observations
    assert results["import-ap"]["href"] == f"#{results['back-matter']['resources'][0]['uuid']}"


def test_only_pass_is_satisfied_and_every_verdict_is_told(report, good_log):
    made = report(good_log)
    told = {
        each["target"]["target-id"]: each["target"]
        for each in _results(made)["results"][0]["findings"]
    }
    for control, verdict in made.summary["verdicts"].items():
        target = told[control_token("hipaa", control)]
        assert target["props"][0]["value"] == verdict
        assert (target["status"]["state"] == "satisfied") is (verdict == Verdict.PASS)
    assert len(told) == len(made.summary["verdicts"])


def test_reports_that_differ_have_other_identifiers(report, good_log, empty_log):
    assert _results(report(good_log))["uuid"] != _results(report(empty_log))["uuid"]
    assert _results(report(good_log)) == _results(report(good_log))


def test_twin_that_disagrees_is_refused(report, good_log, signed, report_key):
    made = report(good_log)
    twin = json.loads(made.attachments[OSCAL])
    target = twin["assessment-results"]["results"][0]["findings"][0]["target"]
    target["status"] = {"state": "satisfied", "reason": "pass"}
    pdf = signed(made, attachments={**made.attachments, OSCAL: rfc8785.dumps(twin)})
    with pytest.raises(ReportContradicted, match="OSCAL"):
        read_summary(verify_signature(pdf, public_keys=[report_key.public]))
