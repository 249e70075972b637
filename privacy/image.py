"""The image: where a model's graph and tensors lie in memory, and how messages cut it up."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.container import MESSAGE_LIMIT_BYTES
from privacy.errors import ModelUnsealable

ALIGNMENT_BYTES = 64
_KINDS = "biuf"
_WIDEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's place in the image, in bytes."""

    name: str
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


def places(graph_length: int, tensors: Mapping[str, NDArray[Any]]) -> list[Place]:
    """Place every tensor after the graph, in order, each at a multiple of 64.

    Raises:
        ModelUnsealable: A tensor's type has no fixed form in a file.
    """
    placed = []
    end = graph_length
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in _KINDS or tensor.dtype.itemsize > _WIDEST_BYTES:
            raise ModelUnsealable(
                f"The tensor {name!r} is of type {tensor.dtype.name}, which cannot be sealed. "
                "Convert it to a float or integer type of at most 64 bits."
            )
        place = Place(name, -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES, tensor.nbytes)
        placed.append(place)
        end = place.end
    return placed


def cuts(placed: list[Place], *, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> list[Cut]:
    """Group tensors while they fit in one message together; cut larger ones into several."""
    made: list[Cut] = []
    start = end = 0
    for place in (p for p in placed if p.length):
        if start < end and place.end - start <= limit_bytes:
            end = place.end
            continue
        made.extend(_cut(start, end, limit_bytes))
        start, end = place.offset, place.end
    return [*made, *_cut(start, end, limit_bytes)]


def content(cut: Cut, placed: list[Place], tensors: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
    """Yield the bytes of a cut, buffer by buffer, zeros between tensors."""
    cursor, end = cut.offset, cut.offset + cut.length
    for place in placed:
        if place.end <= cursor or place.offset >= end:
            continue
        if place.offset > cursor:
            yield bytes(place.offset - cursor)
            cursor = place.offset
        stop = min(end, place.end)
        yield tensor_bytes(tensors[place.name])[cursor - place.offset : stop - place.offset]
        cursor = stop


def tensor_bytes(tensor: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a tensor's bytes, little-endian and C-contiguous; a view where it is so already."""
    little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8)


def _cut(start: int, end: int, limit_bytes: int) -> list[Cut]:
    edges = [*range(start, end, limit_bytes), end]
    return [Cut(a, b - a) for a, b in pairwise(edges)]
