"""What a worker's frames amount to, by the kind of job; the worker is not believed.

The gateway's side. A reader takes one frame at a time and says what may be passed on.
"""

import math
from array import array
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sandbox import conversation, wire
from sandbox.errors import FrameInvalid

T_co = TypeVar("T_co", covariant=True)


class Undue(FrameInvalid):
    """A frame that was not due; the message completes "The worker …"."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokens of the answer, in order. likelihoods: one for each token, if the job asked."""

    tokens: tuple[int, ...]
    likelihoods: tuple[wire.Likelihood, ...] = ()


@dataclass(frozen=True, slots=True)
class Vector:
    """One text's embedding: float32 [dimensions]."""

    values: "array[float]" = field(repr=False)


class Reader(Protocol[T_co]):
    """One job's frames. kind, payload: the job's own frame."""

    kind: bytes
    payload: bytes

    def read(self, kind: bytes, payload: bytes) -> T_co | None:
        """Return what a frame adds to the answer, None where that waits for another.

        Raises:
            FrameInvalid: It was not due.
        """

    def close(self) -> None:
        """Hear that the worker says its answer is whole.

        Raises:
            FrameInvalid: It is not.
        """


class TokenReader:
    """Reads an answer's tokens."""

    kind = wire.JOB

    def __init__(self, job: wire.Job) -> None:
        self.payload = wire.encode(job)
        self._job = job
        self._left = job.max_tokens
        self._likely: list[wire.Likelihood] = []

    def read(self, kind: bytes, payload: bytes) -> TokenBatch | None:
        """Return the frame's tokens, with the likelihoods that came before them."""
        if kind == wire.LIKELY and self._job.likely is not None and len(self._likely) < self._left:
            self._likely.append(wire.decode_likelihood(payload))
            return None
        if kind != wire.TOKENS:
            raise Undue(conversation.told(kind, payload))
        tokens = wire.unpack_tokens(payload)
        self._left -= len(tokens)
        if self._left < 0:
            raise Undue(f"sent more than the {self._job.max_tokens} tokens it was asked for")
        batch = TokenBatch(tokens, tuple(self._likely))
        self._likely.clear()
        return batch

    def close(self) -> None:
        """Accept any end: an answer may be short."""


class VectorReader:
    """Reads one vector a text. dimensions: of each."""

    kind = wire.INPUTS

    def __init__(self, inputs: wire.Inputs, *, dimensions: int) -> None:
        self.payload = wire.encode(inputs)
        self._left = len(inputs.texts)
        self._bytes = 4 * dimensions

    def read(self, kind: bytes, payload: bytes) -> Vector:
        """Return the frame's vector."""
        if kind != wire.VECTOR:
            raise Undue(conversation.told(kind, payload))
        self._left -= 1
        if self._left < 0 or len(payload) != self._bytes:
            raise Undue("sent a vector that it was not asked for")
        values = array("f", payload)
        if not all(map(math.isfinite, values)):
            raise Undue("sent a vector of what are no numbers")
        return Vector(values)

    def close(self) -> None:
        """Hold the worker to one vector a text."""
        if self._left:
            raise Undue("ended before its last vector")
