"""`/audit/` over ASGI, with real credentials and a real log: roles, tiles, queries, proofs."""

import asyncio
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import checkpoint
from audit.content import Contents, Text
from audit.merkle import leaf_hash
from audit.sequencer import Sequencer
from audit.store import open_log
from audit.tiles import unbundle
from audit.verify import verify_log, verify_proof
from gateway import logbook
from gateway.app import create_app
from gateway.doorkeeper import Doorkeeper
from gateway.identity import Principal, Role
from gateway.recorder import Recorder
from gateway.settings import Settings
from gateway.throttle import Throttle

ORIGIN = "sealgate.test/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TRUST = {"origin": ORIGIN, "public_key": KEY.public_key().public_bytes_raw()}


class Credentials:
    """Knows a key for each role."""

    quick = True

    def principal(self, key, *, now):  # noqa: ARG002 - As the real one is called.
        if key not in set(Role):
            return None
        return Principal(f"cred_{key}", "clinic", key, Role(key))


@pytest.fixture
def log(tmp_path):
    engine = open_log(tmp_path / "log.db")
    sequencer = Sequencer(engine, sign=KEY.sign, **TRUST)
    sequencer.start()
    for number in range(3):
        event = logbook.system(f"e{number}", uid=f"sys_{number}", now=datetime.now(UTC))
        sequencer.submit(event).result(60)
    yield SimpleNamespace(engine=engine, sequencer=sequencer)
    sequencer.close()
    engine.dispose()


class Parts(SimpleNamespace):
    """A gateway of these parts alone; what other routes need, nobody has."""

    def __getattr__(self, name):
        return None


@pytest.fixture
def get(log):
    """Asks for a path in a role; returns status, headers and body."""
    recorder = Recorder(log.sequencer, acknowledgement_s=60)
    gateway = Parts(
        settings=Settings(),
        doorkeeper=Doorkeeper(
            Credentials(), recorder, Throttle(most=100, window_s=60, clock=time.monotonic)
        ),
        recorder=recorder,
        log=log.engine,
        contents=Contents(log.engine, lambda: [bytes(32)]),
    )
    app = create_app(gateway)

    def ask(path, role="auditor"):
        return asyncio.run(_ask(app, path, role))

    return ask


async def _ask(app, path, role):
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {role}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


def size(log):
    return verify_log(log.engine, **TRUST).size


PATHS = [
    "/audit/checkpoint",
    "/audit/tile/0/000.p/1",
    "/audit/tile/entries/000.p/1",
    "/audit/events",
    "/audit/disclosures/ps_1",
    "/audit/proof/sys_1",
]


@pytest.mark.parametrize("path", PATHS)
def test_officers_and_auditors_come_in_and_nobody_else(get, log, path):
    for role, status in (("auditor", 200), ("officer", 200), ("client", 403), ("nobody", 401)):
        assert get(path, role)[0] == status
    denied = json.loads(get("/audit/events?decision=denied")[2])["data"]
    assert [each["event"]["sealgate"]["reason"] for each in denied] == [
        "insufficient_role",
        "invalid_api_key",
    ]


def test_checkpoint_is_the_newest(get, log):
    status, headers, body = get("/audit/checkpoint")
    assert (status, headers["content-type"], headers["cache-control"]) == (
        200,
        "text/plain; charset=utf-8",
        "no-store",
    )
    assert checkpoint.verify(body.decode(), **TRUST).size == 3
    assert size(log) == 3


def test_tiles_lead_from_entries_to_the_checkpoint(get, log):
    leaves = get("/audit/tile/0/000.p/3")[2]
    status, headers, bundle = get("/audit/tile/entries/000.p/3")
    assert status == 200
    assert b"".join(leaf_hash(entry) for entry in unbundle(bundle)) == leaves
    assert "private" in headers["cache-control"]
    # The bundle tells of requests, and is an entry; hashes tell of none.
    assert size(log) == 4


@pytest.mark.parametrize(
    "path", ["0/000", "0/000.p/256", "entries/000", "1/000.p/1", "0/..%2f", "x", "0/x000/000.p/1"]
)
def test_tile_that_is_not_there_is_not_found(get, path):
    status, _, body = get(f"/audit/tile/{path}")
    assert (status, json.loads(body)["error"]["code"]) == (404, "tile_not_found")


def test_query_is_an_entry_before_its_answer(get, log):
    found = json.loads(get("/audit/events?operation=e1")[2])
    assert [each["index"] for each in found["data"]] == [1]
    assert (found["has_more"], found["after"]) == (False, None)
    (own,) = json.loads(get("/audit/events?operation=audit.search&limit=1")[2])["data"]
    assert own["event"]["sealgate"]["detail"] == {"query": {"operation": "e1"}, "found": 1}
    assert own["event"]["actor"]["user"]["type"] == "auditor"


def test_query_that_the_log_cannot_record_is_not_answered(get, log):
    log.sequencer.close()
    status, _, body = get("/audit/events")
    assert (status, json.loads(body)["error"]["code"]) == (503, "log_unavailable")


def test_pages_follow_each_other(get):
    first = json.loads(get("/audit/events?limit=2")[2])
    assert (first["has_more"], first["after"]) == (True, 1)
    second = json.loads(get("/audit/events?limit=2&after=1")[2])
    assert [each["index"] for each in second["data"]] == [2, 3]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("colour=red", "colour"),
        ("from=yesterday", "from"),
        ("from=2030-01-02&to=2030-01-01", "to"),
        ("limit=many", "limit"),
        ("after=-5", "after"),
        ("actor=%00", "actor"),
        ("tenant=" + "x" * 300, "tenant"),
    ],
)
def test_unclear_query_is_refused_by_name(get, query, param):
    status, _, body = get(f"/audit/events?{query}")
    assert (status, json.loads(body)["error"]["param"]) == (400, param)


def test_period_in_the_future_has_no_entry(get):
    found = json.loads(get("/audit/events?from=2999-01-01&to=2999-12-31T00:00:00Z")[2])
    assert found["data"] == []


def test_proof_verifies_under_the_logs_key(get):
    status, headers, body = get("/audit/proof/sys_1")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert [entry.index for entry in verify_proof(body, **TRUST).entries] == [1]
    status, _, body = get("/audit/proof/req_none")
    assert (status, json.loads(body)["error"]["code"]) == (404, "request_not_found")


def test_officers_alone_read_kept_text_and_each_reading_is_an_entry(log, get):
    Contents(log.engine, lambda: [bytes(32)]).keep(
        Text("req_1", "prompt", "ps_1", "clinic", 10**13, b"own words")
    )
    before = size(log)
    status, _, body = get("/audit/content/req_1", role="officer")
    assert (status, json.loads(body)["data"][0]["text"]) == (200, "own words")
    assert size(log) == before + 1
    for role in ("auditor", "client", "security"):
        assert get("/audit/content/req_1", role=role)[0] == 403
    status, _, body = get("/audit/content/req_2", role="officer")
    assert (status, json.loads(body)["error"]["code"]) == (404, "content_not_found")
