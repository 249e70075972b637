"""Model files as tensors to seal: safetensors and ONNX. Headers are read, tensors stay in the file.

Nothing in a file is run: safetensors is a JSON header and bytes, ONNX is parsed as data. (GGUF is
the gateway's, which builds a graph from it.)
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, external_data_helper, helper

from privacy.container import MESSAGE_LIMIT_BYTES
from privacy.errors import ModelUnsealable
from privacy.tensors import WIDTHS, StoredTensor, Tensor

_HEADER_LIMIT_BYTES = 100 << 20
_LENGTH_BYTES = 8
# Smaller initialisers stay in the graph.
_INLINE_BYTES = 1024
# Where an initialiser's data may be (onnx.proto, TensorProto).
_DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_SAFETENSORS = {
    "BOOL": "bool",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "I64": "int64",
    "U64": "uint64",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@dataclass(frozen=True, slots=True)
class Source:
    """What `sealed.seal` takes of a model file."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    graph: bytes = field(default=b"", repr=False)


def from_safetensors(path: Path) -> Source:
    """Read a safetensors file's header. Its metadata becomes the config's `metadata`.

    Raises:
        ModelUnsealable: It is no safetensors file, or has a type that cannot be sealed.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            raw = file.read(length) if length <= _HEADER_LIMIT_BYTES else b""
            size = file.seek(0, 2)
    except OSError as error:
        raise ModelUnsealable(f"{path} cannot be read: {error.strerror}.") from None
    try:
        header = json.loads(raw)
        metadata = header.pop("__metadata__", {})
        start = _LENGTH_BYTES + length
        tensors = {name: _stored(path, name, each, start) for name, each in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(path, "safetensors") from None
    ends = sorted((t.position, t.position + t.nbytes) for t in tensors.values())
    # Tensors fill the file without gap or overlap: nothing in it stays outside the seal.
    edges = [start, *(end for _, end in ends)]
    if [begin for begin, _ in ends] != edges[:-1] or edges[-1] != size:
        raise _unreadable(path, "safetensors")
    return Source(tensors, {"format": "safetensors", "metadata": metadata})


def from_onnx(path: Path) -> Source:
    """Read an ONNX model: its graph, its initialisers as tensors, inside the file or beside it.

    The graph refers to each by its name, as onnx-gqa-v1.md says.

    Raises:
        ModelUnsealable: It is no ONNX model, or refers to a file outside its directory.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # noqa: BLE001 - Whatever the parser raises, the file is no model.
        raise _unreadable(path, "ONNX") from None
    tensors: dict[str, Tensor] = {}
    for initializer in model.graph.initializer:
        stored = _initializer(path, initializer)
        if stored is not None:
            tensors[initializer.name] = stored
            _make_external(initializer)
    graph = model.SerializeToString()
    if len(graph) > MESSAGE_LIMIT_BYTES:
        raise ModelUnsealable(f"The graph of {path} is larger than 64 MiB without its tensors.")
    return Source(tensors, {"format": "onnx"}, graph)


def _stored(path: Path, name: str, described: Mapping[str, Any], start: int) -> StoredTensor:
    kind, shape = described["dtype"], tuple(described["shape"])
    begin, end = described["data_offsets"]
    if kind not in _SAFETENSORS:
        raise ModelUnsealable(f"The tensor {name!r} is of type {kind}, which cannot be sealed.")
    whole = all(type(each) is int and each >= 0 for each in (*shape, begin, end))
    dtype = _SAFETENSORS[kind]
    if not whole or end - begin != math.prod(shape) * WIDTHS[dtype]:
        raise _unreadable(path, "safetensors")
    return StoredTensor(path, start + begin, dtype, shape)


def _initializer(path: Path, initializer: Any) -> Tensor | None:
    """Return an initialiser's tensor, or None if it is small enough to stay in the graph."""
    shape = tuple(initializer.dims)
    dtype = helper.tensor_dtype_to_np_dtype(initializer.data_type).name
    if initializer.data_location == TensorProto.EXTERNAL:
        if dtype not in WIDTHS:
            raise ModelUnsealable(
                f"{initializer.name!r} is of type {dtype}, which cannot be sealed."
            )
        info = external_data_helper.ExternalDataInfo(initializer)
        file = (path.parent / info.location).resolve()
        if not file.is_relative_to(path.parent.resolve()):
            raise ModelUnsealable(f"{path} refers to a file outside its directory.")
        return StoredTensor(file, int(info.offset or 0), dtype, shape)
    if math.prod(shape) * WIDTHS.get(dtype, 0) < _INLINE_BYTES:
        return None
    array: Tensor = onnx.numpy_helper.to_array(initializer)
    return array


def _make_external(initializer: Any) -> None:
    """Leave a reference where the data was: the loader supplies it by the initialiser's name."""
    for member in _DATA:
        initializer.ClearField(member)
    del initializer.external_data[:]
    initializer.data_location = TensorProto.EXTERNAL
    initializer.external_data.add(key="location", value="sealed")


def _unreadable(path: Path, kind: str) -> ModelUnsealable:
    return ModelUnsealable(f"{path} is no {kind} file, or is damaged. Fetch it again.")
