"""Tensors of a sealed file as NumPy arrays: one at a time when asked for, or all in one stretch.

A tensor's messages are decrypted straight into its own memory. Small tensors share a message: the
one decrypted last is kept, so that reading them in order decrypts it once.
"""

import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.manifest import Message, Tensor
from privacy.memory import huge_memory
from privacy.messages import Room
from privacy.reader import SealedReader
from privacy.tensors import dtype_of


class LazyTensors(Mapping[str, NDArray[Any]]):
    """The tensors of an open reader by name. Safe to share between threads.

    An array owns its memory: it outlives the reader, and is written to at will.
    """

    def __init__(self, reader: SealedReader) -> None:
        self._reader = reader
        self._tensors = {tensor.name: tensor for tensor in reader.described.tensors}
        # Messages of the image, in its order, by where they begin there.
        in_image = [
            (message.offset, index)
            for index, message in enumerate(reader.described.messages)
            if message.offset is not None and message.length
        ]
        self._starts = [offset for offset, _ in in_image]
        self._indices = [index for _, index in in_image]
        self._own = threading.local()
        self._lock = threading.Lock()
        self._kept: tuple[int, bytearray] | None = None

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __getitem__(self, name: str) -> NDArray[Any]:
        tensor = self._tensors[name]
        return shaped(self.octets(name), dtype_of(tensor.dtype), tensor.shape)

    def described(self, name: str) -> Tensor:
        """Return what the manifest says of a tensor."""
        return self._tensors[name]

    def octets(self, name: str) -> Any:
        """Return a tensor's bytes, little-endian and C-contiguous, in memory of its own.

        Raises:
            KeyError: There is no tensor of that name.
            SealBroken: It is not what was sealed.
        """
        tensor = self._tensors[name]
        return huge_memory(tensor.length, lambda out: self._fill(tensor, out))

    def _fill(self, tensor: Tensor, out: memoryview) -> None:
        first = max(bisect_right(self._starts, tensor.offset) - 1, 0)
        last = bisect_left(self._starts, tensor.end)
        for offset, index in zip(self._starts[first:last], self._indices[first:last], strict=True):
            message = self._reader.described.messages[index]
            start, stop = max(tensor.offset, offset), min(tensor.end, offset + message.length)
            if start >= stop:
                continue
            with out[start - tensor.offset : stop - tensor.offset] as part:
                if stop - start == message.length:
                    self._reader.message(index, part, room=self._room())
                else:
                    self._copy(index, message, start - offset, part)

    def _copy(self, index: int, message: Message, at: int, part: memoryview) -> None:
        """Fill a part from a message that other tensors share."""
        with self._lock:
            if self._kept is None or self._kept[0] != index:
                buffer = bytearray(message.length)
                with memoryview(buffer) as view:
                    self._reader.message(index, view, room=self._room())
                self._kept = index, buffer
            part[:] = self._kept[1][at : at + len(part)]

    def _room(self) -> Room:
        """Return this thread's buffers."""
        room: Room | None = getattr(self._own, "room", None)
        if room is None:
            room = self._own.room = Room()
        return room


def all_tensors(reader: SealedReader, *, threads: int | None = None) -> dict[str, NDArray[Any]]:
    """Decrypt every tensor at once into one stretch of huge pages that the arrays share.

    threads: as for SealedReader.load.

    Raises:
        SealBroken: Something is not what was sealed.
    """
    image = reader.image(threads=threads)
    return {
        tensor.name: shaped(
            memoryview(image)[tensor.offset : tensor.end], dtype_of(tensor.dtype), tensor.shape
        )
        for tensor in reader.described.tensors
    }


def shaped(octets: Any, dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    """Return bytes as an array over the same memory."""
    little = dtype.newbyteorder("<")
    return np.frombuffer(octets, little, count=math.prod(shape)).reshape(shape)
