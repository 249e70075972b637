"""A request's two entries as the gateway makes them, for the benchmarks of the log."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

DIGEST = secrets.token_hex(32)
WALLS = ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup", "landlock", "seccomp"]


def request(at: datetime | None = None) -> list[dict[str, Any]]:
    """Return a request's intent and outcome, as the gateway makes them."""
    request_id = f"req_{secrets.token_hex(12)}"
    moment = at or datetime.now(UTC)
    model = {"id": "smollm2-135m", "digest": f"sha256:{DIGEST}", "generation": 1}
    mark = {"scheme": "pcg-v1", "epoch": 1}
    trace_id = secrets.randbits(32)
    intent = {
        "phase": "intent",
        "model": model,
        "tier": "local",
        "purpose": "unspecified",
        "data_class": "unclassified",
        "prompt_hmac": secrets.token_hex(32),
        "prompt_tokens": 412,
        "sampling": {
            "temperature_milli": 700,
            "top_p_milli": 1000,
            "top_k": 100,
            "max_tokens": 512,
            "n": 1,
            "seeded": False,
        },
        "watermark": mark | {"trace_ids": [trace_id]},
    }
    outcome = {
        "phase": "outcome",
        "ending": "completed",
        "latency_ms": 812,
        "prompt_tokens": 412,
        "completion_tokens": 180,
        "model": model,
        "tier": "local",
        "watermark": mark,
        "choices": [
            {
                "trace_id": trace_id,
                "tokens": 180,
                "finish_reason": "stop",
                "output_hmac": secrets.token_hex(32),
                "mark": "traceable",
                "log_evidence_milli": 41_000,
                "sandbox": {"exit": "done", "memory_kib": 28_000, "walls": WALLS},
            }
        ],
    }
    return [
        _envelope(request_id, "intent", intent, moment),
        _envelope(request_id, "outcome", outcome, moment + timedelta(seconds=1)),
    ]


def _envelope(request_id: str, phase: str, own: dict[str, Any], moment: datetime) -> dict[str, Any]:
    return {
        "class_uid": 6003,
        "category_uid": 6,
        "activity_id": 1,
        "type_uid": 600301,
        "time": int(moment.timestamp() * 1000),
        "severity_id": 1,
        "status_id": 1,
        "status_code": "200",
        "metadata": {
            "version": "1.6.0",
            "uid": f"{request_id}/{phase}",
            "tenant_uid": "clinic",
            "product": {"name": "Sealgate", "vendor_name": "Sealgate", "version": "0.1.0"},
            "extensions": [{"name": "sealgate", "uid": "999", "version": "1"}],
        },
        "actor": {
            "user": {"uid": "cred_0123456789abcdef", "name": "Ward A", "type": "client"},
            "session": {"issuer": "api_key"},
        },
        "api": {
            "operation": "chat.completions.create",
            "service": {"name": "sealgate"},
            "request": {"uid": request_id},
            "response": {"code": 200},
        },
        "src_endpoint": {"ip": "127.0.0.1"},
        "sealgate": own,
    }
