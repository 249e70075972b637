"""A trained LoRA adapter merged into the GGUF model it was trained beside. Needs no torch.

Merging and rounding use no records: they are post-processing, which costs no privacy.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from privacy.reader import SealedReader
from privacy.training.errors import ConfigInvalid

_FACTOR = re.compile(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.")
_NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
_REORDERED = "llama"
# Eight bits: four would round most of a small adapter away.
_KIND = gguf.GGMLQuantizationType.Q8_0


def sealed_tensors(reader: SealedReader) -> dict[str, NDArray[Any]]:
    """Return the tensors of a sealed file, copied out of its image."""
    with open(reader.load(), "rb") as image:  # noqa: PTH123 - A descriptor has no path.
        content = image.read()
    return {
        tensor["name"]: np.frombuffer(
            content,
            dtype=np.dtype(tensor["dtype"]).newbyteorder("<"),
            count=int(np.prod(tensor["shape"])),
            offset=tensor["offset"],
        ).reshape(tensor["shape"])
        for tensor in reader.manifest["tensors"]
    }


def merge(
    base: Path, adapter: Mapping[str, NDArray[Any]], *, scale: float, out: Path, name: str
) -> None:
    """Write the model of `base` with the adapter merged in. out: a file in memory, by choice.

    scale: of the product of an adapter's factors, alpha over rank.

    Raises:
        ConfigInvalid: The adapter is not of this model.
    """
    reader = gguf.GGUFReader(base)
    deltas = _deltas(adapter, scale=scale, heads=_heads(reader))
    unknown = deltas.keys() - {tensor.name for tensor in reader.tensors}
    if unknown or not deltas:
        raise ConfigInvalid(
            f"The model has no {', '.join(sorted(unknown)) or 'adapted weight'}. Merge into the "
            "model that the adapter was trained beside."
        )
    writer = gguf.GGUFWriter(out, _text(reader, "general.architecture"))
    _copy_fields(reader, writer, name=name)
    for tensor in reader.tensors:
        delta = deltas.get(tensor.name)
        if delta is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            merged = gguf.quants.dequantize(tensor.data, tensor.tensor_type) + delta
            rounded = gguf.quants.quantize(merged.astype(np.float32), _KIND)
            writer.add_tensor(tensor.name, rounded, raw_dtype=_KIND)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _deltas(
    adapter: Mapping[str, NDArray[Any]], *, scale: float, heads: Mapping[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Return what is added to each weight, [outputs, inputs], by the weight's name in GGUF."""
    factors: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}
    for full, array in adapter.items():
        found = _FACTOR.search(full)
        if found is None or found[2] not in _NAMES:
            raise ConfigInvalid(f"{full} is not part of a LoRA adapter that can be merged.")
        factors.setdefault((found[1], found[2]), {})[found[3]] = array
    deltas = {}
    for (layer, projection), pair in factors.items():
        delta = (scale * pair["B"].astype(np.float64) @ pair["A"]).astype(np.float32)
        if projection in heads:
            delta = _interleaved(delta, heads[projection])
        deltas[f"blk.{layer}.{_NAMES[projection]}.weight"] = delta
    return deltas


def _interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Order rows as GGUF does, in which a rotation's two halves alternate within each head."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _heads(reader: gguf.GGUFReader) -> dict[str, int]:
    """Return how many heads the projections have whose rows GGUF reorders: Llama's alone."""
    if _text(reader, "general.architecture") != _REORDERED:
        return {}
    prefix = f"{_REORDERED}.attention"
    return {
        "q_proj": int(reader.fields[f"{prefix}.head_count"].contents()),
        "k_proj": int(reader.fields[f"{prefix}.head_count_kv"].contents()),
    }


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter, *, name: str) -> None:
    for field in reader.fields.values():
        # The writer makes these itself.
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        content = name if field.name == "general.name" else field.contents()
        writer.add_key_value(field.name, content, kind, sub_type=inner)


def _text(reader: gguf.GGUFReader, key: str) -> str:
    return str(reader.fields[key].contents())
