"""The log's events for other systems: OCSF as NDJSON, a table as CSV, FHIR AuditEvents.

Only OCSF carries everything, byte for byte; the others are views for people and for hospitals.
"""

import csv
import io
import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from audit import canonical
from audit.search import decision

Indexed = Iterable[tuple[int, dict[str, Any]]]

COLUMNS = (
    "index",
    "time",
    "tenant",
    "request",
    "phase",
    "operation",
    "decision",
    "ending",
    "status",
    "actor",
    "actor_name",
    "actor_type",
    "source",
    "model",
    "tier",
    "purpose",
    "data_class",
    "pseudonym",
    "uid",
)
# What a spreadsheet would take for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_KINDS = {
    "access": ("110112", "Query"),
    "denied": ("110113", "Security Alert"),
}
_APPLICATION = ("110100", "Application Activity")
_ROLES = "http://terminology.hl7.org/CodeSystem/object-role"
# Names the URNs of entries whose uid is no UUID (RFC 9562, section 5.5).
_NAMESPACE = uuid.UUID("5e0b3f4e-8d6c-5a3b-9d4e-2f1c6a7b8e90")


def ocsf(events: Indexed) -> Iterator[str]:
    """Yield a line of canonical JSON for each event: its bytes in the log, and a newline."""
    for _, event in events:
        yield canonical.encode(event).decode() + "\n"


def table(events: Indexed) -> Iterator[str]:
    """Yield CSV (RFC 4180), a header first; values that look like formulas get an apostrophe."""
    yield _row(COLUMNS)
    for index, event in events:
        yield _row(_cells(index, event))


def fhir(events: Indexed) -> Iterator[str]:
    """Yield the parts of a FHIR R4 Bundle of AuditEvents, which is one JSON document."""
    yield '{"resourceType":"Bundle","type":"collection","entry":['
    for number, (index, event) in enumerate(events):
        entry = {"fullUrl": f"urn:uuid:{_urn(event)}", "resource": audit_event(index, event)}
        yield ("," if number else "") + json.dumps(entry, ensure_ascii=False)
    yield "]}\n"


def audit_event(index: int, event: dict[str, Any]) -> dict[str, Any]:
    """Return a FHIR R4 AuditEvent (hl7.org/fhir/R4/auditevent.html)."""
    own, api = event["sealgate"], event["api"]
    code, display = _KINDS.get(own["phase"], _APPLICATION)
    resource = {
        "resourceType": "AuditEvent",
        "id": _urn(event),
        "type": {"system": _DICOM, "code": code, "display": display},
        "subtype": [{"system": "urn:sealgate:operation", "code": api["operation"]}],
        "action": "R" if own["phase"] == "access" else "E",
        "recorded": _instant(event["time"]),
        "outcome": "0" if event["status_id"] == 1 else "8",
        "outcomeDesc": f"{own['phase']}: {own.get('ending') or decision(event)}",
        "agent": [_agent(event)],
        "source": {
            "site": event["metadata"]["tenant_uid"],
            "observer": {"display": event["metadata"]["product"]["name"]},
        },
        "entity": _entities(index, event),
    }
    if "purpose" in own:
        resource["purposeOfEvent"] = [{"text": own["purpose"]}]
    return resource


def _cells(index: int, event: dict[str, Any]) -> list[str]:
    own, user, api = event["sealgate"], event["actor"]["user"], event["api"]
    source = event.get("src_endpoint") or {}
    return [
        str(index),
        _instant(event["time"]),
        event["metadata"]["tenant_uid"],
        (api.get("request") or {}).get("uid", ""),
        own["phase"],
        api["operation"],
        decision(event),
        own.get("ending", ""),
        event["status_code"],
        user["uid"],
        user["name"],
        user["type"],
        source.get("ip") or source.get("name") or "",
        own.get("model", {}).get("id", ""),
        own.get("tier", ""),
        own.get("purpose", ""),
        own.get("data_class", ""),
        own.get("pseudonym", ""),
        event["metadata"]["uid"],
    ]


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([f"'{c}" if c.startswith(_FORMULA) else c for c in cells])
    return line.getvalue()


def _agent(event: dict[str, Any]) -> dict[str, Any]:
    user, source = event["actor"]["user"], event.get("src_endpoint") or {}
    agent: dict[str, Any] = {
        "type": {"text": user["type"]},
        "who": {"identifier": {"system": "urn:sealgate:actor", "value": user["uid"]}},
        "name": user["name"],
        "requestor": True,
    }
    if source.get("ip"):
        agent["network"] = {"address": source["ip"], "type": "2"}
    return agent


def _entities(index: int, event: dict[str, Any]) -> list[dict[str, Any]]:
    own = event["sealgate"]
    entities = [
        {
            "what": {
                "identifier": {"system": "urn:sealgate:entry", "value": event["metadata"]["uid"]}
            },
            "name": f"log entry {index}",
        }
    ]
    if "pseudonym" in own:
        entities.append(
            {
                "what": {
                    "identifier": {"system": "urn:sealgate:pseudonym", "value": own["pseudonym"]}
                },
                "role": {"system": _ROLES, "code": "1", "display": "Patient"},
            }
        )
    if "model" in own:
        model = {"system": "urn:sealgate:model", "value": own["model"]["digest"]}
        entities.append({"what": {"identifier": model}, "name": own["model"]["id"]})
    return entities


def _urn(event: dict[str, Any]) -> str:
    return str(uuid.uuid5(_NAMESPACE, event["metadata"]["uid"]))


def _instant(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
