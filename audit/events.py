"""From an event to the entry that the log stores: checked, canonical, with what gets indexed."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from audit import canonical
from audit.activity import (
    Access,
    Denied,
    Event,
    Intent,
    Issued,
    Outcome,
    Recovered,
    System,
)
from audit.canonical import NotCanonical
from audit.errors import EventInvalid

BODY_LIMIT_BYTES = 65_535
_decoder = canonical.decoder(Event)
_Own = Intent | Outcome | Recovered | Denied | Access | System
_PHASES: Final[Mapping[type[_Own], str]] = {
    Intent: "intent",
    Outcome: "outcome",
    Recovered: "recovered",
    Denied: "denied",
    Access: "access",
    System: "system",
}
# What follows the request's id in the uid of the entries that it has exactly one of.
_SUFFIXES: Final = {"intent": "/intent", "outcome": "/outcome", "recovered": "/outcome"}


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

    @property
    def indexed(self) -> tuple[str, int, str, str, str | None, str]:
        """What the log's columns repeat of the event, in their order."""
        return (
            self.uid,
            self.time_ms,
            self.phase,
            self.tenant,
            self.request_id,
            self.operation,
        )


def encode(event: Mapping[str, Any]) -> Entry:
    """Check an event and return its entry.

    Raises:
        EventInvalid: The event breaks the format; the message names the field, not its value.
    """
    plain = dict(event)
    try:
        body = canonical.encode(plain)
    except NotCanonical as error:
        raise EventInvalid(f"The event cannot be written down: {error}.") from None
    return _entry(body, _typed(plain))


def decode(body: bytes) -> Entry:
    """Return the entry that canonical bytes hold.

    Raises:
        EventInvalid: They are not canonical, or break the format.
    """
    event = canonical.decode_as(body, _decoder)
    if event is None:
        # It has members of its own, or is wrong, and the plain way tells what.
        try:
            event = _typed(canonical.decode(body))
        except NotCanonical as error:
            raise EventInvalid(f"The entry is not a canonical event: {error}.") from None
    return _entry(body, event)


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


def _typed(plain: Any) -> Event:
    try:
        # From what was decoded already, which is a fifth faster than to read the bytes again.
        return msgspec.convert(plain, Event)
    except msgspec.ValidationError as error:
        raise EventInvalid(f"The event breaks docs/formats/event-v1.md: {error}.") from None


def _entry(body: bytes, event: Event) -> Entry:
    if len(body) > BODY_LIMIT_BYTES:
        raise EventInvalid(f"The event is longer than {BODY_LIMIT_BYTES} bytes.")
    own, asked, uid = event.sealgate, event.api.request, event.metadata.uid
    phase = _PHASES[type(own)]
    request_id = asked.uid if asked else None
    _require_uid(uid, phase, request_id)
    entry = Entry(
        uid,
        event.time,
        phase,
        event.metadata.tenant_uid,
        request_id,
        event.api.operation,
        _mark(own.watermark) if isinstance(own, Intent) else None,
        (own.pseudonym or None) if isinstance(own, Intent | Access) else None,
        body,
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
    suffix = _SUFFIXES.get(phase)
    if suffix is not None and uid != f"{request_id}{suffix}":
        raise EventInvalid(f"The uid of this {phase} must be its request's id and `{suffix}`.")


def _mark(issued: Issued) -> Mark:
    return Mark(issued.epoch, tuple(sorted(set(issued.trace_ids))))
