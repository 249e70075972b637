"""A BERT encoder with mean pooling as an ONNX graph, straight from its safetensors file.

Exact: weights stay float32. Format: docs/formats/onnx-embedding-v1.md.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from gateway.models import safetensors, wordpiece
from gateway.models.assets import EMBEDDING_FORMAT as FORMAT
from gateway.models.assets import TOKENIZER
from gateway.models.errors import ModelError, ModelUnreadable, ModelUnsupported
from gateway.models.importing import ImportedModel, identifier
from gateway.models.onnx_writer import OnnxWriter

WEIGHTS = "model.safetensors"
FILE_LIMIT_BYTES = 64 << 20
# In the front matter of a model's card.
_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license: *([\w.-]{1,64})\n")


class Shape(msgspec.Struct, frozen=True):
    """What the graph is built by, of the model's `config.json`."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    vocab_size: int
    layer_norm_eps: float
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


class Sentences(msgspec.Struct, frozen=True):
    """`sentence_bert_config.json`: most tokens that the model was meant for."""

    max_seq_length: int


def import_bert(directory: Path, *, model_id: str | None = None) -> ImportedModel:
    """Read a directory of a sentence-transformers model, whole and in memory.

    Raises:
        ModelUnreadable: A file is missing or cannot be read.
        ModelUnsupported: It is no BERT with mean pooling.
        ModelError: A file is damaged.
    """
    shape = _decoded(directory / "config.json", Shape)
    _require_supported(shape, directory)
    limit = _decoded(directory / "sentence_bert_config.json", Sentences).max_seq_length
    context = min(limit, shape.max_position_embeddings)
    content, tensors = safetensors.read(directory / WEIGHTS)
    writer = _Builder(shape, tensors, context).written()
    name = directory.name
    config = {
        "format": FORMAT,
        "architecture": "bert",
        "name": name,
        "layers": shape.num_hidden_layers,
        "heads": shape.num_attention_heads,
        "hidden": shape.hidden_size,
        "dimensions": shape.hidden_size,
        "context_length": context,
        "vocab_size": shape.vocab_size,
        "quantisation": "F32",
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "licence": _licence(directory / "README.md"),
    }
    tokenizer = wordpiece.prepared(_read(directory / TOKENIZER), vocab_size=shape.vocab_size)
    graph = writer.model("embedding", outputs=["vector"])
    return ImportedModel(
        model_id or identifier(name),
        config,
        graph.SerializeToString(deterministic=True),
        writer.weights,
        {TOKENIZER: tokenizer},
    )


class _Builder:
    def __init__(self, shape: Shape, tensors: Mapping[str, NDArray[Any]], context: int) -> None:
        self._shape = shape
        self._tensors = tensors
        self._context = context
        self._writer = OnnxWriter()

    def written(self) -> OnnxWriter:
        writer, shape = self._writer, self._shape
        writer.input("input_ids", TensorProto.INT32, [1, "S"])
        writer.output("vector", TensorProto.FLOAT, [1, shape.hidden_size])
        stream = self._embedded()
        for layer in range(shape.num_hidden_layers):
            stream = self._layer(layer, stream)
        axis = writer.constant("tokens", np.array([1], np.int64))
        mean = writer.node("ReduceMean", [stream, axis], ["mean"], keepdims=0)
        writer.node("LpNormalization", [mean], ["vector"], axis=1, p=2)
        return writer

    def _embedded(self) -> str:
        hidden, vocab = self._shape.hidden_size, self._shape.vocab_size
        positions = self._tensor(
            "embeddings.position_embeddings.weight", self._shape.max_position_embeddings, hidden
        )
        segments = self._tensor("embeddings.token_type_embeddings.weight", None, hidden)
        table = positions[: self._context] + segments[0]
        words = self._tensor("embeddings.word_embeddings.weight", vocab, hidden)
        inputs = [self._writer.weight("words", words), self._writer.weight("positions", table)]
        return self._writer.contrib(
            "EmbedLayerNormalization",
            ["input_ids", "", *inputs, "", *self._gain("embeddings.LayerNorm", "embedded")],
            ["embedded", "embedded/mask"],
            epsilon=self._shape.layer_norm_eps,
        )

    def _layer(self, number: int, stream: str) -> str:
        there, hidden = f"encoder.layer.{number}", self._shape.hidden_size
        attended = self._attention(f"{there}.attention.self", number, stream)
        change = self._linear(f"{there}.attention.output.dense", f"{number}.attended", attended,
                              hidden, hidden)  # fmt: skip
        norm = self._gain(f"{there}.attention.output.LayerNorm", f"{number}.attended_norm")
        stream = self._added(stream, change, norm, f"{number}.middle")
        wide = self._shape.intermediate_size
        up = self._linear(f"{there}.intermediate.dense", f"{number}.up", stream, wide, hidden)
        curved = self._writer.contrib("Gelu", [up], [f"{number}.curved"])
        change = self._linear(f"{there}.output.dense", f"{number}.down", curved, hidden, wide)
        norm = self._gain(f"{there}.output.LayerNorm", f"{number}.down_norm")
        return self._added(stream, change, norm, f"{number}.out")

    def _attention(self, there: str, number: int, stream: str) -> str:
        """Attend in both directions; queries, keys and values are one product."""
        hidden = self._shape.hidden_size
        parts = [f"{there}.{part}" for part in ("query", "key", "value")]
        matrices = [self._tensor(f"{part}.weight", hidden, hidden).T for part in parts]
        biases = [self._tensor(f"{part}.bias", hidden) for part in parts]
        weights = [
            self._writer.weight(f"{number}.qkv", np.concatenate(matrices, axis=1)),
            self._writer.weight(f"{number}.qkv_bias", np.concatenate(biases)),
        ]
        return self._writer.contrib(
            "Attention",
            [stream, *weights],
            [f"{number}.heads"],
            num_heads=self._shape.num_attention_heads,
            unidirectional=0,
        )

    def _added(self, stream: str, change: str, norm: list[str], out: str) -> str:
        return self._writer.contrib(
            "SkipLayerNormalization",
            [stream, change, *norm],
            [out],
            epsilon=self._shape.layer_norm_eps,
        )

    def _linear(self, there: str, name: str, x: str, rows: int, columns: int) -> str:
        matrix = self._tensor(f"{there}.weight", rows, columns)
        bias = self._writer.weight(f"{name}_bias", self._tensor(f"{there}.bias", rows))
        product = self._writer.linear(x, name, matrix, f"{name}/product")
        return self._writer.node("Add", [product, bias], [f"{name}/out"])

    def _gain(self, there: str, name: str) -> list[str]:
        hidden = self._shape.hidden_size
        gain = "embedded.gain" if name == "embedded" else name
        bias = "embedded.bias" if name == "embedded" else f"{name}_bias"
        return [
            self._writer.weight(gain, self._tensor(f"{there}.weight", hidden)),
            self._writer.weight(bias, self._tensor(f"{there}.bias", hidden)),
        ]

    def _tensor(self, name: str, *sizes: int | None) -> NDArray[np.float32]:
        """Return a tensor of a known shape; None for a side that may have any length."""
        # Some files carry the name of the class that held the encoder.
        tensor = self._tensors.get(name, self._tensors.get(f"bert.{name}"))
        if tensor is None:
            raise ModelError(f"the tensor {name!r} is missing.")
        fits = len(sizes) == tensor.ndim and all(
            wanted is None or wanted == side
            for wanted, side in zip(sizes, tensor.shape, strict=True)
        )
        if not fits or not tensor.size or not np.isfinite(tensor).all():
            raise ModelError(f"the tensor {name!r} is not of the shape that config.json says.")
        return tensor.astype(np.float32)


def _require_supported(shape: Shape, directory: Path) -> None:
    if shape.model_type != "bert":
        raise ModelUnsupported(f"the architecture {shape.model_type[:64]!r} is not computed here.")
    if shape.hidden_act != "gelu" or shape.position_embedding_type != "absolute":
        raise ModelUnsupported("a BERT of another activation or position embedding than usual.")
    sizes = (shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads)
    if min(sizes) < 1 or shape.hidden_size % shape.num_attention_heads:
        raise ModelError("config.json states sizes that cannot be.")
    pooling = _decoded(directory / "1_Pooling" / "config.json", dict[str, Any])
    modes = {name for name, value in pooling.items() if name.startswith("pooling_mode") and value}
    if modes != {"pooling_mode_mean_tokens"}:
        raise ModelUnsupported("a pooling other than the mean over the tokens.")


T = Any


def _decoded(path: Path, kind: T) -> T:
    try:
        return msgspec.json.decode(_read(path), type=kind)
    except msgspec.DecodeError as error:
        raise ModelError(f"{path.name} is not what it should be: {error}.") from None


def _licence(card: Path) -> str | None:
    try:
        found = _LICENCE.match(card.read_text(encoding="utf-8", errors="replace")[:4096])
    except OSError:
        return None
    return found[1] if found else None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise ModelError(f"{path.name} is too long.")
        return path.read_bytes()
    except OSError as error:
        raise ModelUnreadable(f"{path} cannot be read: {error.strerror}.") from None
