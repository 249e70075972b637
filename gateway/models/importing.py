"""From a GGUF file to everything that is sealed, in memory: no weight touches the disk again."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models import architecture, gguf, onnx_graph, vocabulary
from gateway.models.errors import ModelError
from gateway.models.gguf import GgufFile
from gateway.models.onnx_graph import Graphs

FORMAT = "onnx-gqa-v1"
TOKENIZER = "tokenizer.json"
TEMPLATE = "chat_template.jinja"

# Also what a file name and a URL path can carry.
_ID_RUBBISH = re.compile(r"[^a-z0-9.]+")
ID_LIMIT = 64


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A model ready to be sealed: what the engine, the tokeniser and the chat template need.

    config: plain numbers and strings (docs/formats/onnx-gqa-v1.md). graph: the ONNX models that
    `config["graphs"]` finds in it. tensors: their weights by name. assets: text files by name.
    """

    model_id: str
    config: dict[str, Any]
    graph: bytes
    tensors: dict[str, NDArray[Any]]
    assets: dict[str, bytes]


def import_gguf(path: Path, *, model_id: str | None = None) -> ImportedModel:
    """Read a GGUF model whole. Without `model_id` its name is made from the file's own.

    Raises:
        ModelUnsupported: The architecture, a tensor type or the tokeniser is not supported.
        ModelError: The file is damaged or cut short.
    """
    with gguf.opened(path) as file:
        shape = architecture.read(file)
        vocab = vocabulary.read(file.metadata, size=shape.vocab_size)
        graphs = onnx_graph.build(file, shape)
        name = str(file.metadata.get("general.name") or path.stem)
        config = {
            "format": FORMAT,
            "architecture": shape.name,
            "name": name,
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
            "source_sha256": hashlib.sha256(file.content).hexdigest(),
            "licence": _text(file.metadata, "general.license"),
        }
        assets = {
            TOKENIZER: vocab.tokenizer_json,
            TEMPLATE: _chat_template(file.metadata).encode(),
        }
        return ImportedModel(
            model_id or _identifier(path.stem),
            config,
            graphs.prompt + graphs.step,
            dict(graphs.tensors),
            assets,
        )


def _places(graphs: Graphs) -> dict[str, Any]:
    """Say where each graph lies in the two joined, and which tensors it does not declare."""
    prompt, step = len(graphs.prompt), len(graphs.step)
    return {
        "prompt": {"offset": 0, "length": prompt, "unused": graphs.prompt_unused},
        "step": {"offset": prompt, "length": step, "unused": []},
    }


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


def _identifier(stem: str) -> str:
    identifier = _ID_RUBBISH.sub("-", stem.lower()).strip("-.")[:ID_LIMIT]
    return identifier or "model"
