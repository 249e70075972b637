"""Frames between the gateway, the zygote and its workers: docs/formats/worker-wire-v1.md.

Lengths are capped and checked before anything is read; nothing is unpickled.
"""

import struct
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypedDict, TypeVar

import msgspec

from sandbox.errors import FrameInvalid

VERSION = 1
# A version and a kind.
LEAST_BYTES = 2
MOST_BYTES = 1 << 20
HEADER_BYTES = 4
# OpenAI's bound on `top_logprobs`.
MOST_LIKELY = 20
# OpenAI's bound on the texts of one request for embeddings, and what a frame has room for.
MOST_INPUTS = 2048
MOST_INPUT_TOKENS = 1 << 17
# Jobs that one worker may answer together.
MOST_TOGETHER = 8

NOTICES, READY, JOB, TOKENS, END, FAILED = b"N", b"R", b"J", b"T", b"E", b"F"
LIKELY = b"P"
INPUTS, VECTOR = b"I", b"V"
BATCH, SEQUENCE = b"B", b"S"
REHEARSE = b"H"
LOADED, SPAWN, WORKER, EXITED = b"L", b"S", b"W", b"X"

_T = TypeVar("_T")
_length = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Shaping:
    """What bends a model's prediction before a token is drawn from it. The defaults bend nothing.

    min_p: least probability kept, as a share of the most probable's, in [0, 1]. repetition_penalty:
    above 0; what the logits of tokens seen in prompt or answer are divided by, or multiplied by
    where negative. frequency_penalty, presence_penalty: taken off a token's logit for each time,
    and once, that the answer has it. logit_bias: added to the logits of these tokens.
    """

    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to generate.

    prompt: token ids. top_p: in (0, 1]. top_k: candidates kept, at least 1. eos: token ids that
    end the answer. mark_key: 32 bytes. trace_id: 32 bits, unsigned. seed: 32 bytes. grammar: what
    the answer must follow, in llguidance's JSON form, empty for anything. likely: how many of the
    most likely tokens are told with each token, None for no likelihoods at all.
    """

    prompt: list[int] = field(repr=False)
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    eos: list[int]
    mark_key: bytes = field(repr=False)
    trace_id: int = field(repr=False)
    seed: bytes = field(repr=False)
    shaping: Shaping = field(default_factory=Shaping)
    grammar: str = field(default="", repr=False)
    likely: Annotated[int, msgspec.Meta(ge=0, le=MOST_LIKELY)] | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts to embed, each as token ids; their vectors come back in the same order."""

    texts: Annotated[
        list[Annotated[list[int], msgspec.Meta(min_length=1)]],
        msgspec.Meta(min_length=1, max_length=MOST_INPUTS),
    ] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely the model itself held a token, before anything bent its prediction.

    logprob: natural logarithm. top: the most likely tokens with theirs, most likely first.
    """

    token: int
    logprob: float
    top: list[tuple[int, float]]


class Evidence(TypedDict):
    """What an answer's mark is worth, by its worker's own word."""

    status: Annotated[str, msgspec.Meta(pattern="^(traceable|weak|unmarked)\\Z")]
    marked: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]
    log_evidence: float


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended. Decoding refuses any other reason or evidence than these."""

    reason: Literal["stop", "length"]
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Spawned:
    """A worker that was cloned; its socket and pidfd come with the message."""

    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker that was reaped. signal: what killed it, or 0. peak_kib: largest resident set."""

    pid: int
    signal: int
    code: int
    peak_kib: int
    cpu_ms: int


encode = msgspec.msgpack.Encoder().encode
_job = msgspec.msgpack.Decoder(Job)
_inputs = msgspec.msgpack.Decoder(Inputs)
_batch = msgspec.msgpack.Decoder(
    Annotated[list[Job], msgspec.Meta(min_length=2, max_length=MOST_TOGETHER)]
)
_end = msgspec.msgpack.Decoder(End)
_likelihood = msgspec.msgpack.Decoder(Likelihood)
_spawned = msgspec.msgpack.Decoder(Spawned)
_exited = msgspec.msgpack.Decoder(Exited)


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Frame one message.

    Raises:
        FrameInvalid: It is longer than a frame may be.
    """
    length = LEAST_BYTES + len(payload)
    if length > MOST_BYTES:
        raise FrameInvalid(f"A message of {length} bytes is over the limit of {MOST_BYTES}.")
    return _length.pack(length) + bytes([VERSION]) + kind + payload


def body_length(header: bytes) -> int:
    """Return how many bytes follow a frame's first four.

    Raises:
        FrameInvalid: More or fewer than a frame may have.
    """
    (length,) = _length.unpack(header)
    if not LEAST_BYTES <= length <= MOST_BYTES:
        raise FrameInvalid(f"A frame says it has {length} bytes.")
    return int(length)


def split_body(body: bytes) -> tuple[bytes, bytes]:
    """Return a frame's kind and payload.

    Raises:
        FrameInvalid: It is of another version.
    """
    if body[0] != VERSION:
        raise FrameInvalid(f"A frame has version {body[0]}; this installation speaks {VERSION}.")
    return body[1:2], body[2:]


def pack_tokens(tokens: list[int]) -> bytes:
    """Pack token ids as unsigned 32-bit little-endian words."""
    return struct.pack(f"<{len(tokens)}I", *tokens)


def unpack_tokens(payload: bytes) -> tuple[int, ...]:
    """Unpack what `pack_tokens` packed.

    Raises:
        FrameInvalid: Not a whole number of tokens, or none.
    """
    count, rest = divmod(len(payload), 4)
    if rest or not count:
        raise FrameInvalid(f"A token frame has {len(payload)} bytes.")
    return struct.unpack(f"<{count}I", payload)


def decode_job(payload: bytes) -> Job:
    """Decode a job; raises FrameInvalid if it is not one."""
    return _decoded(_job, payload)


def pack_sequence(index: int, kind: bytes, payload: bytes) -> bytes:
    """Wrap what a frame about one job of a batch says. index: the job's place in it."""
    return bytes([index]) + kind + payload


def split_sequence(payload: bytes) -> tuple[int, bytes, bytes]:
    """Return what `pack_sequence` wrapped.

    Raises:
        FrameInvalid: It is too short to be that.
    """
    if len(payload) < 2:  # noqa: PLR2004 - an index and a kind
        raise FrameInvalid(f"A sequence's frame has {len(payload)} bytes.")
    return payload[0], payload[1:2], payload[2:]


def decode_batch(payload: bytes) -> list[Job]:
    """Decode a batch; raises FrameInvalid if it is none."""
    return _decoded(_batch, payload)


def decode_inputs(payload: bytes) -> Inputs:
    """Decode texts to embed; raises FrameInvalid if they are none."""
    return _decoded(_inputs, payload)


def decode_end(payload: bytes) -> End:
    """Decode an end; raises FrameInvalid if it is not one."""
    return _decoded(_end, payload)


def decode_likelihood(payload: bytes) -> Likelihood:
    """Decode a likelihood; raises FrameInvalid if it is not one."""
    return _decoded(_likelihood, payload)


def decode_spawned(payload: bytes) -> Spawned:
    """Decode a worker's announcement; raises FrameInvalid if it is not one."""
    return _decoded(_spawned, payload)


def decode_exited(payload: bytes) -> Exited:
    """Decode a worker's end; raises FrameInvalid if it is not one."""
    return _decoded(_exited, payload)


def _decoded(decoder: "msgspec.msgpack.Decoder[_T]", payload: bytes) -> _T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # Text that is no UTF-8 and nesting without end are no errors of msgspec's own.
        raise FrameInvalid(f"A message cannot be decoded: {error}.") from None
