"""Every entry the gateway builds is one that the log takes, and none holds what it must not."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from audit import events
from gateway import logbook, ocsf
from gateway.choice_ends import ChoiceEnd
from gateway.identity import Principal, Role
from gateway.question import Labelling, Question
from gateway.speaking import Begun
from sandbox.wire import Shaping

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HMAC = "ab" * 32
ATTESTATION = {"kernel": "6.1", "landlock_abi": 6, "namespaces": ["pid"], "observed": True}


class Model:
    model_id = "smol"
    digest = "sha256:" + "cd" * 32
    generation = 3
    training_certificate = None


@pytest.fixture
def question():
    return Question(
        request_id="req_1",
        principal=Principal("cred_1", "clinic", "app", Role.CLIENT),
        model=Model(),
        operation="chat.completions.create",
        prompt=[1, 2, 3],
        body=b'{"messages": "the secret prompt"}',
        choices=2,
        max_tokens=10,
        temperature=0.7,
        top_p=0.95,
        top_k=50,
        stops=("secret stop",),
        seed=None,
        source_ip="127.0.0.1",
    )


def choice(**fields):
    given = {
        "trace_id": 7,
        "tokens": 4,
        "finish_reason": "stop",
        "evidence": {"status": "traceable", "marked": 4, "log_evidence": 12.3456},
        "output_hmac": HMAC,
        "attestation": ATTESTATION,
    }
    return ChoiceEnd(**given | fields)


def outcome(question, *choices, status=200):
    return logbook.outcome(
        question,
        epoch=1,
        choices=choices,
        ending="completed",
        status=status,
        latency_ms=5,
        now=NOW,
    )


def all_entries(question):
    principal = question.principal
    common = {"request_id": "req_1", "source_ip": None, "now": NOW}
    return {
        "intent": logbook.intent(question, epoch=1, trace_ids=[7, 8], prompt_hmac=HMAC, now=NOW),
        "outcome": outcome(question, choice(), choice(evidence=None, attestation=None)),
        "denied": logbook.denied(
            principal=principal, operation="x", status=404, reason="model_not_found", **common
        ),
        "denied to nobody": logbook.denied(
            principal=None, operation="x", status=401, reason="invalid_api_key", **common
        ),
        "access": logbook.verification(
            principal=principal, verdict="traced", traced_request="req_0", p_value=1e-12, **common
        ),
        "system": logbook.system("gateway.start", uid="sys_1", now=NOW, detail={"tls": False}),
        "operator": logbook.system(
            "model.sealed", uid="sys_2", now=NOW, actor=ocsf.operator("root")
        ),
    }


def test_log_takes_every_entry_under_its_phase(question):
    for name, entry in all_entries(question).items():
        taken = events.encode(entry)
        assert taken.phase in {name.split()[0], "system"}
        assert taken.time_ms == 1_772_366_400_000


def test_no_entry_holds_text_or_a_float(question):
    def floats(value):
        if isinstance(value, dict):
            return any(floats(each) for each in value.values())
        if isinstance(value, list):
            return any(floats(each) for each in value)
        return isinstance(value, float)

    for entry in all_entries(question).values():
        assert not floats(entry)
        assert "secret" not in json.dumps(entry)


def test_intent_says_what_shapes_the_answer(question):
    own = logbook.intent(question, epoch=2, trace_ids=[7, 8], prompt_hmac=HMAC, now=NOW)["sealgate"]
    assert own["sampling"] == {
        "temperature_milli": 700,
        "top_p_milli": 950,
        "top_k": 50,
        "max_tokens": 10,
        "n": 2,
        "seeded": False,
    }
    assert own["watermark"] == {"scheme": "pcg-v1", "epoch": 2, "trace_ids": [7, 8]}
    seeded = replace(question, seed=0)
    own = logbook.intent(seeded, epoch=1, trace_ids=[], prompt_hmac=HMAC, now=NOW)["sealgate"]
    assert own["sampling"]["seeded"] is True


def test_entries_name_the_certificate_of_a_model_that_was_trained_privately(question):
    plain = logbook.intent(question, epoch=1, trace_ids=[7, 8], prompt_hmac=HMAC, now=NOW)
    assert "training_certificate" not in plain["sealgate"]["model"]
    question.model.training_certificate = "sha256:" + "ef" * 32
    entries = all_entries(question)
    for phase in ("intent", "outcome"):
        model = entries[phase]["sealgate"]["model"]
        assert model["training_certificate"] == "sha256:" + "ef" * 32
        events.encode(entries[phase])


def test_outcome_sums_its_choices(question):
    own = outcome(question, choice(tokens=4), choice(tokens=5))["sealgate"]
    assert own["completion_tokens"] == 9
    assert own["choices"][0]["log_evidence_milli"] == 12346
    assert own["choices"][0]["sandbox"] == ATTESTATION


@pytest.mark.parametrize(
    "evidence",
    [
        None,
        {},
        {"status": "excellent", "log_evidence": 1.0},
        {"status": 5, "log_evidence": 1.0},
        {"status": ["traceable"], "log_evidence": 1.0},
    ],
)
def test_evidence_from_the_jail_that_is_none_counts_as_none(question, evidence):
    (ended,) = outcome(question, choice(evidence=evidence))["sealgate"]["choices"]
    assert (ended["mark"], ended["log_evidence_milli"]) == ("unmarked", None)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "1", None, 10**400])
def test_log_evidence_that_is_no_number_is_left_out(question, number):
    evidence = {"status": "weak", "log_evidence": number}
    (ended,) = outcome(question, choice(evidence=evidence))["sealgate"]["choices"]
    assert (ended["mark"], ended["log_evidence_milli"]) == ("weak", None)


def test_status_of_http_decides_success(question):
    assert outcome(question, choice())["status_id"] == 1
    failed = outcome(question, choice(), status=499)
    assert (failed["status_id"], failed["status_code"]) == (2, "499")


def test_small_p_value_keeps_its_size(question):
    assert logbook.traced(verdict="traced", traced_request=None, p_value=1e-300)["p_value"] == (
        "1e-300"
    )


def test_operator_is_who_the_machine_says():
    entry = logbook.system("x", uid="u", now=NOW, actor=ocsf.operator("root"))
    assert entry["actor"]["session"]["issuer"] == "operating_system"
    assert entry["metadata"]["tenant_uid"] == "system"


def test_intent_tells_what_bent_the_prediction_and_no_more(question):
    shaping = Shaping(min_p=0.05, frequency_penalty=-0.5, logit_bias={5: 1.0, 6: -100.0})
    told = intent_of(replace(question, shaping=shaping))["sealgate"]["sampling"]
    idle = intent_of(question)["sealgate"]["sampling"]
    assert {name: told[name] for name in told.keys() - idle.keys()} == {
        "min_p_milli": 50,
        "frequency_penalty_milli": -500,
        "biased_tokens": 2,
    }


def intent_of(question):
    entry = logbook.intent(question, epoch=1, trace_ids=[1, 2], prompt_hmac=HMAC, now=NOW)
    assert events.encode(entry).phase == "intent"
    return entry


def test_completed_outcome_says_how_it_was_labelled_and_what_the_log_took(question):
    labelled = replace(question, labelling=Labelling(visible="zh", manifest=True))
    assert outcome(labelled)["sealgate"]["label"] == {"explicit": True, "implicit": True}
    assert outcome(question)["sealgate"]["label"] == {"explicit": False, "implicit": False}
    given = {"epoch": 1, "choices": [], "status": 503, "latency_ms": 5, "now": NOW}
    failed = logbook.outcome(question, ending="failed", acknowledgement_ms=3, **given)
    assert "label" not in failed["sealgate"]
    assert events.encode(failed)
    assert failed["sealgate"]["acknowledgement_ms"] == 3


def test_outcome_of_another_tier_names_who_got_the_request(question):
    assert "recipient" not in outcome(question)["sealgate"]
    given = {"epoch": 1, "choices": [], "ending": "completed", "status": 200, "latency_ms": 5}
    for route, named in (({"endpoint": "edge-1"}, "edge-1"), (None, Model.digest)):
        served = Begun({}, Model(), "edge", route)
        told = logbook.outcome(question, served=served, now=NOW, **given)
        assert told["sealgate"]["recipient"] == named
        assert events.encode(told)


def test_sandbox_that_was_killed_has_an_entry_of_its_own(question):
    entry = events.encode(logbook.killed(question, 1, "WorkerDied", now=NOW))
    assert (entry.operation, entry.uid) == ("sandbox.killed", "req_1/killed/1")
