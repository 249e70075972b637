"""Tensors as a seal takes them: arrays in memory, or stretches of a file that are read in steps."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ModelUnsealable

# Bytes of an element, by NumPy's name; the last five are those of ml_dtypes.
WIDTHS = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
}
_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor's bytes in a file: little-endian, C-contiguous, from `position` on."""

    path: Path
    position: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


Tensor = NDArray[Any] | StoredTensor


def dtype_name(name: str, tensor: Tensor) -> str:
    """Return the type of a tensor's elements as a manifest names it.

    Raises:
        ModelUnsealable: The type has no fixed form in a file.
    """
    dtype = tensor.dtype if isinstance(tensor, StoredTensor) else tensor.dtype.name
    if dtype not in WIDTHS:
        raise ModelUnsealable(
            f"The tensor {name!r} is of type {dtype}, which cannot be sealed. "
            "Convert it to a float or integer type of at most 64 bits."
        )
    return dtype


def pieces(tensor: Tensor, start: int, stop: int) -> Iterator[Any]:
    """Yield a range of a tensor's bytes; a piece of a file is overwritten by the next.

    Raises:
        ModelUnsealable: The file ends too early.
    """
    if isinstance(tensor, StoredTensor):
        yield from _from_file(tensor, start, stop)
    elif start < stop:
        yield tensor_bytes(tensor)[start:stop]


def tensor_bytes(tensor: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a tensor's bytes, little-endian and C-contiguous; a view where it is so already."""
    little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8)


def dtype_of(name: str) -> np.dtype[Any]:
    """Return NumPy's type of that name. ml_dtypes provides those that NumPy lacks.

    Raises:
        ModelUnsealable: ml_dtypes is needed and absent.
    """
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes  # noqa: PLC0415 - Few models need it.
    except ImportError:
        raise ModelUnsealable(
            f"NumPy does not know the type {name}. Install ml_dtypes, or load it with torch."
        ) from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def _from_file(tensor: StoredTensor, start: int, stop: int) -> Iterator[memoryview]:
    with tensor.path.open("rb", buffering=0) as file, memoryview(bytearray(_STEP_BYTES)) as buffer:
        position, end = tensor.position + start, tensor.position + stop
        while position < end:
            with buffer[: end - position] as wanted:
                read = os.preadv(file.fileno(), [wanted], position)
            if read == 0:
                raise ModelUnsealable(f"{tensor.path} ends too early. Fetch it again.")
            with buffer[:read] as piece:
                yield piece
            position += read
            # Each byte is read once: the cache is for others.
            os.posix_fadvise(file.fileno(), position - read, read, os.POSIX_FADV_DONTNEED)
