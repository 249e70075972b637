"""A small gateway's log as plain events, and its examination."""

from datetime import UTC, datetime, timedelta

import pytest

from audit.controls.catalogue import load
from audit.controls.examination import examine
from audit.controls.records import opened
from audit.controls.scope import LogState, Period, facts
from audit.report.generate import generate_report

START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
ROOT = "5f" * 32
NOTE = """\
sealgate.example/log
{size}
X19fX19fX19fX19fX19fX19fX19fX19fX19fX19fX18=

— sealgate.example/log c2ln
"""
DIGEST = f"sha256:{'ab' * 32}"
CIPHER = "AES-256-GCM (Cobblestone)"
SYSTEM = {"uid": "system", "name": "Sealgate", "type": "system"}
ANONYMOUS = {"uid": "anonymous", "name": "anonymous", "type": "anonymous"}
ATTESTATION = {"network": "none", "seccomp": True, "landlock": 4, "walls": ["pid", "user"]}
MODEL = {"id": "smollm2-135m", "digest": DIGEST, "generation": 1}


class LogBuilder:
    """Writes entries as the gateway does. `at` is the next entry's time."""

    def __init__(self):
        self.entries = []
        self.at = START + timedelta(hours=1)

    @property
    def events(self):
        return list(enumerate(self.entries))

    @property
    def state(self):
        size = len(self.entries)
        return LogState(
            origin="sealgate.example/log",
            size=size,
            root_hex=ROOT,
            checkpoint_note=NOTE.format(size=size),
            verified=True,
        )

    def add(self, phase, operation, *, uid, user, tenant="system", **own):
        issuers = {"system": "process", "operator": "operating_system", "anonymous": "none"}
        event = {
            "class_uid": 6003,
            "time": round(self.at.timestamp() * 1000),
            "metadata": {"uid": f"{uid}/{phase}", "tenant_uid": tenant},
            "actor": {
                "user": dict(user),
                "session": {"issuer": issuers.get(user["type"], "api_key")},
            },
            "api": {"operation": operation, "request": {"uid": uid}},
            "src_endpoint": {"ip": "192.0.2.7"},
            "sealgate": {"phase": phase, **own},
        }
        self.entries.append(event)
        self.at += timedelta(seconds=1)
        return event

    def system(self, operation, **detail):
        uid = f"sys_{len(self.entries)}"
        return self.add("system", operation, uid=uid, user=SYSTEM, detail=detail)

    def client(self, name="triage", uid="cred_01", kind="client"):
        self.system("credential.added", credential_id=uid, name=name, role=kind)
        return {"uid": uid, "name": name, "type": kind}

    def intent(self, user, *, uid=None, trace_id=7, tenant="ward"):
        return self.add(
            "intent",
            "chat.completions.create",
            uid=uid or f"req_{len(self.entries)}",
            user=user,
            tenant=tenant,
            model=dict(MODEL),
            tier="local",
            purpose="unspecified",
            watermark={"scheme": "pcg-v1", "epoch": 1, "trace_ids": [trace_id]},
        )

    def outcome(self, intent, *, ending="completed", mark="traceable", latency_ms=900, trace_id=7):
        return self.add(
            "outcome",
            "chat.completions.create",
            uid=intent["api"]["request"]["uid"],
            user=intent["actor"]["user"],
            tenant=intent["metadata"]["tenant_uid"],
            ending=ending,
            latency_ms=latency_ms,
            prompt_tokens=12,
            completion_tokens=40,
            model=dict(MODEL),
            tier="local",
            watermark={"scheme": "pcg-v1", "epoch": 1},
            choices=[
                {
                    "trace_id": trace_id,
                    "tokens": 40,
                    "finish_reason": "stop",
                    "output_hmac": "cd" * 32,
                    "mark": mark,
                    "log_evidence_milli": 9000,
                    "sandbox": dict(ATTESTATION),
                }
            ],
        )

    def answer(self, user, **options):
        return self.outcome(self.intent(user), **options)

    def denied(self, reason="invalid_api_key", user=ANONYMOUS):
        uid = f"req_{len(self.entries)}"
        return self.add("denied", "chat.completions.create", uid=uid, user=user, reason=reason)

    def access(self, user, operation="provenance.verify", **detail):
        uid = f"req_{len(self.entries)}"
        return self.add("access", operation, uid=uid, user=user, tenant="ward", detail=detail)


def _good_log(*, tls=True, host="gateway.example"):
    log = LogBuilder()
    log.system("log.created")
    log.system(
        "model.sealed", model_id=MODEL["id"], model_digest=DIGEST, generation=1, cipher=CIPHER
    )
    log.system("gateway.start", tls=tls, host=host, models=[MODEL["id"]])
    client, officer = log.client(), log.client("officer desk", "cred_02", "officer")
    for mark in ("traceable", "weak", "unmarked", "traceable"):
        log.answer(client, mark=mark)
    log.outcome(log.intent(client), ending="client_gone")
    log.denied()
    log.denied("insufficient_role", client)
    log.access(officer, verdict="traced")
    log.system("report.generated", framework="hipaa")
    return log


@pytest.fixture
def empty_log():
    return LogBuilder()


@pytest.fixture
def good_log():
    return _good_log()


@pytest.fixture
def make_log():
    return _good_log


@pytest.fixture
def period():
    return Period(START, END)


@pytest.fixture
def findings(period):
    """Examine a log: control id to finding."""

    def run(log, *, state=None, system=None, period=period):
        with opened(
            log.events, period=period, log=state or log.state, facts=facts(system or {})
        ) as records:
            return {each.control.id: each.finding for each in examine(load("hipaa"), records)}

    return run


@pytest.fixture
def report(period):
    """Make a report of a log."""

    def run(log, *, state=None, system=None, period=period):
        return generate_report(
            framework="hipaa",
            start=period.start,
            end=period.end,
            events=log.events,
            log=state or log.state,
            system=system or {},
            now=END + timedelta(days=1),
            version="0.1.0",
        )

    return run
