"""A Llama as an ONNX graph, straight from its GGUF tensors: no framework, no re-quantising.

The rotary embedding is the interleaved kind where GGUF stores query and key rows permuted for it
(Llama, Mistral), and the one by halves elsewhere (Qwen). Keys and values live in buffers of the
caller that the graph extends in place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from gateway.models.architecture import Architecture
from gateway.models.blocks import PLAIN, Blocks, plain, stacked, unpack
from gateway.models.gguf import GgufFile
from gateway.models.onnx_writer import OnnxWriter, with_float_activations

Matrix = Blocks | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Graphs:
    """Two ONNX models over the same weights, serialised; no weight is inside them.

    prompt: extends keys and values by many positions. step: does so too and returns the logits
    after the last. tensors: the weights by name. prompt_unused: those that only `step` needs.
    """

    prompt: bytes
    step: bytes
    tensors: dict[str, NDArray[np.generic]]
    prompt_unused: list[str]


def build(file: GgufFile, architecture: Architecture) -> Graphs:
    """Write the graphs (docs/formats/onnx-gqa-v1.md tells their inputs and outputs).

    Raises:
        ModelUnsupported: A tensor has a type that is not computed here.
    """
    writer = _Builder(file, architecture).written()
    caches = [f"present_{p}_{n}" for n in range(architecture.layers) for p in ("key", "value")]
    prompt = with_float_activations(writer.model("prompt", outputs=caches))
    step = writer.model("step", outputs=["logits", *caches])
    needed = {tensor.name for tensor in prompt.graph.initializer}
    return Graphs(
        prompt.SerializeToString(deterministic=True),
        step.SerializeToString(deterministic=True),
        writer.weights,
        [name for name in writer.weights if name not in needed],
    )


class _Builder:
    def __init__(self, file: GgufFile, architecture: Architecture) -> None:
        self._tensors = file.tensors
        self._a = architecture
        self._writer = OnnxWriter()

    def written(self) -> OnnxWriter:
        writer = self._writer
        writer.input("input_ids", TensorProto.INT64, ["B", "S"])
        writer.input("seqlens_k", TensorProto.INT32, ["B"])
        writer.input("total", TensorProto.INT32, [])
        writer.output("logits", TensorProto.FLOAT, ["B", 1, self._a.vocab_size])
        self._rope()
        embedding = self._matrix("token_embd")
        residual, change = self._embed(embedding), ""
        for layer in range(self._a.layers):
            residual, change = self._layer(f"blk.{layer}", layer, residual, change)
        normed, _ = self._norm(residual, change, "output_norm")
        position = writer.constant("last", np.array([-1], np.int64))
        last = writer.node("Gather", [normed, position], ["final"], axis=1)
        tied = "output.weight" not in self._tensors
        writer.linear(
            last,
            "token_embd" if tied else "output",
            embedding if tied else self._matrix("output"),
            "logits",
        )
        return writer

    def _rope(self) -> None:
        """Tabulate cosine and sine of every position: float32 [context, head size / 2]."""
        a = self._a
        exponents = np.arange(0, a.head_dim, 2, dtype=np.float64) / a.head_dim
        frequencies = a.rope_base**-exponents
        if "rope_freqs.weight" in self._tensors:
            frequencies /= plain(self._tensors["rope_freqs.weight"])
        positions = np.arange(a.context_length, dtype=np.float64) / a.rope_stretch
        angles = positions[:, None] * frequencies
        self._writer.weight("rope/cos", np.cos(angles).astype(np.float32))
        self._writer.weight("rope/sin", np.sin(angles).astype(np.float32))

    def _embed(self, table: Matrix) -> str:
        """Look rows up, as exactly as the file holds them: [B, S, hidden]."""
        writer = self._writer
        if not isinstance(table, Blocks):
            # The head multiplies by the transpose; a table that is tied is stored both ways.
            rows = writer.weight("token_embd/rows", table)
            return writer.node("Gather", [rows, "input_ids"], ["embedded"])
        # 8-bit codes are the head's own tensor; packed nibbles cannot be gathered unopened.
        suffix = "codes" if table.bits == 8 else "unpacked"  # noqa: PLR2004
        codes = writer.weight(f"token_embd/{suffix}", table.codes)
        scales = writer.weight("token_embd/scales", table.scales)
        axis = writer.constant("inner", np.array([-1], np.int64))
        zero = writer.constant("zero", np.array(table.zero, np.float32))
        width = writer.constant("hidden", np.array([0, 0, self._a.hidden], np.int64))
        writer.node("Gather", [codes, "input_ids"], ["embedded/codes"])
        writer.node("Cast", ["embedded/codes"], ["embedded/whole"], to=TensorProto.FLOAT)
        writer.node("Sub", ["embedded/whole", zero], ["embedded/centred"])
        writer.node("Gather", [scales, "input_ids"], ["embedded/row_scales"])
        writer.node("Unsqueeze", ["embedded/row_scales", axis], ["embedded/scales"])
        value = writer.node("Mul", ["embedded/centred", "embedded/scales"], ["embedded/scaled"])
        if table.offsets is not None:
            offsets = writer.weight("token_embd/row_offsets", table.offsets[..., None])
            writer.node("Gather", [offsets, "input_ids"], ["embedded/offsets"])
            value = writer.node("Add", [value, "embedded/offsets"], ["embedded/shifted"])
        return writer.node("Reshape", [value, width], ["embedded"])

    def _layer(self, name: str, index: int, residual: str, change: str) -> tuple[str, str]:
        """Add one layer; return the stream before its last addition, and that addition."""
        normed, residual = self._norm(residual, change, f"{name}.attn_norm")
        attended = self._attention(name, index, normed)
        change = self._linear(attended, [f"{name}.attn_output"], f"{name}.attn_output")
        normed, residual = self._norm(residual, change, f"{name}.ffn_norm")
        return residual, self._feed_forward(name, normed)

    def _norm(self, residual: str, change: str, name: str) -> tuple[str, str]:
        """Add `change` to the stream and normalise it; return the normalised and the sum."""
        writer, epsilon = self._writer, self._a.epsilon
        gain = self._gain(name)
        if not change:
            out = writer.node(
                "SimplifiedLayerNormalization", [residual, gain], [name + "/out"],
                axis=-1, epsilon=epsilon,
            )  # fmt: skip
            return out, residual
        stream = f"{name}/sum"
        writer.contrib(
            "SkipSimplifiedLayerNormalization",
            [residual, change, gain],
            [f"{name}/out", "", "", stream],
            epsilon=epsilon,
        )
        return f"{name}/out", stream

    def _attention(self, name: str, index: int, x: str) -> str:
        """Grouped-query attention over the caller's buffers; q, k and v packed in one row."""
        writer, a = self._writer, self._a
        cache: list[int | str] = ["B", a.kv_heads, "capacity", a.head_dim]
        for part in ("key", "value"):
            writer.input(f"past_{part}_{index}", TensorProto.FLOAT, cache)
            writer.output(f"present_{part}_{index}", TensorProto.FLOAT, cache)
        packed = self._linear(x, [f"{name}.attn_{part}" for part in "qkv"], f"{name}.attn_qkv")
        if a.biased:
            packed = self._biased(packed, [f"{name}.attn_{part}" for part in "qkv"])
        past = [f"past_key_{index}", f"past_value_{index}"]
        present = [f"present_key_{index}", f"present_value_{index}"]
        inputs = self._heads_normed(packed, name) if a.head_norms else [packed, "", ""]
        return writer.contrib(
            "GroupQueryAttention",
            [*inputs, *past, "seqlens_k", "total", "rope/cos", "rope/sin"],
            [f"{name}.attended", *present],
            num_heads=a.heads,
            kv_num_heads=a.kv_heads,
            do_rotary=1,
            rotary_interleaved=int(a.interleaved),
            # -1 is the operator's word for no window.
            local_window_size=a.window or -1,
        )

    def _heads_normed(self, packed: str, name: str) -> list[str]:
        """Part queries, keys and values, the first two normalised head by head.

        The operator has inputs for this, which its kernel for processors does not take.
        """
        writer, a = self._writer, self._a
        rows = [f"{name}.{part}" for part in "qkv"]
        widths = [count * a.head_dim for count in (a.heads, a.kv_heads, a.kv_heads)]
        writer.node("Split", [packed, writer.constant("qkv", np.array(widths))], rows, axis=-1)
        for part, width in zip("qk", widths, strict=False):
            row, count = f"{name}.{part}", width // a.head_dim
            apart = writer.constant(f"heads{count}", np.array([0, 0, count, a.head_dim], np.int64))
            whole = writer.constant(f"row{width}", np.array([0, 0, width], np.int64))
            writer.node("Reshape", [row, apart], [f"{row}/heads"])
            writer.node(
                "SimplifiedLayerNormalization",
                [f"{row}/heads", self._gain(f"{name}.attn_{part}_norm")],
                [f"{row}/normed"],
                axis=-1,
                epsilon=a.epsilon,
            )
            writer.node("Reshape", [f"{row}/normed", whole], [f"{row}/row"])
        return [f"{rows[0]}/row", f"{rows[1]}/row", rows[2]]

    def _biased(self, x: str, names: list[str]) -> str:
        biases = np.concatenate([plain(self._tensors[f"{name}.bias"]) for name in names])
        bias = self._writer.weight(f"{names[0]}.biases", biases)
        return self._writer.node("Add", [x, bias], [f"{x}/biased"])

    def _gain(self, name: str) -> str:
        return self._writer.weight(name, plain(self._tensors[f"{name}.weight"]))

    def _feed_forward(self, name: str, x: str) -> str:
        writer = self._writer
        both = self._linear(x, [f"{name}.ffn_gate", f"{name}.ffn_up"], f"{name}.ffn_gate_up")
        gate, up = f"{name}.gate", f"{name}.up"
        writer.node("Split", [both], [gate, up], axis=-1, num_outputs=2)
        # QuickGelu with alpha 1 is SiLU, x · sigmoid(x), in one pass.
        silu = writer.contrib("QuickGelu", [gate], [f"{name}.silu"], alpha=1.0)
        gated = writer.node("Mul", [silu, up], [f"{name}.gated"])
        return self._linear(gated, [f"{name}.ffn_down"], f"{name}.ffn_down")

    def _linear(self, x: str, names: list[str], out: str) -> str:
        """Multiply by several matrices, their results side by side in one row.

        Matrices of one layout are stacked and multiplied by at once: fewer nodes, same numbers.
        """
        writer, matrices = self._writer, [self._matrix(name) for name in names]
        whole = _stacked(matrices)
        if whole is not None:
            return writer.linear(x, out, whole, f"{out}/out")
        parts = [
            writer.linear(x, name, matrix, f"{name}/out")
            for name, matrix in zip(names, matrices, strict=True)
        ]
        return writer.node("Concat", parts, [f"{out}/out"], axis=-1)

    def _matrix(self, name: str) -> Matrix:
        tensor = self._tensors[f"{name}.weight"]
        if tensor.kind in PLAIN:
            return plain(tensor)
        return unpack(tensor)


def _stacked(matrices: list[Matrix]) -> Matrix | None:
    """Stack matrices of one layout; None where the layouts differ."""
    blocks = [m for m in matrices if isinstance(m, Blocks)]
    if not blocks:
        return np.concatenate([m for m in matrices if not isinstance(m, Blocks)])
    layouts = {b.layout for b in blocks}
    if len(blocks) < len(matrices) or len(layouts) > 1:
        return None
    return stacked(blocks)
