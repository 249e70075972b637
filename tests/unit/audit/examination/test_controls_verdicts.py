"""What each state of the records lets the examination conclude, and what it never does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from audit.controls.catalogue import Kind, load
from audit.controls.scope import Period
from audit.controls.verdicts import Verdict

PASSABLE = {each.id for each in load("hipaa").controls if each.kind is Kind.AUTOMATIC}
PARTIAL = {each.id for each in load("hipaa").controls if each.kind is Kind.PARTIAL}
ORGANISATIONAL = {each.id for each in load("hipaa").controls if each.kind is Kind.ORGANISATIONAL}
FAVOURABLE = {Verdict.PASS, Verdict.PARTIAL}


def _verdicts(findings):
    return {control: finding.verdict for control, finding in findings.items()}


def _failed(findings):
    return {control for control, each in findings.items() if each.verdict is Verdict.FAIL}


def test_every_control_gets_a_verdict_and_a_sentence(findings, good_log):
    found = findings(good_log)
    assert set(found) == PASSABLE | PARTIAL | ORGANISATIONAL
    assert all(each.sentence.endswith(".") for each in found.values())


def test_whole_log_passes_every_automatic_control_and_fails_none(findings, good_log):
    found = _verdicts(findings(good_log))
    assert {control for control, each in found.items() if each is Verdict.PASS} == PASSABLE
    assert Verdict.FAIL not in found.values()


def test_partial_control_is_never_more_than_partial(findings, good_log):
    found = _verdicts(findings(good_log))
    assert {found[control] for control in PARTIAL} == {Verdict.PARTIAL, Verdict.NO_DATA}


def test_organisational_control_is_not_evidenced(findings, good_log):
    found = _verdicts(findings(good_log))
    assert {found[control] for control in ORGANISATIONAL} == {Verdict.NOT_EVIDENCED}


def test_empty_log_evidences_nothing(findings, empty_log):
    found = _verdicts(findings(empty_log))
    assert {found[control] for control in PASSABLE | PARTIAL} == {Verdict.NO_DATA}


def test_busy_log_evidences_nothing_of_a_period_without_entries(findings, good_log):
    year = Period(datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
    found = _verdicts(findings(good_log, period=year))
    assert FAVOURABLE.isdisjoint(found.values())
    assert Verdict.FAIL not in found.values()


def test_start_alone_passes_nothing(findings, empty_log):
    empty_log.system("gateway.start", tls=True, host="gateway.example")
    assert Verdict.PASS not in _verdicts(findings(empty_log)).values()


def test_facts_alone_pass_nothing(findings, empty_log):
    system = {"tls": True, "host": "gateway.example", "retention_days": 4000}
    assert FAVOURABLE.isdisjoint(_verdicts(findings(empty_log, system=system)).values())


def test_log_that_was_not_verified_evidences_nothing(findings, good_log):
    state = replace(good_log.state, verified=False)
    assert FAVOURABLE.isdisjoint(_verdicts(findings(good_log, state=state)).values())


def test_tampered_log_fails_audit_controls_and_integrity(findings, good_log):
    state = replace(good_log.state, verified=False, problem="entry 3 does not match its leaf.")
    found = findings(good_log, state=state)
    assert _failed(found) == {"164.312(b)", "164.312(c)(2)"}
    assert FAVOURABLE.isdisjoint(_verdicts(found).values())
    assert "entry 3" in found["164.312(b)"].sentence


@pytest.mark.parametrize("damage", [{}, {"time": 1.5}, [], None, "text"])
def test_damaged_entry_of_a_tampered_log_is_left_aside(findings, good_log, damage):
    state = replace(good_log.state, verified=False, problem="entry 3 is damaged.", root_hex="")
    good_log.entries[3] = damage
    assert findings(good_log, state=state)["164.312(b)"].verdict is Verdict.FAIL


def test_problem_outweighs_a_claim_of_verification(findings, good_log):
    state = replace(good_log.state, verified=True, problem="the root differs.")
    assert FAVOURABLE.isdisjoint(_verdicts(findings(good_log, state=state)).values())


def test_unanchored_log_says_so(findings, good_log):
    assert "unanchored" in findings(good_log)["164.312(b)"].sentence
    state = replace(good_log.state, anchored=True)
    assert "unanchored" not in findings(good_log, state=state)["164.312(b)"].sentence


def test_entries_that_are_missing_keep_audit_controls_from_passing(findings, good_log):
    state = replace(good_log.state, size=len(good_log.entries) + 5)
    found = findings(good_log, state=state)
    assert found["164.312(b)"].verdict is Verdict.PARTIAL
    assert found["164.316(b)(2)(i)"].verdict is Verdict.NO_DATA


def test_entries_beyond_the_checkpoint_count_for_nothing(findings, good_log):
    state = good_log.state
    good_log.answer({"uid": "anonymous", "name": "anonymous", "type": "anonymous"})
    assert _failed(findings(good_log)) > set()
    assert _failed(findings(good_log, state=state)) == set()


def _without_intent(log, client):
    log.answer(client)
    del log.entries[-2]


def _late_intent(log, client):
    log.answer(client)
    log.entries[-2:] = reversed(log.entries[-2:])


def _dangling(log, client):
    log.intent(client)
    log.system("gateway.start", tls=True, host="gateway.example")


def _unmarked_record(log, client):
    del log.answer(client)["sealgate"]["choices"][0]["mark"]


def _nonsense_mark(log, client):
    log.answer(client, mark="excellent")


def _no_sandbox(log, client):
    log.answer(client)["sealgate"]["choices"][0]["sandbox"] = {}


def _null_sandbox(log, client):
    log.answer(client)["sealgate"]["choices"][0]["sandbox"] = None


def _absent_sandbox(log, client):
    del log.answer(client)["sealgate"]["choices"][0]["sandbox"]


def _no_hmac(log, client):
    del log.answer(client)["sealgate"]["choices"][0]["output_hmac"]


def _foreign_trace(log, client):
    log.answer(client, trace_id=8)


def _no_choice(log, client):
    log.answer(client)["sealgate"]["choices"] = []


def _nobody(log, client):
    log.answer({"uid": "anonymous", "name": "anonymous", "type": "anonymous"})


def _shared_identifier(log, client):
    log.answer({**client, "name": "another"})


def _never_added(log, client):
    log.answer({"uid": "cred_99", "name": "smuggled", "type": "client"})


def _used_after_revocation(log, client):
    log.system("credential.revoked", credential_id=client["uid"])
    log.at += timedelta(seconds=5)
    log.answer(client)


def _sealed_in_plain(log, client):
    log.system("model.sealed", model_id="other", model_digest="sha256:00", cipher="none")


def _said_unsealed(log, client):
    log.system("model.sealed", model_id="other", model_digest="sha256:00", sealed=False)


def _started_unsealed(log, client):
    models = [{"id": "other", "sealed": False}]
    log.system("gateway.start", tls=True, host="gateway.example", models=models)


def _exposed(log, client):
    log.system("gateway.start", tls=False, host="0.0.0.0")  # noqa: S104 - what must fail
    log.answer(client)


BROKEN = {
    _without_intent: {"164.312(b)", "164.312(c)(2)"},
    _late_intent: {"164.312(b)"},
    _dangling: {"164.312(b)"},
    _unmarked_record: {"164.312(b)", "164.312(c)(2)"},
    _nonsense_mark: {"164.312(b)", "164.312(c)(2)"},
    _no_sandbox: {"164.312(b)", "164.308(a)(4)(ii)(B)"},
    _null_sandbox: {"164.312(b)", "164.308(a)(4)(ii)(B)"},
    _absent_sandbox: {"164.312(b)", "164.308(a)(4)(ii)(B)"},
    _no_hmac: {"164.312(b)", "164.312(c)(2)"},
    _foreign_trace: {"164.312(b)", "164.312(c)(2)"},
    _no_choice: {"164.312(b)"},
    _nobody: {
        "164.312(d)",
        "164.312(a)(2)(i)",
        "164.312(a)(2)(iii)",
        "164.308(a)(3)(ii)(A)",
    },
    _shared_identifier: {"164.312(a)(2)(i)"},
    _never_added: {"164.308(a)(4)(ii)(C)"},
    _used_after_revocation: {"164.308(a)(3)(ii)(C)"},
    _sealed_in_plain: {"164.312(a)(2)(iv)"},
    _said_unsealed: {"164.312(a)(2)(iv)"},
    _started_unsealed: {"164.312(a)(2)(iv)"},
    _exposed: {"164.312(e)(2)(i)", "164.312(e)(2)(ii)"},
}


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda each: each.__name__.strip("_"))
def test_contradiction_fails_the_controls_it_concerns_and_no_other(findings, good_log, break_it):
    client = {"uid": "cred_01", "name": "triage", "type": "client"}
    break_it(good_log, client)
    assert _failed(findings(good_log)) == BROKEN[break_it]


def test_facts_fail_what_they_contradict(findings, good_log):
    system = {
        "tls": False,
        "host": "192.0.2.1",
        "retention_days": 365,
        "models": [{"id": "other", "cipher": "none"}],
    }
    assert _failed(findings(good_log, system=system)) == {
        "164.312(a)(2)(iv)",
        "164.312(e)(2)(i)",
        "164.312(e)(2)(ii)",
        "164.316(b)(2)(i)",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_without_tls_is_partial(findings, make_log, host):
    found = findings(make_log(tls=False, host=host))
    assert found["164.312(e)(2)(ii)"].verdict is Verdict.PARTIAL
    assert "loopback" in found["164.312(e)(2)(ii)"].sentence


@pytest.mark.parametrize("host", ["", "gateway.example", "::", "10.0.0.1"])
def test_elsewhere_without_tls_fails(findings, make_log, host):
    assert findings(make_log(tls=False, host=host))["164.312(e)(2)(i)"].verdict is Verdict.FAIL


def test_start_that_does_not_name_its_connection_is_no_data(findings, make_log):
    assert findings(make_log(tls=None))["164.312(e)(2)(ii)"].verdict is Verdict.NO_DATA
    assert findings(make_log(tls="yes"))["164.312(e)(2)(ii)"].verdict is Verdict.NO_DATA


def test_start_before_the_period_still_counts(findings, make_log):
    log = make_log(tls=False, host="192.0.2.1")
    later = Period(log.at, log.at + timedelta(days=1))
    log.answer({"uid": "cred_01", "name": "triage", "type": "client"})
    assert findings(log, period=later)["164.312(e)(2)(ii)"].verdict is Verdict.FAIL


def test_intent_before_the_period_still_precedes_its_outcome(findings, good_log):
    intent = good_log.intent({"uid": "cred_01", "name": "triage", "type": "client"})
    later = Period(good_log.at, good_log.at + timedelta(days=1))
    good_log.outcome(intent)
    assert findings(good_log, period=later)["164.312(b)"].verdict is Verdict.PASS


def test_request_in_flight_at_the_checkpoint_is_not_a_fault(findings, good_log):
    good_log.intent({"uid": "cred_01", "name": "triage", "type": "client"})
    found = findings(good_log)["164.312(b)"]
    assert found.verdict is Verdict.PASS
    assert "Still open at the checkpoint: 1 intent" in found.sentence


def test_recovered_intent_is_not_dangling(findings, good_log):
    intent = good_log.intent({"uid": "cred_01", "name": "triage", "type": "client"})
    uid, user = intent["api"]["request"]["uid"], intent["actor"]["user"]
    good_log.add("recovered", "chat.completions.create", uid=uid, user=user, ending="unknown")
    good_log.system("gateway.start", tls=True, host="gateway.example")
    found = findings(good_log)
    assert found["164.312(b)"].verdict is Verdict.PASS
    assert found["164.308(a)(7)(ii)(B)"].verdict is Verdict.PARTIAL


def test_model_without_any_record_of_its_seal_is_no_data(findings, good_log):
    good_log.answer({"uid": "cred_01", "name": "triage", "type": "client"})
    good_log.entries[-1]["sealgate"]["model"]["digest"] = "sha256:ff"
    assert findings(good_log)["164.312(a)(2)(iv)"].verdict is Verdict.NO_DATA
    fact = {"id": "smollm2-135m", "digest": "sha256:ff", "cipher": "AES-256-GCM (Cobblestone)"}
    found = findings(good_log, system={"models": [fact]})
    assert found["164.312(a)(2)(iv)"].verdict is Verdict.PARTIAL


def test_several_operators_share_an_identifier_without_conflict(findings, good_log):
    for name in ("first", "second"):
        good_log.access({"uid": "operator", "name": name, "type": "operator"}, "audit.verify")
    assert findings(good_log)["164.312(a)(2)(i)"].verdict is Verdict.PASS


def test_answer_of_another_tier_needs_no_sandbox_here(findings, good_log):
    outcome = good_log.answer({"uid": "cred_01", "name": "triage", "type": "client"})
    outcome["sealgate"].update(tier="remote", recipient="Example Laboratory")
    outcome["sealgate"]["choices"][0]["sandbox"] = {}
    assert _failed(findings(good_log)) == set()


def test_rejected_attempts_alone_are_monitoring_but_not_authentication(findings, empty_log):
    empty_log.denied()
    found = findings(empty_log)
    assert found["164.308(a)(5)(ii)(C)"].verdict is Verdict.PASS
    assert found["164.312(d)"].verdict is Verdict.NO_DATA


def test_no_sentence_says_that_anybody_complies(findings, good_log):
    for each in findings(good_log).values():
        assert "compl" not in each.sentence.lower().replace("complete", "")


@pytest.mark.parametrize("operation", ["routing.drained", "routing.resumed", "credential.revoked"])
def test_change_of_the_system_is_evidence_of_itself_alone(findings, empty_log, operation):
    empty_log.system("sandbox.killed")
    assert findings(empty_log)["164.316(b)(2)(iii)"].verdict is Verdict.NO_DATA
    empty_log.system(operation)
    found = findings(empty_log)["164.316(b)(2)(iii)"]
    assert found.verdict is Verdict.PARTIAL
    assert f"{operation}: 1" in found.sentence
