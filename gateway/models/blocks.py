"""Quantised blocks: ggml's layouts taken apart into what ONNX Runtime's kernels multiply by.

No weight changes its value here. Every block of 32 weights is w = scale · (code - zero) + offset
with the codes, scales and offsets of the file; only their packing differs. In K-quants products
of scales are rounded to float32, and `error` tells by how much. Sources: ggml's `block_q4_0`,
`block_q4_1`, `block_q8_0`; ONNX Runtime's com.microsoft `MatMulNBits`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from gateway.models import kquants
from gateway.models.errors import ModelError, ModelUnsupported
from gateway.models.gguf import Tensor

BLOCK = 32
K_QUANTS = ("Q4_K", "Q5_K", "Q6_K")
QUANTISED = ("Q4_0", "Q4_1", "Q8_0", *K_QUANTS)
# Kept bit by bit; the other types are converted, and `error` measures it.
EXACT = ("F32", "Q4_0", "Q4_1", "Q8_0")
# bfloat16 is the upper half of float32; NumPy has no such type.
PLAIN: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# What MatMulNBits subtracts when it is given no zero points.
ZERO = {4: 8, 8: 128}
BYTE = 8


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of N rows and K columns in blocks of `size` along a row; B = K / size.

    bits: 4 or 8. codes: uint8 [N, B, size], below 2**bits; size is 32, and 16 for Q6_K. scales:
    float32 [N, B]. offsets: float32 [N, B], or None where they are all zero by the format.
    """

    bits: int
    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32] | None

    @property
    def size(self) -> int:
        """Weights of one block."""
        return int(self.codes.shape[2])

    @property
    def layout(self) -> tuple[int, int, bool]:
        """What matrices must share to be stacked."""
        return self.bits, self.size, self.offsets is None

    @property
    def zero(self) -> int:
        """The code that stands for zero."""
        return ZERO[self.bits]

    @property
    def packed(self) -> NDArray[np.uint8]:
        """Codes as MatMulNBits stores them: uint8 [N, B, size·bits/8], the earlier code lower."""
        if self.bits == BYTE:
            return self.codes
        return self.codes[..., 0::2] | (self.codes[..., 1::2] << np.uint8(4))


def unpack(tensor: Tensor) -> Blocks:
    """Take a quantised matrix apart.

    Raises:
        ModelUnsupported: Its type is not one of `QUANTISED`.
        ModelError: It is not a matrix.
    """
    rows, columns = _matrix(tensor)
    if tensor.kind not in QUANTISED:
        raise ModelUnsupported(
            f"tensor {tensor.name} is {tensor.kind}; supported are {', '.join(QUANTISED)}, "
            f"{', '.join(PLAIN)}."
        )
    if tensor.kind in K_QUANTS:
        raw = tensor.data.reshape(rows, columns // kquants.SUPER_BLOCK, -1)
        return _k_quant(tensor.kind, raw)
    readers = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q8_0": _q8_0}
    return readers[tensor.kind](tensor.data.reshape(rows, columns // BLOCK, -1))


def error(tensor: Tensor) -> float:
    """Return how far the weights as they are computed with stray from the file's own.

    The root of the mean square difference over that of the weights; the file's own values come
    from the `gguf` package's reference.
    """
    kind = GGMLQuantizationType[tensor.kind]
    reference = dequantize(tensor.data.reshape(tensor.shape[0], -1), kind).astype(np.float64)
    ours = plain(tensor) if tensor.kind in PLAIN else values(unpack(tensor))
    size = float(np.square(reference).mean())
    strayed = float(np.square(ours.reshape(reference.shape) - reference).mean())
    return float(np.sqrt(strayed / size)) if size else 0.0


def values(blocks: Blocks) -> NDArray[np.float32]:
    """Multiply out: float32 [N, K]."""
    codes = blocks.codes.astype(np.float32) - np.float32(blocks.zero)
    whole = codes * blocks.scales[..., None]
    if blocks.offsets is not None:
        whole += blocks.offsets[..., None]
    return whole.reshape(len(whole), -1)


def plain(tensor: Tensor) -> NDArray[np.float32]:
    """Return an unquantised tensor as float32, in its own shape.

    Raises:
        ModelUnsupported: It is quantised.
    """
    if tensor.kind not in PLAIN:
        raise ModelUnsupported(f"tensor {tensor.name} is {tensor.kind}; {', '.join(PLAIN)} are.")
    stored = tensor.data.view(PLAIN[tensor.kind])
    if tensor.kind == "BF16":
        stored = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32).reshape(tensor.shape)


def stacked(parts: list[Blocks]) -> Blocks:
    """Put matrices of equal width and layout below one another."""
    offsets = [p.offsets for p in parts if p.offsets is not None]
    return Blocks(
        parts[0].bits,
        np.concatenate([p.codes for p in parts]),
        np.concatenate([p.scales for p in parts]),
        np.concatenate(offsets) if offsets else None,
    )


def _matrix(tensor: Tensor) -> tuple[int, int]:
    if len(tensor.shape) != 2:  # noqa: PLR2004 - a matrix has two dimensions
        raise ModelError(f"tensor {tensor.name} has shape {list(tensor.shape)}, not a matrix.")
    return tensor.shape[0], tensor.shape[1]


def _k_quant(kind: str, raw: NDArray[np.uint8]) -> Blocks:
    if kind == "Q4_K":
        return Blocks(4, *kquants.q4_k(raw))
    if kind == "Q5_K":
        return Blocks(8, *kquants.q5_k(raw))
    return Blocks(8, *kquants.q6_k(raw))


def _q4_0(raw: NDArray[np.uint8]) -> Blocks:
    """18 bytes: float16 scale, 16 bytes of codes. w = scale · (code - 8)."""
    return Blocks(4, _nibbles(raw[..., 2:]), _halves(raw[..., 0:2]), None)


def _q4_1(raw: NDArray[np.uint8]) -> Blocks:
    """20 bytes: float16 scale, float16 minimum, 16 bytes of codes. w = scale · code + minimum."""
    scales, minima = _halves(raw[..., 0:2]), _halves(raw[..., 2:4])
    return Blocks(4, _nibbles(raw[..., 4:]), scales, minima + ZERO[4] * scales)


def _q8_0(raw: NDArray[np.uint8]) -> Blocks:
    """34 bytes: float16 scale, 32 signed codes. w = scale · code."""
    # Flipping the sign bit adds 128 modulo 256: signed codes become unsigned 0…255.
    return Blocks(8, raw[..., 2:] ^ np.uint8(0x80), _halves(raw[..., 0:2]), None)


def _nibbles(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The low halves of the 16 bytes are weights 0…15 of a block, the high halves 16…31."""
    return np.concatenate([raw & np.uint8(15), raw >> np.uint8(4)], axis=-1)


def _halves(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = np.ascontiguousarray(raw).view(PLAIN["F16"])
    return values[..., 0].astype(np.float32)
