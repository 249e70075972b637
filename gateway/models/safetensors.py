"""Reading a safetensors file: a length, a JSON header, and the tensors. Every offset is checked.

Format: https://huggingface.co/docs/safetensors (an 8-byte little-endian length, then the header).
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models.errors import ModelError, ModelUnreadable, ModelUnsupported

HEADER_LIMIT_BYTES = 16 << 20
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
}
_length = struct.Struct("<Q")


def read(path: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the file's bytes, and its tensors as views into them.

    Raises:
        ModelUnreadable: There is no such file, or it cannot be read.
        ModelUnsupported: A tensor is of a type that is not read here.
        ModelError: The file is damaged or cut short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    header, begin = _header(content)
    return content, {
        name: _tensor(name, entry, content, begin)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    cut = ModelError("it is no safetensors file, or was cut short.")
    if len(content) < _length.size:
        raise cut
    (length,) = _length.unpack_from(content)
    begin = _length.size + length
    if length > HEADER_LIMIT_BYTES or begin > len(content):
        raise cut
    try:
        header = json.loads(content[_length.size : begin])
    except (ValueError, RecursionError):
        raise cut from None
    if not isinstance(header, dict):
        raise ModelError("it is no safetensors file: its header is no JSON object.")
    return header, begin


def _tensor(name: str, entry: Any, content: bytes, begin: int) -> NDArray[Any]:
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            if kind not in DTYPES:
                raise ModelUnsupported(f"the tensor {name[:80]!r} is of the type {kind[:16]!r}.")
            size = DTYPES[kind].itemsize
            sizes = [side if isinstance(side, int) and side >= 0 else -1 for side in shape]
            inside = 0 <= start <= end <= len(content) - begin
            if inside and -1 not in sizes and end - start == size * _product(sizes):
                flat = np.frombuffer(content, DTYPES[kind], _product(sizes), begin + start)
                data: NDArray[Any] = flat.reshape(sizes)
                return data
    raise ModelError(f"the tensor {name[:80]!r} is not where the header says, or was cut short.")


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
