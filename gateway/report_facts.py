"""What a deployment says of itself to a report: its keys, models, anchors and connection.

No log holds these, so a report prints them as given. docs/formats/report-v1.md, Facts.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from audit import evidence
from audit.anchoring import anchored
from gateway.settings import Settings

SIGNATURE = "Ed25519 and ML-DSA-65"


def key_fact(name: str, *, created_s: int, epoch: int, state: str) -> dict[str, Any]:
    """Return what a report says of a key."""
    return {"name": name, "created": created_s * 1000, "epoch": epoch, "state": state}


def model_fact(model_id: str, *, digest: str, generation: int) -> dict[str, Any]:
    """Return what a report says of a sealed model whose manifest was verified."""
    from privacy.sealed import CIPHER  # noqa: PLC0415 - what models are made with is large.

    return {
        "id": model_id,
        "digest": digest,
        "generation": generation,
        "cipher": CIPHER,
        "signature": SIGNATURE,
    }


def facts(
    engine: sa.Engine,
    settings: Settings,
    *,
    keys: Iterable[Mapping[str, Any]],
    models: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the facts, as `audit.controls.scope.facts` reads them.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    return {
        "keys": list(keys),
        "models": list(models),
        "anchors": _anchors(engine),
        **_listener(engine, settings),
        "retention_days": settings.retention_days,
    }


def _anchors(engine: sa.Engine) -> list[dict[str, Any]]:
    return [
        {
            "kind": each.kind,
            # A path tells of the machine and its accounts; its name alone finds the file.
            "place": Path(each.place).name if each.kind == "file" else each.place,
            "size": each.size,
            "taken": each.time_ms,
        }
        for each in anchored(engine)
    ]


def _listener(engine: sa.Engine, settings: Settings) -> dict[str, Any]:
    """Return where and how the gateway listens: as its last start says, not as settings promise."""
    started = evidence.newest(engine, "gateway.start")
    if started is None:
        return {"tls": settings.tls_certificate is not None, "host": settings.host}
    detail = started["sealgate"].get("detail", {})
    return {name: detail[name] for name in ("tls", "host") if name in detail}
