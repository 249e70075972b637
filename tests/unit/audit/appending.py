"""Events as the gateway makes them, and a process that appends them.

`python appending.py DATABASE KEY NAME COUNT THREADS`, DATABASE being a file or a URL, submits
COUNT events (0: until killed) of the names NAME-0, NAME-1, ... and prints `uid index` for each
that was acknowledged.
"""

import itertools
import os
import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.sequencer import Sequencer
from audit.store import open_log

ORIGIN = "sealgate.test/log"
TIME_MS = 1_790_000_000_000
MODEL = {"id": "tiny", "digest": "sha256:" + "0f" * 32, "generation": 1}


def event(uid, operation, own, *, request_id, tenant="ward-a", time_ms=TIME_MS):
    return {
        "class_uid": 6003,
        "category_uid": 6,
        "activity_id": 1,
        "type_uid": 600301,
        "time": time_ms,
        "severity_id": 1,
        "status_id": 1,
        "status_code": "200",
        "metadata": {
            "version": "1.6.0",
            "uid": uid,
            "tenant_uid": tenant,
            "product": {"name": "Sealgate", "vendor_name": "Sealgate", "version": "0.1.0"},
            "extensions": [{"name": "sealgate", "uid": "999", "version": "1"}],
        },
        "actor": {
            "user": {"uid": "cred_1", "name": "Ward A", "type": "client"},
            "session": {"issuer": "api_key"},
        },
        "api": {
            "operation": operation,
            "service": {"name": "sealgate"},
            "request": {"uid": request_id},
            "response": {"code": 200},
        },
        "src_endpoint": {"ip": "127.0.0.1"},
        "sealgate": own,
    }


def intent(request_id, *, trace_ids=(7,), epoch=1, pseudonym=None, **envelope):
    own = {
        "phase": "intent",
        "model": MODEL,
        "tier": "local",
        "purpose": "unspecified",
        "data_class": "unclassified",
        "prompt_hmac": "ab" * 32,
        "prompt_tokens": 12,
        "sampling": {
            "temperature_milli": 700,
            "top_p_milli": 1000,
            "top_k": 100,
            "max_tokens": 64,
            "n": len(trace_ids),
            "seeded": False,
        },
        "watermark": {"scheme": "pcg-v1", "epoch": epoch, "trace_ids": list(trace_ids)},
    }
    if pseudonym is not None:
        own["pseudonym"] = pseudonym
    uid = f"{request_id}/intent"
    return event(uid, "chat.completions.create", own, request_id=request_id, **envelope)


def outcome(request_id, *, trace_ids=(7,), **envelope):
    own = {
        "phase": "outcome",
        "ending": "completed",
        "latency_ms": 812,
        "prompt_tokens": 12,
        "completion_tokens": 40,
        "model": MODEL,
        "tier": "local",
        "watermark": {"scheme": "pcg-v1", "epoch": 1},
        "choices": [
            {
                "trace_id": trace_id,
                "tokens": 40,
                "finish_reason": "stop",
                "output_hmac": "cd" * 32,
                "mark": "traceable",
                "log_evidence_milli": 41_000,
                "sandbox": {"exit": 0, "walls": ["seccomp", "landlock"]},
            }
            for trace_id in trace_ids
        ],
    }
    uid = f"{request_id}/outcome"
    return event(uid, "chat.completions.create", own, request_id=request_id, **envelope)


def system(uid, *, detail=None, **envelope):
    own = {"phase": "system", "detail": detail or {}}
    return event(uid, "model.sealed", own, request_id=uid, tenant="system", **envelope)


def main(database, key, name, count, threads):
    signer = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
    sequencer = Sequencer(
        open_log(database if database.startswith("postgresql:") else Path(database)),
        origin=ORIGIN,
        public_key=signer.public_key().public_bytes_raw(),
        sign=signer.sign,
    )
    sequencer.start()
    numbers = itertools.count() if count == 0 else iter(range(count))

    def append():
        for number in numbers:
            done = sequencer.submit(system(f"{name}-{number}")).result()
            # One write, so that a kill leaves a whole line or none.
            os.write(1, f"{done.uid} {done.index}\n".encode())

    crowd = [threading.Thread(target=append) for _ in range(threads)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    sequencer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
