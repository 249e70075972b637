"""From an event to the entry that the log stores: checked, canonical, with what gets indexed."""

from collections.abc import Mapping
from typing import Any

import msgspec

from audit import canonical
from audit.activity import Event, Intent
from audit.canonical import NotCanonical
from audit.errors import EventInvalid

BODY_LIMIT_BYTES = 65_535


class Mark(msgspec.Struct, frozen=True):
    """The trace ids that one intent issued under one key epoch, each once."""

    epoch: int
    trace_ids: tuple[int, ...]


class Entry(msgspec.Struct, frozen=True):
    """An event as the log stores it: canonical bytes, and what the log indexes of them.

    A msgspec structure, since verification makes one for every entry: a frozen dataclass would
    take a tenth of its time.
    """

    uid: str
    time_ms: int
    phase: str
    tenant: str
    request_id: str | None
    operation: str
    mark: Mark | None
    pseudonym: str | None
    body: bytes


def encode(event: Mapping[str, Any]) -> Entry:
    """Check an event and return its entry.

    Raises:
        EventInvalid: The event breaks the format; the message names the field, not its value.
    """
    plain = dict(event)
    try:
        return _entry(canonical.encode(plain), plain)
    except NotCanonical as error:
        raise EventInvalid(f"The event cannot be written down: {error}.") from None


def decode(body: bytes) -> Entry:
    """Return the entry that canonical bytes hold.

    Raises:
        EventInvalid: They are not canonical, or break the format.
    """
    try:
        plain = canonical.decode(body)
    except NotCanonical as error:
        raise EventInvalid(f"The entry is not a canonical event: {error}.") from None
    return _entry(body, plain)


def recovered(intent: dict[str, Any], *, time_ms: int) -> dict[str, Any]:
    """Return the event that closes `intent`, of which nobody recorded what became of it."""
    request = intent["api"]["request"]
    asked = intent["sealgate"]
    mark = asked["watermark"]
    return {
        **intent,
        "time": time_ms,
        "status_id": 0,
        "status_code": "unknown",
        "metadata": {**intent["metadata"], "uid": f"{request['uid']}/outcome"},
        "api": {k: v for k, v in intent["api"].items() if k != "response"},
        "sealgate": {
            "phase": "recovered",
            "ending": "unknown",
            "model": asked["model"],
            "tier": asked["tier"],
            "watermark": {"scheme": mark["scheme"], "epoch": mark["epoch"]},
        },
    }


def _entry(body: bytes, plain: Any) -> Entry:
    if len(body) > BODY_LIMIT_BYTES:
        raise EventInvalid(f"The event is longer than {BODY_LIMIT_BYTES} bytes.")
    try:
        # From what was decoded already, which is a fifth faster than to read the bytes again.
        event = msgspec.convert(plain, Event)
    except msgspec.ValidationError as error:
        raise EventInvalid(f"The event breaks docs/formats/event-v1.md: {error}.") from None
    phase = event.sealgate.__struct_config__.tag
    request_id = event.api.request.uid if event.api.request else None
    _require_uid(event.metadata.uid, str(phase), request_id)
    entry = Entry(
        uid=event.metadata.uid,
        time_ms=event.time,
        phase=str(phase),
        tenant=event.metadata.tenant_uid,
        request_id=request_id,
        operation=event.api.operation,
        mark=_mark(event.sealgate),
        pseudonym=getattr(event.sealgate, "pseudonym", None),
        body=body,
    )
    # PostgreSQL's text holds no NUL. Canonical JSON escapes it, so most bodies need no closer look.
    if b"\\u0000" in body:
        _require_no_nul(entry)
    return entry


def _require_no_nul(entry: Entry) -> None:
    indexed = (entry.uid, entry.tenant, entry.request_id or "", entry.operation)
    if any("\x00" in text for text in indexed):
        raise EventInvalid("A uid, tenant or operation of the event holds a NUL character.")


def _require_uid(uid: str, phase: str, request_id: str | None) -> None:
    """Hold a request to one intent and one ending: their uids follow from its id."""
    suffix = {"intent": "intent", "outcome": "outcome", "recovered": "outcome"}.get(phase)
    if suffix is not None and uid != f"{request_id}/{suffix}":
        raise EventInvalid(f"The uid of this {phase} must be its request's id and `/{suffix}`.")


def _mark(sealgate: msgspec.Struct) -> Mark | None:
    if not isinstance(sealgate, Intent):
        return None
    issued = sealgate.watermark
    return Mark(issued.epoch, tuple(sorted(set(issued.trace_ids))))
