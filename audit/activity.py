"""The shape of an event: OCSF API Activity (class 6003, schema 1.6.0) and our `sealgate` object.

docs/formats/event-v1.md describes the fields, and event-v1.schema.json beside it is made from
these types. An event holds no prompt and no answer, only lengths and keyed digests of them.
Members beyond these are allowed and kept; times are milliseconds since 1970.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Text = Annotated[str, Meta(min_length=1, max_length=256)]
Count = Annotated[int, Meta(ge=0)]
# Random, from the deployment's own mapping; never derived from the person (45 CFR 164.514(c)).
Pseudonym = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
# Milliseconds since 1970, up to the end of the year 9999: what calendars can name.
Time = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
TraceId = Annotated[int, Meta(ge=0, lt=2**32)]
Detail = dict[str, Any]
# Not there, or null. An event made of these types is written down as it was read.
Absent = UnsetType | None
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
    session: Session | Absent = UNSET


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
    request: Request | Absent = UNSET
    response: Response | Absent = UNSET


class SourceEndpoint(Struct):
    """Where the request came from; a local act has a name and no address."""

    ip: Text | Absent = UNSET
    name: Text | Absent = UNSET


class Model(Struct):
    """A sealed model: its id, the digest of its sealed content, its generation."""

    id: Text
    digest: Text
    generation: Count
    # The digest of the certificate of its private training; absent if it had none.
    training_certificate: Text | Absent = UNSET


class Sampling(Struct):
    """What shaped the answer; in thousandths what ends in `_milli`.

    What bends the prediction is there only where it does. biased_tokens: of a `logit_bias`.
    """

    temperature_milli: Count
    top_p_milli: Count
    top_k: Count
    max_tokens: Count
    n: Count
    seeded: bool
    min_p_milli: Count | Absent = UNSET
    repetition_penalty_milli: Count | Absent = UNSET
    frequency_penalty_milli: int | Absent = UNSET
    presence_penalty_milli: int | Absent = UNSET
    biased_tokens: Count | Absent = UNSET


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
    """One choice of an answer, as it ended. log_evidence_milli: thousandths of nats.

    output_commitment: what a receipt opens, null where none can be given.
    """

    trace_id: TraceId
    tokens: Count
    finish_reason: str | None
    output_hmac: Hmac
    mark: Text
    output_commitment: Hmac | Absent = UNSET
    log_evidence_milli: int | Absent = UNSET
    sandbox: Detail | Absent = UNSET


class Kept(Struct):
    """Text that is kept, encrypted, beside the log. digest: SHA-256 of the ciphertext."""

    digest: Hmac
    until_ms: Time


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
    pseudonym: Pseudonym | Absent = UNSET
    content: Kept | Absent = UNSET
    policy: Detail | UnsetType = UNSET
    detections: Detail | UnsetType = UNSET


class Label(Struct):
    """Whether the answer carried a label that people see, and one that programs read."""

    explicit: bool
    implicit: bool


class Outcome(Struct, tag_field="phase", tag="outcome"):
    """What became of an intent. recipient: who else got the request.

    commitment_epoch: of the key that the choices' commitments are salted with, null without one.
    """

    ending: Literal["completed", "client_gone", "failed", "shutdown"]
    latency_ms: Count
    prompt_tokens: Count
    completion_tokens: Count
    model: Model
    tier: Text
    watermark: Scheme
    choices: list[Choice]
    recipient: Text | Absent = UNSET
    label: Label | Absent = UNSET
    acknowledgement_ms: Count | Absent = UNSET
    content: Kept | Absent = UNSET
    commitment_epoch: Count | Absent = UNSET
    route: Detail | UnsetType = UNSET


class Recovered(Struct, tag_field="phase", tag="recovered"):
    """An intent whose outcome nobody recorded, closed at the next start."""

    ending: Literal["unknown"]
    model: Model
    tier: Text
    watermark: Scheme


class Denied(Struct, tag_field="phase", tag="denied"):
    """A request that was refused."""

    reason: Text
    policy: Detail | UnsetType = UNSET


class Access(Struct, tag_field="phase", tag="access"):
    """Somebody read or checked evidence, or was told of a person."""

    detail: Detail
    pseudonym: Pseudonym | Absent = UNSET


class System(Struct, tag_field="phase", tag="system"):
    """Something happened to the deployment itself."""

    detail: Detail


class Event(Struct):
    """An OCSF API Activity (class 6003), schema version 1.6.0. time: milliseconds since 1970."""

    class_uid: Literal[6003]
    category_uid: Literal[6]
    activity_id: Annotated[int, Meta(ge=0, le=99)]
    type_uid: Annotated[int, Meta(ge=600300, le=600399)]
    time: Time
    severity_id: Annotated[int, Meta(ge=0, le=99)]
    status_id: Literal[0, 1, 2]
    status_code: str
    metadata: Metadata
    actor: Actor
    api: Api
    sealgate: Intent | Outcome | Recovered | Denied | Access | System
    src_endpoint: SourceEndpoint | Absent = UNSET
