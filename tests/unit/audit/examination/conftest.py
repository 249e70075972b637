"""A small gateway's log as plain events, and its examination."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.controls.catalogue import load
from audit.controls.examination import examine
from audit.controls.records import opened
from audit.controls.scope import LogState, Period, facts
from audit.report.certificate import ReportKey
from audit.report.generate import generate_report
from audit.report.signing import sign_report

START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)
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
SAMPLING = {
    "temperature_milli": 700, "top_p_milli": 1000, "top_k": 0, "max_tokens": 64, "n": 1,
    "seeded": False,
}  # fmt: skip
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
        ending = "outcome" if phase == "recovered" else phase
        event = {
            "class_uid": 6003,
            "category_uid": 6,
            "activity_id": 1,
            "type_uid": 600301,
            "time": round(self.at.timestamp() * 1000),
            "severity_id": 1,
            "status_id": 1,
            "status_code": "200",
            "metadata": {
                "version": "1.6.0",
                "uid": f"{uid}/{ending}",
                "tenant_uid": tenant,
                "product": {"name": "Sealgate", "vendor_name": "Sealgate", "version": "0.1.0"},
                "extensions": [{"name": "sealgate", "uid": "999", "version": "1"}],
            },
            "actor": {
                "user": dict(user),
                "session": {"issuer": issuers.get(user["type"], "api_key")},
            },
            "api": {
                "operation": operation,
                "service": {"name": "sealgate"},
                "request": {"uid": uid},
            },
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
            data_class="unclassified",
            prompt_hmac="ef" * 32,
            prompt_tokens=12,
            sampling=dict(SAMPLING),
            watermark={"scheme": "pcg-v1", "epoch": 1, "trace_ids": [trace_id]},
        )

    def outcome(
        self,
        intent,
        *,
        ending="completed",
        mark="traceable",
        latency_ms=900,
        trace_id=7,
        operation="chat.completions.create",
    ):
        return self.add(
            "outcome",
            operation,
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

    def run(log, *, state=None, system=None, period=period, framework="hipaa"):
        with opened(
            log.events, period=period, log=state or log.state, facts=facts(system or {})
        ) as records:
            return {each.control.id: each.finding for each in examine(load(framework), records)}

    return run


@pytest.fixture(scope="session")
def made():
    """Reports by what they were made from: printing one takes most of a second."""
    return {}


@pytest.fixture
def report(period, made):
    """Make a report of a log."""

    def run(log, *, state=None, system=None, period=period, framework="hipaa", fresh=False):
        state = state or log.state
        key = repr((log.entries, state, system, period, framework))
        if fresh or key not in made:
            made[key] = generate_report(
                framework=framework,
                start=period.start,
                end=period.end,
                events=log.events,
                log=state,
                system=system or {},
                now=END + DAY,
                version="0.1.0",
            )
        return made[key]

    return run


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def make_key(scalar, origin="sealgate.example/log"):
    """Make a report key as the keyring does: one signature a message, the smaller s."""
    private = ec.derive_private_key(scalar, ec.SECP256R1())

    def sign(message):
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(private.sign(message, algorithm))
        return encode_dss_signature(r, min(s, ORDER - s))

    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return ReportKey(origin, public, START, sign)


@pytest.fixture
def report_key():
    return make_key(20261101)


@pytest.fixture
def other_key():
    return make_key(20261102)


@pytest.fixture
def signed(report_key):
    """Sign a report as `sealgate report generate` does."""

    def run(report, *, key=report_key, pdf=None, attachments=None, signed_at=END + DAY):
        return sign_report(
            pdf or report.pdf,
            attachments=report.attachments if attachments is None else attachments,
            key=key,
            signed_at=signed_at,
        )

    return run
