"""The image: where a model's graph and tensors lie in memory, and how messages cut it up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from privacy.container import MESSAGE_LIMIT_BYTES
from privacy.tensors import Tensor, dtype_name, pieces

ALIGNMENT_BYTES = 64
# What a lazy reader decrypts at most beside the small tensor that it asked for.
SHARED_LIMIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's place in the image, in bytes. dtype: NumPy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Cut:
    """A range of the image that one message carries, in bytes."""

    offset: int
    length: int


def places(graph_length: int, tensors: Mapping[str, Tensor]) -> list[Place]:
    """Place every tensor after the graph, in order, each at a multiple of 64.

    Raises:
        ModelUnsealable: A tensor's type has no fixed form in a file.
    """
    placed = []
    end = graph_length
    for name, tensor in tensors.items():
        offset = -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        dtype = dtype_name(name, tensor)
        place = Place(name, dtype, tuple(tensor.shape), offset, tensor.nbytes)
        placed.append(place)
        end = place.end
    return placed


def cuts(
    placed: list[Place],
    *,
    shared_limit_bytes: int = SHARED_LIMIT_BYTES,
    limit_bytes: int = MESSAGE_LIMIT_BYTES,
) -> list[Cut]:
    """Group tensors while they are small together; cut those above the limit into several."""
    made: list[Cut] = []
    together = min(shared_limit_bytes, limit_bytes)
    start = end = 0
    for place in (p for p in placed if p.length):
        if start < end and place.end - start <= together:
            end = place.end
            continue
        made.extend(_cut(start, end, limit_bytes))
        start, end = place.offset, place.end
    return [*made, *_cut(start, end, limit_bytes)]


def content(
    cut: Cut, placed: list[Place], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str | None, Any]]:
    """Yield the bytes of a cut, buffer by buffer, with the tensor they are of; zeros between."""
    cursor, end = cut.offset, cut.offset + cut.length
    for place in placed:
        if place.end <= cursor or place.offset >= end:
            continue
        if place.offset > cursor:
            yield None, bytes(place.offset - cursor)
            cursor = place.offset
        stop = min(end, place.end)
        start, stop_within = cursor - place.offset, stop - place.offset
        for piece in pieces(tensors[place.name], start, stop_within):
            yield place.name, piece
        cursor = stop


def _cut(start: int, end: int, limit_bytes: int) -> list[Cut]:
    edges = [*range(start, end, limit_bytes), end]
    return [Cut(a, b - a) for a, b in pairwise(edges)]
