"""Text of requests: kept only where settings and policy both say so, read only on record."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from audit import events, evidence, forgetting, holds
from audit.errors import ContentUnknown, LogUnavailable
from audit.store import open_log
from gateway import keeping, logbook
from gateway.identity import Principal, Role
from gateway.keeping import ANSWER, PROMPT, Keeper, contents
from gateway.policy import Policy
from gateway.question import Question
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BODY = b'{"messages": [{"role": "user", "content": "my own words"}]}'


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "keyring", KeyFile.create(tmp_path / "keys"))


@pytest.fixture
def place(tmp_path, keyring):
    engine = open_log(tmp_path / "log.db")
    yield contents(engine, keyring)
    engine.dispose()


@pytest.fixture
def question():
    return Question(
        request_id="req_1",
        principal=Principal("cred_1", "clinic", "app", Role.CLIENT),
        model=SimpleNamespace(
            model_id="m", digest="sha256:00", generation=1, training_certificate=None
        ),
        operation="chat.completions.create",
        prompt=[1],
        body=BODY,
        choices=1,
        max_tokens=4,
        temperature=1.0,
        top_p=1.0,
        top_k=1,
        stops=(),
        seed=None,
        source_ip=None,
        policy={"digest": "sha256:00", "rule": "r", "raised": False, "retention_days": 2},
    )


def keep(place, question, kind=PROMPT, text=BODY):
    return asyncio.run(Keeper(place).keep(question, kind, text))


def test_nothing_is_kept_without_a_term_or_without_a_place(place, question):
    assert keep(None, question) == {}
    assert keep(place, replace(question, policy=None)) == {}
    assert keep(place, replace(question, policy={"rule": "r"})) == {}
    assert place.listed() == []


def test_rule_says_in_the_entry_how_long_text_is_kept():
    rules = b'version = 1\n[[rule]]\nname = "a"\nretention_days = 30\n'
    principal = Principal("cred_1", "clinic", "app", Role.CLIENT)
    given = {"declared": None, "purpose": None, "identifying": lambda: False}
    assert Policy(rules).rule(principal, **given).entry()["retention_days"] == 30
    assert "retention_days" not in Policy(rules[:-20]).rule(principal, **given).entry()


def test_entry_names_what_is_kept_and_the_log_takes_it(place, question):
    told = keep(place, question)
    assert place.read("req_1", PROMPT) == BODY
    event = logbook.intent(
        question,
        epoch=1,
        trace_ids=[1],
        prompt_hmac="ab" * 32,
        now=NOW,
    )
    event["sealgate"] |= told
    assert events.encode(event).phase == "intent"
    # Cut off while it was written, a request asks for the same again.
    assert keep(place, question, text=b"other")["content"]["digest"] == told["content"]["digest"]


@pytest.mark.parametrize(("pseudonym", "subject"), [("ps_1", "ps_1"), (None, "tenant/clinic")])
def test_text_lies_under_the_key_of_whom_it_concerns(place, question, pseudonym, subject):
    keep(place, replace(question, pseudonym=pseudonym))
    forgetting.shred(place.engine, subject, record=lambda: None)
    with pytest.raises(ContentUnknown):
        place.read("req_1", PROMPT)


def test_text_survives_the_rotation_of_what_wraps_it(place, keyring, question):
    keep(place, question)
    keyring.rotate("audit-hmac")
    assert place.read("req_1", PROMPT) == BODY
    assert keep(place, replace(question, request_id="req_2"))
    assert place.read("req_2", PROMPT) == BODY


def test_request_whose_text_cannot_be_kept_does_not_go_on(place, question, monkeypatch):
    def full(*_):
        raise LogUnavailable("disk full")

    monkeypatch.setattr(type(place), "keep", full)
    with pytest.raises(LogUnavailable):
        keep(place, question)


def test_term_that_is_over_is_recorded_and_enforced(place, question, monkeypatch):
    keep(place, question)
    told = []
    assert keeping.expire(place.engine, told.append).contents == 0
    later = keeping.time.time_ns() + 3 * 86_400 * 10**9
    monkeypatch.setattr(keeping.time, "time_ns", lambda: later)
    holds.place(place.engine, "case", scope="tenant", value="clinic", now_ms=1)
    assert keeping.expire(place.engine, told.append).contents == 0
    holds.lift(place.engine, "case", now_ms=2)
    assert keeping.expire(place.engine, told.append).contents == 1
    (event,) = told
    assert event["api"]["operation"] == "content.expired"
    assert event["sealgate"]["detail"] == {"contents": 1}
    assert place.listed() == []


def test_operator_reads_kept_text_on_record_until_it_is_shredded(sealgate, tmp_path, question):
    keyring = Keyring.unlock(tmp_path / "home" / "keyring", KeyFile(tmp_path / "key"))
    engine = open_log(tmp_path / "home" / "sealgate.db")
    asked = replace(question, pseudonym="ps_1")
    keep(contents(engine, keyring), asked)
    keep(contents(engine, keyring), asked, ANSWER, keeping.answered(["Antwort"]))
    out = tmp_path / "text.ndjson"
    assert sealgate("audit", "content", "--subject", "ps_1", "--out", str(out))[0] == 0
    kinds = [json.loads(line)["kind"] for line in out.read_text("utf-8").splitlines()]
    assert kinds == [PROMPT, ANSWER]
    code, told, _ = sealgate("audit", "content", "req_1", "--json")
    assert "Antwort" in json.loads(told)["data"][1]["text"]
    read = [e for _, e in evidence.events_of(engine, ["content.read"])]
    assert [each["sealgate"]["detail"]["found"] for each in read] == [2, 2]
    assert sealgate("audit", "expire", "--json")[0] == 0
    assert sealgate("audit", "shred", "ps_1", "--yes")[0] == 0
    code, _, err = sealgate("audit", "content", "req_1")
    assert (code, "shredded" in err) == (2, True)
    assert sealgate("audit", "content")[0] == 2
    engine.dispose()


def test_no_text_is_on_disk_in_the_clear(place, question, tmp_path):
    keep(place, question)
    assert all(
        b"my own words" not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file()
    )
