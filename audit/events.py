"""What an entry of the log is: an OCSF API Activity with one `sealgate` object, checked.

docs/formats/event-v1.md describes the fields; event-v1.schema.json beside it is made from the
types below. An event holds no prompt and no answer, only lengths and keyed digests of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from audit import canonical
from audit.canonical import NotCanonical
from audit.errors import EventInvalid

BODY_LIMIT_BYTES = 65_535

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=0)]
TraceId = Annotated[int, Meta(ge=0, lt=2**32)]
Hmac = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Product(Struct):
    """The software that wrote the event."""

    name: Text
    vendor_name: Text
    version: Text


class Extension(Struct):
    """The OCSF extension that the `sealgate` object belongs to."""

    name: Literal["sealgate"]
    uid: Literal["999"]
    version: Literal["1"]


class Metadata(Struct):
    """OCSF metadata. uid: unique in the log; a second event of the same uid is not written."""

    version: Literal["1.6.0"]
    uid: Text
    tenant_uid: Annotated[str, Meta(min_length=1, max_length=64)]
    product: Product
    extensions: Annotated[list[Extension], Meta(min_length=1)]


class User(Struct):
    """Who acted."""

    uid: Text
    name: Text
    type: Text


class Session(Struct):
    """How who acted was authenticated."""

    issuer: Text


class Actor(Struct):
    """Who acted, and on what authority."""

    user: User
    session: Session | None = None


class Service(Struct):
    """The service that was asked."""

    name: Text


class Request(Struct):
    """The request's id, as its response's `x-request-id` names it."""

    uid: Annotated[str, Meta(min_length=1, max_length=128)]


class Response(Struct):
    """HTTP status of the response, or a command's exit code."""

    code: int


class Api(Struct):
    """What was done."""

    operation: Annotated[str, Meta(min_length=1, max_length=64)]
    service: Service
    request: Request | None = None
    response: Response | None = None


class SourceEndpoint(Struct):
    """Where the request came from."""

    ip: Text | None = None


class Model(Struct):
    """A sealed model: its id, the digest of its sealed content, its generation."""

    id: Text
    digest: Text
    generation: Count


class Sampling(Struct):
    """What shaped the answer; temperature and top_p in thousandths."""

    temperature_milli: Count
    top_p_milli: Count
    top_k: Count
    max_tokens: Count
    n: Count
    seeded: bool


class Issued(Struct):
    """The trace ids that the answer's choices were to be marked with."""

    scheme: Text
    epoch: Count
    trace_ids: list[TraceId]


class Scheme(Struct):
    """The mark's scheme and key epoch."""

    scheme: Text
    epoch: Count


class Choice(Struct):
    """One choice of an answer, as it ended. log_evidence_milli: thousandths of nats."""

    trace_id: TraceId
    tokens: Count
    finish_reason: str | None
    output_hmac: Hmac
    mark: Text
    log_evidence_milli: int | None = None
    sandbox: dict[str, Any] | None = None


class Intent(Struct, tag_field="phase", tag="intent"):
    """A model is about to run."""

    model: Model
    tier: Text
    purpose: Text
    data_class: Text
    prompt_hmac: Hmac
    prompt_tokens: Count
    sampling: Sampling
    watermark: Issued


class Outcome(Struct, tag_field="phase", tag="outcome"):
    """What became of an intent."""

    ending: Literal["completed", "client_gone", "failed", "shutdown"]
    latency_ms: Count
    prompt_tokens: Count
    completion_tokens: Count
    model: Model
    tier: Text
    watermark: Scheme
    choices: list[Choice]


class Recovered(Struct, tag_field="phase", tag="recovered"):
    """An intent whose outcome nobody recorded, closed at the next start."""

    ending: Literal["unknown"]
    model: Model
    tier: Text
    watermark: Scheme


class Denied(Struct, tag_field="phase", tag="denied"):
    """A request that was refused."""

    reason: Text


class Access(Struct, tag_field="phase", tag="access"):
    """Somebody read or checked evidence."""

    detail: dict[str, Any]


class System(Struct, tag_field="phase", tag="system"):
    """Something happened to the deployment itself."""

    detail: dict[str, Any]


class Event(Struct):
    """An OCSF API Activity (class 6003), schema version 1.6.0. time: milliseconds since 1970."""

    class_uid: Literal[6003]
    category_uid: Literal[6]
    activity_id: Annotated[int, Meta(ge=0, le=99)]
    type_uid: Annotated[int, Meta(ge=600300, le=600399)]
    time: Count
    severity_id: Annotated[int, Meta(ge=0, le=99)]
    status_id: Literal[0, 1, 2]
    status_code: str
    metadata: Metadata
    actor: Actor
    api: Api
    sealgate: Intent | Outcome | Recovered | Denied | Access | System
    src_endpoint: SourceEndpoint | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The trace ids that one intent issued under one key epoch, each once."""

    epoch: int
    trace_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as the log stores it: canonical bytes, and what the log indexes of them."""

    uid: str
    time_ms: int
    phase: str
    tenant: str
    request_id: str | None
    operation: str
    mark: Mark | None
    body: bytes


def encode(event: Mapping[str, Any]) -> Entry:
    """Check an event and return its entry.

    Raises:
        EventInvalid: The event breaks the format; the message names the field, not its value.
    """
    try:
        return _entry(canonical.encode(dict(event)))
    except NotCanonical as error:
        raise EventInvalid(f"The event cannot be written down: {error}.") from None


def decode(body: bytes) -> Entry:
    """Return the entry that canonical bytes hold.

    Raises:
        EventInvalid: They are not canonical, or break the format.
    """
    try:
        canonical.decode(body)
    except NotCanonical as error:
        raise EventInvalid(f"The entry is not a canonical event: {error}.") from None
    return _entry(body)


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


def _entry(body: bytes) -> Entry:
    if len(body) > BODY_LIMIT_BYTES:
        raise EventInvalid(f"The event is longer than {BODY_LIMIT_BYTES} bytes.")
    try:
        event = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise EventInvalid(f"The event breaks docs/formats/event-v1.md: {error}.") from None
    phase = event.sealgate.__struct_config__.tag
    request_id = event.api.request.uid if event.api.request else None
    _require_uid(event.metadata.uid, str(phase), request_id)
    return Entry(
        uid=event.metadata.uid,
        time_ms=event.time,
        phase=str(phase),
        tenant=event.metadata.tenant_uid,
        request_id=request_id,
        operation=event.api.operation,
        mark=_mark(event.sealgate),
        body=body,
    )


def _require_uid(uid: str, phase: str, request_id: str | None) -> None:
    """Hold a request to one intent and one ending: their uids follow from its id."""
    suffix = {"intent": "intent", "outcome": "outcome", "recovered": "outcome"}.get(phase)
    if suffix is not None and uid != f"{request_id}/{suffix}":
        raise EventInvalid(f"The uid of this {phase} must be its request's id and `/{suffix}`.")


def _mark(sealgate: Struct) -> Mark | None:
    if not isinstance(sealgate, Intent):
        return None
    issued = sealgate.watermark
    return Mark(issued.epoch, tuple(sorted(set(issued.trace_ids))))


_decoder = msgspec.json.Decoder(Event)
