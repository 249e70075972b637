"""A gateway with a console over a real log, keyring, key broker and credentials; no model."""

import asyncio
import json
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import uvicorn

from audit.sequencer import Sequencer
from audit.store import open_log
from gateway import home as homes
from gateway import logbook, ocsf
from gateway.app import create_app
from gateway.catalogue import Catalogue
from gateway.console.desk import desk
from gateway.doorkeeper import Doorkeeper
from gateway.identity import Credentials, Role
from gateway.keycare import KeyCare
from gateway.peppers import Peppers
from gateway.policy import PolicyInForce
from gateway.provenance import Passage, Trace
from gateway.recorder import Recorder
from gateway.reports import Reports, Workshop
from gateway.settings import Settings
from gateway.throttle import Throttle
from privacy.broker import BrokerClient, serve
from privacy.changes import forbidden, permitted
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from tests.unit.gateway.issued import issue

ORIGIN = "sealgate.test/log"
MARKED = "The quick brown fox jumps over the lazy dog."
HOSTILE = "<script>document.title='owned'</script>"


class Parts(SimpleNamespace):
    """A gateway of these parts alone; what the other routes need, nobody has."""

    def __getattr__(self, name):
        return None


@contextmanager
def gateway(directory: Path, *, throttle=100, **settings):
    """Yield a gateway whose home is `directory`, with a credential of each role."""
    home = homes.create(directory)
    settings = Settings(home=directory, origin=ORIGIN, **{"console_key_changes": True} | settings)
    keyring = Keyring.create(home.keyring, KeyFile.create(directory.parent / "key"))
    ours, theirs = socket.socketpair()
    changes = permitted(keyring) if settings.console_key_changes else forbidden
    thread = threading.Thread(
        target=serve,
        args=(theirs,),
        kwargs={"keyring": keyring, "models": home.models, "changes": changes},
    )
    thread.start()
    broker, engine = BrokerClient(ours), open_log(home.database)
    sequencer = Sequencer(
        engine,
        origin=ORIGIN,
        public_key=broker.public_key("checkpoint"),
        sign=lambda message: broker.sign("checkpoint", message),
        public_keys=lambda: broker.public_keys("checkpoint"),
    )
    sequencer.start()
    try:
        yield _parts(settings, home, engine, broker, sequencer, throttle=throttle)
    finally:
        sequencer.close()
        engine.dispose()
        ours.close()
        theirs.close()
        thread.join(timeout=60)


def _parts(settings, home, engine, broker, sequencer, *, throttle):
    credentials = Credentials(engine, peppers=Peppers(broker))
    recorder = Recorder(sequencer, acknowledgement_s=60)
    keys = {role.value: _credential(credentials, role) for role in Role}
    keys["second"] = _credential(credentials, Role.SECURITY, "Bo Second")
    catalogue = Catalogue({})
    shop = Workshop(settings, home, engine, broker, catalogue, recorder)
    return Parts(
        settings=settings,
        catalogue=catalogue,
        doorkeeper=Doorkeeper(
            credentials, recorder, Throttle(most=throttle, window_s=60, clock=time.monotonic)
        ),
        recorder=recorder,
        policy=PolicyInForce(settings.policy_file),
        log=engine,
        trace=traced,
        receipt=lambda request_id: f"receipt.of.{request_id}",
        reports=Reports(shop),
        checks=lambda: {"log": sequencer.writable},
        desk=desk(settings, engine, KeyCare(broker, recorder, credentials, engine)),
        sequencer=sequencer,
        keys=keys,
        broker=broker,
    )


def _credential(credentials, role, name=None):
    named = name or f"Ann {role.value}"
    made, key = issue(credentials, name=named, role=role, now=datetime.now(UTC))
    return SimpleNamespace(id=made.credential_id, key=key)


async def traced(text):
    """Find a mark where the test's sentence stands."""
    start = text.find(MARKED)
    if start < 0:
        return Trace("no_trace", 1.0, "blind", 0.0, "No mark of any key reaches 1e-6.")
    passage = Passage(
        p_value=3.2e-11,
        mode="log",
        confidence=0.99,
        trace_id=77,
        request_ids=("req_1",),
        tenant="clinic",
        epoch=1,
        model_id="small",
        start=start,
        end=start + len(MARKED),
    )
    return Trace("traced", passage.p_value, "log", 0.99, None, (passage,))


def record(parts, *events):
    """Make events durable."""
    for event in events:
        parts.sequencer.submit(event).result(60)


def answered(
    request_id, *, name="Ward app", now=None, data_class="phi", mark="traceable", end="exit"
):
    """Return intent and outcome of a request."""
    now = now or datetime.now(UTC)
    model = {"id": "small", "digest": f"sha256:{'a' * 64}", "generation": 1}
    common = {
        "request_id": request_id,
        "actor": {"uid": "cred_app", "name": name, "type": "client"},
        "tenant": "clinic",
        "operation": "chat.completions.create",
        "status": 200,
        "source_ip": "127.0.0.1",
        "now": now,
    }
    trace_id = zlib.crc32(request_id.encode())
    intent = {
        "phase": "intent",
        "model": model,
        "tier": "local",
        "purpose": "treatment",
        "data_class": data_class,
        "prompt_hmac": "0" * 64,
        "prompt_tokens": 12,
        "sampling": {
            "temperature_milli": 1000,
            "top_p_milli": 1000,
            "top_k": 100,
            "max_tokens": 64,
            "n": 1,
            "seeded": False,
        },
        "watermark": {"scheme": "pcg-v1", "epoch": 1, "trace_ids": [trace_id]},
    }
    choice = {
        "trace_id": trace_id,
        "tokens": 40,
        "finish_reason": "stop",
        "output_hmac": "1" * 64,
        "mark": mark,
        "log_evidence_milli": 21000,
        "sandbox": {"end": {"how": end}},
    }
    outcome = {
        "phase": "outcome",
        "ending": "completed",
        "latency_ms": 420,
        "prompt_tokens": 12,
        "completion_tokens": 40,
        "model": model,
        "tier": "local",
        "watermark": {"scheme": "pcg-v1", "epoch": 1},
        "choices": [choice],
    }
    return (
        ocsf.entry(uid=f"{request_id}/intent", own=intent, **common),
        ocsf.entry(uid=f"{request_id}/outcome", own=outcome, **common),
    )


def refused(request_id, reason="invalid_api_key", *, now=None):
    """Return the entry of a request that was turned away."""
    return logbook.denied(
        request_id=request_id,
        principal=None,
        operation="chat.completions.create",
        status=401,
        reason=reason,
        source_ip="10.0.0.9",
        now=now or datetime.now(UTC),
    )


class Browser:
    """Asks an application over ASGI and keeps its cookies, without a browser's judgement."""

    def __init__(self, app, *, client="127.0.0.1", scheme="http", language="en"):
        self.app = app
        self.cookies = {}
        self.client = client
        self.scheme = scheme
        self.language = language

    def get(self, path, **headers):
        return self.ask("GET", path, b"", headers)

    def post(self, path, fields=(), *, token=None, **headers):
        """Send a form; with the token of the page that was shown last unless told otherwise."""
        given = dict(fields)
        if token is not False:
            given["form_token"] = token or self.token
        headers.setdefault("content_type", "application/x-www-form-urlencoded")
        return self.ask("POST", path, urlencode(given).encode(), headers)

    def sign_in(self, key):
        """Sign in by API key and return the answer."""
        self.get("/console/sign-in")
        answer = self.post("/console/sign-in", {"key": key, "next": "/console/policy"})
        if answer.status == 303:
            self.get("/console/policy")
        return answer

    def ask(self, method, path, body, headers):
        answer = asyncio.run(self._ask(method, path, body, headers))
        for line in answer.all("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies.pop(name, None)
                if morsel["max-age"] != "0":
                    self.cookies[name] = morsel.value
        if b'name="form_token" value="' in answer.body:
            rest = answer.body.split(b'name="form_token" value="', 1)[1]
            self.token = rest.split(b'"', 1)[0].decode()
        return answer

    async def _ask(self, method, path, body, headers):
        path, _, query = path.partition("?")
        lines = [(b"host", b"console.test"), (b"accept-language", self.language.encode())]
        lines += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        if self.cookies:
            joined = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            lines.append((b"cookie", joined.encode()))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": lines,
            "client": (self.client, 1),
            "server": ("console.test", 80),
            "scheme": self.scheme,
            "root_path": "",
            "http_version": "1.1",
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        return Answer(sent)


class Answer:
    """A response. headers: the last of each name."""

    def __init__(self, sent):
        self.status = sent[0]["status"]
        self.lines = [(n.decode(), v.decode()) for n, v in sent[0]["headers"]]
        self.headers = dict(self.lines)
        self.body = b"".join(m.get("body", b"") for m in sent[1:])
        self.text = self.body.decode(errors="replace")

    def all(self, name):
        return [value for key, value in self.lines if key == name]


@contextmanager
def served(parts):
    """Serve a gateway's application in a thread; yield its URL on the loopback interface."""
    config = uvicorn.Config(
        create_app(parts), port=0, log_config=None, lifespan="off", server_header=False
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))

    async def run():
        working = asyncio.create_task(parts.reports.work())
        await server.serve(sockets=[listener])
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()


def entries(parts, operation):
    """Return the log's entries of an operation, oldest first."""
    with parts.log.connect() as connection:
        query = "SELECT body FROM leaf ORDER BY idx"
        rows = connection.exec_driver_sql(query).all()
    events = [json.loads(body) for (body,) in rows]
    return [event for event in events if event["api"]["operation"] == operation]
