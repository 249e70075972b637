"""What people put on record themselves: incidents, reviews, disclosures."""

import json

import pytest

from gateway import incidents
from gateway.errors import IncidentStepInvalid, IncidentUnknown
from gateway.incidents import Step


def told(sealgate, *words):
    code, out, err = sealgate(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def details(sealgate, operation):
    found = told(sealgate, "audit", "search", "--operation", operation)["data"]
    return [each["event"]["sealgate"] for each in found]


def test_incident_goes_from_opened_to_closed_on_record(sealgate):
    opened = told(
        sealgate, "incident", "open", "--summary", "Key on a slide", "--severity", "high",
        "--request", "req_1",
    )  # fmt: skip
    name = opened["incident"]
    code, _, err = sealgate("incident", "close", name, "--summary", "done")
    assert (code, "not assessed" in err) == (2, True)
    told(sealgate, "incident", "assess", name, "--breach", "no", "--summary", "Revoked in time")
    told(sealgate, "incident", "notify", name, "--recipient", "covered entity", "--affected", "3")
    told(sealgate, "incident", "close", name, "--summary", "Slide withdrawn")
    assert sealgate("incident", "notify", name, "--recipient", "media")[0] == 2
    (shown,) = told(sealgate, "incident", "list")
    assert shown["steps"] == ["opened", "assessed", "notified", "closed"]
    assert (shown["open"], shown["breach"], shown["severity"]) == (False, "no", "high")
    assert details(sealgate, "incident.notified")[0]["detail"]["affected"] == 3


@pytest.mark.parametrize("summary", ["", "x" * 501, "two\nlines"])
def test_what_no_entry_should_hold_is_refused(sealgate, summary):
    assert sealgate("incident", "open", "--summary", summary)[0] == 2
    assert told(sealgate, "incident", "list") == []


def test_step_on_nothing_is_refused(sealgate):
    assert sealgate("incident", "assess", "inc_0", "--breach", "no", "--summary", "x")[0] == 2
    with pytest.raises(IncidentUnknown):
        incidents.require_step([], "inc_0", Step.CLOSED)


def test_entries_of_steps_without_an_opening_are_no_incident():
    event = {
        "time": 0,
        "api": {"operation": "incident.closed"},
        "sealgate": {"detail": {"incident": "inc_1"}},
    }
    assert incidents.told([event]) == []
    with pytest.raises(IncidentStepInvalid):
        incidents.require_text("")


def test_review_binds_who_did_it_to_a_log_that_verifies(sealgate):
    done = told(sealgate, "audit", "review", "--finding", "three refusals, all explained")
    verified = told(sealgate, "audit", "verify")
    assert done["log_size"] == verified["size"] - 1
    (kept,) = details(sealgate, "review.acknowledged")
    assert kept["detail"]["root"] == done["root"]


def test_disclosure_outside_the_gateway_is_accounted_for(sealgate):
    told(
        sealgate, "audit", "disclose", "ps_1", "--recipient", "Registry", "--what", "diagnosis",
        "--purpose", "public health",
    )  # fmt: skip
    (found,) = told(sealgate, "audit", "disclosures", "ps_1")["data"]
    assert (found["recipient"], found["what"]) == ("Registry", "diagnosis")
    code, _, err = sealgate(
        "audit", "disclose", "a b", "--recipient", "x", "--what", "x", "--purpose", "x"
    )
    assert (code, "pseudonym" in err) == (2, True)
