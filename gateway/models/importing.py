"""From a GGUF file to everything that is sealed, in memory: no weight touches the disk again."""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models import architecture, blocks, gguf, onnx_graph, vocabulary
from gateway.models.architecture import STATE_BYTES
from gateway.models.assets import TEMPLATE, TOKENIZER
from gateway.models.blocks import EXACT
from gateway.models.errors import ModelError
from gateway.models.gguf import GgufFile, Tensor
from gateway.models.onnx_graph import Graphs

FORMAT = "onnx-gqa-v1"

# Also what a file name and a URL path can carry.
_ID_RUBBISH = re.compile(r"[^a-z0-9.]+")
ID_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one tensor type of the file is computed with.

    kind: ggml's name. tensors: how many have it. error: the largest over them of the root mean
    square by which the weights stray, in proportion to the weights; 0 where they are kept as
    they are.
    """

    kind: str
    tensors: int
    error: float


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model ready to be sealed: what the engine, the tokeniser and the chat template need.

    config: plain numbers and strings (docs/formats/onnx-gqa-v1.md). graph: the ONNX models that
    `config["graphs"]` finds in it. tensors: their weights by name. assets: text files by name.
    conversions: what became of each type in the file.
    """

    model_id: str
    config: dict[str, Any]
    graph: bytes
    tensors: dict[str, NDArray[Any]]
    assets: dict[str, bytes]
    conversions: tuple[Conversion, ...] = ()

    def state_bytes(self, tokens: int) -> int:
        """Return what keys and values of so many tokens take in memory: none to embed."""
        if "kv_heads" not in self.config:
            return 0
        sizes = (int(self.config[key]) for key in ("layers", "kv_heads", "head_dim"))
        return 2 * STATE_BYTES * math.prod(sizes) * tokens


def import_gguf(path: Path, *, model_id: str | None = None) -> ImportedModel:
    """Read a GGUF model whole. Without `model_id` its name is made from the file's own.

    Raises:
        ModelUnsupported: The architecture, a tensor type or the tokeniser is not supported.
        ModelError: The file is damaged or cut short.
    """
    with gguf.opened(path) as file:
        return imported(file, model_id=model_id or identifier(path.stem))


def imported(file: GgufFile, *, model_id: str) -> ImportedModel:
    """Turn an open file, or one that was made in memory, into what is sealed.

    Raises:
        ModelUnsupported, ModelError: As `import_gguf`.
    """
    shape = architecture.read(file)
    vocab = vocabulary.read(file.metadata, size=shape.vocab_size)
    graphs = onnx_graph.build(file, shape)
    config = {
        "format": FORMAT,
        "architecture": shape.name,
        "name": str(file.metadata.get("general.name") or model_id),
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden": shape.hidden,
        "context_length": shape.context_length,
        "vocab_size": shape.vocab_size,
        "eos": list(vocab.eos),
        "bos": vocab.bos,
        "quantisation": _quantisation(file),
        "graphs": _places(graphs),
        "batches": True,
        "source_sha256": hashlib.sha256(file.content).hexdigest(),
        "licence": _text(file.metadata, "general.license"),
    }
    assets = {TOKENIZER: vocab.tokenizer_json, TEMPLATE: _chat_template(file.metadata).encode()}
    return ImportedModel(
        model_id,
        config,
        graphs.prompt + graphs.step,
        dict(graphs.tensors),
        assets,
        _conversions(file),
    )


def _places(graphs: Graphs) -> dict[str, Any]:
    """Say where each graph lies in the two joined, and which tensors it does not declare."""
    prompt, step = len(graphs.prompt), len(graphs.step)
    return {
        "prompt": {"offset": 0, "length": prompt, "unused": graphs.prompt_unused},
        "step": {"offset": prompt, "length": step, "unused": []},
    }


def _conversions(file: GgufFile) -> tuple[Conversion, ...]:
    """Measure each type that is stored otherwise than it is computed with."""
    kinds: dict[str, list[Tensor]] = {}
    for tensor in file.tensors.values():
        kinds.setdefault(tensor.kind, []).append(tensor)
    return tuple(
        Conversion(
            kind,
            len(tensors),
            0.0 if kind in EXACT else max(blocks.error(tensor) for tensor in tensors),
        )
        for kind, tensors in sorted(kinds.items())
    )


def _quantisation(file: GgufFile) -> str:
    """Name the type that most of the weights have."""
    sizes: dict[str, int] = {}
    for tensor in file.tensors.values():
        sizes[tensor.kind] = sizes.get(tensor.kind, 0) + int(np.prod(tensor.shape))
    return max(sizes, key=lambda kind: sizes[kind])


def _chat_template(metadata: Mapping[str, Any]) -> str:
    template = _text(metadata, "tokenizer.chat_template")
    if template is None:
        raise ModelError("it has no chat template (tokenizer.chat_template).")
    return template


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) and value else None


def identifier(stem: str) -> str:
    """Make a model's id of its file's name."""
    return _ID_RUBBISH.sub("-", stem.lower()).strip("-.")[:ID_LIMIT] or "model"
