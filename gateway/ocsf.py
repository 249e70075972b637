"""The envelope of an entry: OCSF 1.6.0 API Activity (class 6003), and who can act in one.

Source: schema.ocsf.io, classes/api_activity. The project's own fields stand under `sealgate`,
which `metadata.extensions` announces.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

Event = dict[str, Any]
Actor = Mapping[str, str]

SCHEMA_VERSION = "1.6.0"
EXTENSION = {"name": "sealgate", "uid": "999", "version": "1"}
SYSTEM: Actor = {"uid": "system", "name": "Sealgate", "type": "system"}
ANONYMOUS: Actor = {"uid": "anonymous", "name": "anonymous", "type": "anonymous"}
# How an actor that holds no API key was authenticated.
_ISSUERS = {"system": "process", "operator": "operating_system", "anonymous": "none"}


def operator(name: str) -> Actor:
    """Name the person at the command line, by their account on this machine."""
    return {"uid": "operator", "name": name, "type": "operator"}


def entry(
    *,
    uid: str,
    request_id: str,
    actor: Actor,
    tenant: str,
    operation: str,
    status: int,
    source_ip: str | None,
    now: datetime,
    own: Mapping[str, Any],
) -> Event:
    """Build one entry. own: the object under `sealgate`. source_ip: None for a local act."""
    good = status < 400  # noqa: PLR2004 - RFC 9110, 15.5: from here on nothing was answered.
    return {
        "class_uid": 6003,
        "category_uid": 6,
        "activity_id": 1,
        "type_uid": 600301,
        "time": int(now.timestamp() * 1000),
        "severity_id": 1,
        "status_id": 1 if good else 2,
        "status_code": str(status),
        "metadata": {
            "version": SCHEMA_VERSION,
            "uid": uid,
            "tenant_uid": tenant,
            "product": {
                "name": "Sealgate",
                "vendor_name": "Sealgate",
                "version": _version(),
            },
            "extensions": [dict(EXTENSION)],
        },
        "actor": {
            "user": dict(actor),
            "session": {"issuer": _ISSUERS.get(actor["type"], "api_key")},
        },
        "api": {
            "operation": operation,
            "service": {"name": "sealgate"},
            "request": {"uid": request_id},
            "response": {"code": status},
        },
        "src_endpoint": {"ip": source_ip} if source_ip else {"name": "local"},
        "sealgate": dict(own),
    }


@cache
def _version() -> str:
    return version("sealgate")
