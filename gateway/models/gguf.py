"""GGUF files: metadata and tensor bytes, every length checked before it is believed.

Reads version 2 and 3, little endian. Values stay as the file has them; what they mean is told by
`architecture.py` and `blocks.py`. Source: the GGUF specification of the ggml project.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from gateway.models.errors import ModelError, ModelUnreadable, ModelUnsupported

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

# Bounds on what a file may claim, an order above the largest models: a damaged count must not
# turn into hours or gigabytes.
ENTRIES_LIMIT = 1 << 16
ARRAY_LIMIT = 1 << 22
STRING_LIMIT_BYTES = 1 << 24
DIMENSIONS_LIMIT = 4

_SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_STRING = 8
_ARRAY = 9

_TYPE_NAMES = {int(kind): kind.name for kind in GGMLQuantizationType}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as stored.

    kind: ggml's type name, for example `Q4_1`. shape: outermost first, in elements (numpy's order,
    the reverse of the file's). data: uint8 [bytes], a view of the file.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GgufFile:
    """An open file. Strings, numbers, lists of strings and number arrays by key; tensors by name.

    content: the whole file, for digests.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    content: memoryview


@contextmanager
def opened(path: Path) -> Iterator[GgufFile]:
    """Map the file and parse its head; tensors are views that end with the block.

    Raises:
        ModelUnreadable: The file cannot be read.
        ModelError: It is no GGUF, or is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ModelError(f"{path} is cut short: it is empty. Fetch it again.") from None
    # The mapping is left to the garbage collector: closing it would fail while views exist.
    try:
        yield parse(memoryview(mapping))
    except ModelError as error:
        raise type(error)(f"{path.name}: {error}") from None


def parse(content: memoryview) -> GgufFile:
    """Parse a whole file in memory.

    Raises:
        ModelError: It is no GGUF, damaged or cut short.
    """
    cursor = _Cursor(content)
    if cursor.bytes(4) != MAGIC:
        raise ModelError("this is not a GGUF file (its first four bytes are not 'GGUF').")
    version = cursor.integer("<I")
    if version not in VERSIONS:
        raise ModelUnsupported(f"GGUF version {version} is not read here, only 2 and 3.")
    tensor_count = cursor.integer("<Q", limit=ENTRIES_LIMIT)
    entry_count = cursor.integer("<Q", limit=ENTRIES_LIMIT)
    metadata = dict(cursor.unique(cursor.entry() for _ in range(entry_count)))
    entries = dict(cursor.unique(cursor.tensor() for _ in range(tensor_count)))
    start = _aligned(cursor.offset, metadata)
    tensors = {name: entry.tensor(name, content, start) for name, entry in entries.items()}
    return GgufFile(metadata, tensors, content)


def _aligned(offset: int, metadata: Mapping[str, Any]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ModelError("general.alignment is not a power of two.")
    return (offset + alignment - 1) // alignment * alignment


@dataclass(frozen=True, slots=True)
class _TensorEntry:
    kind: int
    shape: tuple[int, ...]
    offset: int

    def tensor(self, name: str, content: memoryview, start: int) -> Tensor:
        if self.kind not in _TYPE_NAMES:
            raise ModelUnsupported(f"tensor {name} has the unknown type {self.kind}.")
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(self.kind)]
        if self.shape[-1] % block:
            raise ModelError(f"tensor {name}: rows of {self.shape[-1]} do not fill blocks.")
        length = prod(self.shape) // block * block_bytes
        begin = start + self.offset
        if begin + length > len(content):
            raise ModelError(
                f"the file is cut short: tensor {name} ends at byte {begin + length}, the file "
                f"at {len(content)}. Fetch it again."
            )
        data = np.frombuffer(content, np.uint8, length, begin)
        return Tensor(name, _TYPE_NAMES[self.kind], self.shape, data)


class _Cursor:
    """A place in the file's head that never reads past its end."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self.offset = 0

    def bytes(self, count: int) -> bytes:
        end = self.offset + count
        if end > len(self._content):
            raise ModelError("the file is cut short inside its metadata. Fetch it again.")
        data = self._content[self.offset : end].tobytes()
        self.offset = end
        return data

    def integer(self, layout: str, *, limit: int | None = None) -> int:
        value = int(struct.unpack(layout, self.bytes(struct.calcsize(layout)))[0])
        if limit is not None and value > limit:
            raise ModelError(f"the metadata is damaged: a count of {value} at {self.offset}.")
        return value

    def string(self) -> str:
        length = self.integer("<Q", limit=STRING_LIMIT_BYTES)
        try:
            return self.bytes(length).decode()
        except UnicodeDecodeError:
            raise ModelError(
                f"the metadata is damaged: no UTF-8 before byte {self.offset}."
            ) from None

    def entry(self) -> tuple[str, Any]:
        key = self.string()
        return key, self.value(self.integer("<I"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        return self.numbers(kind, 1)[0].item()

    def array(self) -> list[str] | NDArray[Any]:
        kind = self.integer("<I")
        count = self.integer("<Q", limit=ARRAY_LIMIT)
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        return self.numbers(kind, count)

    def numbers(self, kind: int, count: int) -> NDArray[Any]:
        if kind not in _SCALARS:
            raise ModelError(f"the metadata is damaged: value type {kind} at {self.offset}.")
        dtype = _SCALARS[kind]
        return np.frombuffer(self.bytes(dtype.itemsize * count), dtype)

    def tensor(self) -> tuple[str, _TensorEntry]:
        name = self.string()
        dimensions = self.integer("<I", limit=DIMENSIONS_LIMIT)
        shape = tuple(self.integer("<Q", limit=1 << 40) for _ in range(dimensions))
        kind, offset = self.integer("<I"), self.integer("<Q", limit=1 << 48)
        if not shape or 0 in shape:
            raise ModelError(f"tensor {name} is empty.")
        return name, _TensorEntry(kind, shape[::-1], offset)

    @staticmethod
    def unique(entries: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key, value in entries:
            if key in seen:
                raise ModelError(f"the metadata is damaged: {key} appears twice.")
            seen.add(key)
            yield key, value
