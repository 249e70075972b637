"""What identifies a person stays here: a real upstream records what reached it.

The whole route runs, with a real log and a real HTTP server; only the model's words are a script.
"""

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.sequencer import Sequencer
from audit.store import open_log
from gateway import outgoing as disguise
from gateway.answer import Answers
from gateway.api.asgi import ADMISSION, RequestIds
from gateway.api.asking import Asking
from gateway.api.chat import ChatDialect
from gateway.api.generating import Generating
from gateway.backends.base import FEATURES, Capabilities
from gateway.backends.profiles import VLLM
from gateway.backends.remote import Patience, Remote, RemoteBackend
from gateway.backends.transport import Transport
from gateway.balancer import Balancer
from gateway.budgets import Budgets
from gateway.catalogue import Catalogue, RemoteModel
from gateway.doorkeeper import Admission, Doorkeeper
from gateway.draining import Standing
from gateway.identity import Principal, Role
from gateway.limits import RequestLimits
from gateway.metrics import Metrics
from gateway.policy import Policy
from gateway.recorder import Recorder
from gateway.requestkeys import RequestKeys
from gateway.router import Candidate
from gateway.routes import Routes, remote_endpoint
from gateway.settings import Settings
from gateway.tiers import CLASSES, Tiers
from privacy.deidentify import Pseudonyms
from tests.unit.gateway import upstreams

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PATH = "/v1/chat/completions"
CALLER = Principal("cred_1", "clinic", "ward", Role.CLIENT)
POLICY = """
version = 1
[[rule]]
name = "out"
tiers = ["edge"]
marking = "where possible"
redaction = "{redaction}"
{agreement}
"""
# The machine may be busy.
LONG = Patience(first_token_s=60, stall_s=60)
AGREEMENT = '[[baa]]\nremote = "edge-1"\nreference = "BAA-1"\nexpires = {expires}\n'


def note(seed):
    """A generated note: its turns, and each identifier that is in them."""
    draw = random.Random(seed)  # noqa: S311 - a test's
    given, family = draw.choice(["Maria", "Hiroshi", "Fatima"]), draw.choice(["Quill", "Ferro"])
    digits = "".join(draw.choice("23456789") for _ in range(7))
    values = {
        "name": f"{given} {family}",
        "date": f"0{draw.randint(1, 9)}/{draw.randint(10, 28)}/19{draw.randint(40, 99)}",
        "record": f"{digits[:4]}-{digits[4:]}",
        "phone": f"(217) 555-{digits[:4]}",
        "email": f"{family.lower()}{digits}@example.org",
        "place": f"{draw.randint(10, 99)} Oak Street",
    }
    turns = [
        # Without a label: only the next turn says that this is a person's record.
        {"role": "system", "content": f"The last visit was {values['record']}, all well."},
        {
            "role": "user",
            "content": f"Patient: {values['name']}, DOB {values['date']}, MRN: {values['record']}. "
            f"Call {values['phone']} or write {values['email']}. Lives at {values['place']}.",
        },
    ]
    return turns, values


class Echo:
    """A script that says the last turn back, a few characters at a time."""

    def __init__(self, upstream, size):
        self._upstream, self._size = upstream, size

    def __iter__(self):
        text = self._upstream.bodies[-1]["messages"][-1]["content"]
        for at in range(0, len(text), self._size):
            yield upstreams.event(text[at : at + self._size])
        yield upstreams.event(reason="stop")
        yield upstreams.event(usage=upstreams.USAGE)
        yield upstreams.DONE


class Keys:
    """Keys of zeros: what is derived here is not looked at."""

    def active_epoch(self, _):
        return 1

    def derive_each(self, _, contexts, __):
        return [bytes(32) for _ in contexts]


class Door(Doorkeeper):
    """Lets one caller in."""

    async def admit(self, scope, *, operation, role):
        assert role is CALLER.role
        scope[ADMISSION] = Admission(CALLER, operation)
        return CALLER


@pytest.fixture
def log(tmp_path):
    engine = open_log(tmp_path / "log.db")
    public = KEY.public_key().public_bytes_raw()
    sequencer = Sequencer(engine, origin="o", public_key=public, sign=KEY.sign)
    sequencer.start()
    yield SimpleNamespace(engine=engine, sequencer=sequencer)
    sequencer.close()
    engine.dispose()


def entries(log):
    with log.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT body FROM leaf ORDER BY idx"))
        return [json.loads(body)["sealgate"] for (body,) in rows]


@asynccontextmanager
async def edge(
    log,
    *,
    redaction="pseudonyms",
    agreement="",
    size=3,
    dialect=ChatDialect,
    features=frozenset(FEATURES),
    spans=None,
):
    """A route whose only endpoint is a real server. Yields that server and what asks the route."""
    async with upstreams.serving() as upstream:
        upstream.script = Echo(upstream, size)
        remote = Remote("edge-1", "edge", upstreams.MODEL, VLLM, Capabilities(4096, 512), LONG)
        backend = RemoteBackend(
            remote, Transport(upstream.url, paths=VLLM.paths, connect_s=60), salt=lambda _: "00"
        )
        model = RemoteModel("far", "upstream:edge-1/m", 4096, backend)
        place = Candidate(
            "edge-1", "edge", "far", "site", frozenset(CLASSES), None, 4096, 512, 2,
            features=features,
        )  # fmt: skip
        endpoint = remote_endpoint(
            model, place, waiting_limit=8, standing=Standing(Path("/nowhere"))
        )
        balancer = Balancer([endpoint], draw=lambda _: 0)
        routes = Routes(balancer, {"edge-1": model}, Tiers(), {})
        policy = Policy(POLICY.format(redaction=redaction, agreement=agreement).encode())
        try:
            yield upstream, asker(log, routes, policy, dialect=dialect, spans=spans)
        finally:
            await backend.close()


def asker(log, routes, policy, *, dialect=ChatDialect, spans=None):
    metrics = Metrics()
    recorder = Recorder(log.sequencer, acknowledgement_s=60)
    limits = RequestLimits(
        subjects=lambda _: (),
        budgets=Budgets(log.engine, now=lambda: datetime.now(UTC)),
        clock=time.monotonic,
    )
    route = Generating(
        dialect=dialect(Asking(Settings(), Catalogue({}), routes)),
        doorkeeper=Door(None, recorder, None),
        answers=Answers(recorder, RequestKeys(Keys(), stamp=lambda: 0)),
        limits=limits,
        policy=SimpleNamespace(current=policy),
        metrics=metrics,
        receipt=lambda _: "",
        body_limit_bytes=1 << 20,
        spans=spans,
    )

    async def ask(turns=None, *, data_class="public", headers=(), **options):
        given = {} if turns is None else {"messages": turns, "max_tokens": 256}
        body = json.dumps({"model": "far"} | given | options)
        messages = iter([{"type": "http.request", "body": body.encode()}])
        sent = []

        async def receive():
            return next(messages, None) or await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        given = [(b"x-sealgate-data-class", data_class.encode()), *headers]
        scope = {"type": "http", "headers": given, "client": None, "path": PATH}
        await RequestIds(route)(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)

    ask.metrics = metrics
    return ask


def streamed(body):
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])


def agreed(days=1):
    return AGREEMENT.format(expires=datetime.now(UTC).date() + timedelta(days=days))


@pytest.mark.parametrize("size", [1, 2, 5, 4000])
@pytest.mark.parametrize("stream", [False, True])
async def test_no_identifier_leaves_and_the_answer_has_them_back(log, stream, size):
    turns, values = note(size)
    async with edge(log, agreement=agreed(), size=size) as (upstream, ask):
        # A stop string is not sent either: it may be an identifier itself.
        status, body = await ask(turns, stream=stream, stop=[f"END {values['name']}"])
    assert status == 200
    (received,) = upstream.bodies
    left = json.dumps(received) + json.dumps(upstream.headers)
    assert [value for value in values.values() if value in left] == []
    assert "stop" not in received
    text = streamed(body) if stream else json.loads(body)["choices"][0]["message"]["content"]
    assert text == turns[-1]["content"]
    intent, outcome = entries(log)
    assert intent["detections"] == {
        "detector": disguise.DETECTOR,
        "recall_milli": None,
        "counts": dict.fromkeys(values, 1),
    }
    assert outcome["ending"] == "completed"
    assert [value for value in values.values() if value in json.dumps([intent, outcome])] == []


async def test_stop_string_ends_the_restored_text(log):
    turns, values = note(1)
    async with edge(log, agreement=agreed()) as (_, ask):
        _, body = await ask(turns, stop=[values["name"]])
    choice = json.loads(body)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Patient: ", "stop")


async def test_without_redaction_the_text_goes_as_it_is(log):
    turns, _ = note(2)
    async with edge(log, redaction="none", agreement=agreed()) as (upstream, ask):
        status, body = await ask(turns, stop=["END"])
    assert status == 200
    assert upstream.bodies[0]["messages"] == turns
    assert upstream.bodies[0]["stop"] == ["END"]
    assert json.loads(body)["choices"][0]["message"]["content"] == turns[-1]["content"]
    assert "detections" not in entries(log)[0]


@pytest.mark.parametrize(
    ("broken", "ending", "status"), [(False, "completed", 200), (True, "failed", 502)]
)
async def test_answers_and_marks_are_counted_as_their_outcome_says(log, broken, ending, status):
    async with edge(log) as (upstream, ask):
        if broken:
            upstream.script = [upstreams.event("Hel")]
        assert (await ask([{"role": "user", "content": "Say hello."}]))[0] == status
    told = ask.metrics.render().decode()
    assert entries(log)[-1]["ending"] == ending
    assert f'sealgate_answers_total{{ending="{ending}",model="far"}} 1.0' in told
    assert 'sealgate_choices_total{mark="unmarked",model="far"} 1.0' in told
    operation = "chat.completions.create"
    assert f'sealgate_requests_total{{operation="{operation}",status="{status}"}} 1.0' in told


@pytest.mark.parametrize("stream", [False, True])
async def test_text_that_cannot_be_hidden_is_refused_and_recorded(log, monkeypatch, stream):
    def broken(_):
        raise RuntimeError

    monkeypatch.setattr(disguise, "Pseudonyms", lambda _: Pseudonyms(recognise=broken))
    async with edge(log, agreement=agreed()) as (upstream, ask):
        status, body = await ask(note(3)[0], stream=stream)
    assert (status, json.loads(body)["error"]["code"]) == (500, "redaction_failed")
    assert upstream.bodies == []
    (denied,) = entries(log)
    assert (denied["phase"], denied["reason"]) == ("denied", "redaction_failed")


@pytest.mark.parametrize("data_class", ["phi", "unclassified", "public", "internal"])
@pytest.mark.parametrize("agreement", ["", agreed(days=-1)])
async def test_remote_without_an_agreement_receives_no_patient_data(log, data_class, agreement):
    # What says `public` names a person here, and is raised to `phi`.
    async with edge(log, agreement=agreement) as (upstream, ask):
        status, body = await ask(note(4)[0], data_class=data_class)
    assert (status, json.loads(body)["error"]["code"]) == (403, "no_tier_for_class")
    assert upstream.bodies == []
    (denied,) = entries(log)
    assert denied["reason"] == "no_tier_for_class"


async def test_remote_without_an_agreement_receives_what_concerns_nobody(log):
    async with edge(log) as (upstream, ask):
        status, _ = await ask([{"role": "user", "content": "Say hello."}])
    assert status == 200
    assert len(upstream.bodies) == 1


async def test_agreement_holds_to_the_end_of_its_last_day(log):
    # A day that ends while the test runs is not its last.
    agreement = None
    while agreement != agreed(days=0):
        agreement = agreed(days=0)
        async with edge(log, agreement=agreement) as (_, ask):
            status, _ = await ask(note(5)[0], data_class="phi")
    assert status == 200
