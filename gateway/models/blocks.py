"""Quantised blocks: ggml's layouts taken apart into what ONNX Runtime's kernels multiply by.

No weight changes its value here. Every block of 32 weights is w = scale · (code - zero) + offset
with the codes, scales and offsets of the file; only their packing differs. Sources: ggml's
`block_q4_0`, `block_q4_1`, `block_q8_0`; ONNX Runtime's com.microsoft `MatMulNBits`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.models.errors import ModelError, ModelUnsupported
from gateway.models.gguf import Tensor

BLOCK = 32
QUANTISED = ("Q4_0", "Q4_1", "Q8_0")
PLAIN: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
# What MatMulNBits subtracts when it is given no zero points.
ZERO = {4: 8, 8: 128}
BYTE = 8


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of N rows and K columns in blocks of 32 along a row; B = K / 32.

    bits: 4 or 8. codes: uint8 [N, B, 32], below 2**bits. scales: float32 [N, B].
    offsets: float32 [N, B], or None where they are all zero by the format.
    """

    bits: int
    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32] | None

    @property
    def zero(self) -> int:
        """The code that stands for zero."""
        return ZERO[self.bits]

    @property
    def packed(self) -> NDArray[np.uint8]:
        """Codes as MatMulNBits stores them: uint8 [N, B, 4·bits], the earlier code lower."""
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
    readers = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q8_0": _q8_0}
    if tensor.kind not in readers:
        raise ModelUnsupported(
            f"tensor {tensor.name} is {tensor.kind}; supported are {', '.join(QUANTISED)}, F16 "
            "and F32."
        )
    return readers[tensor.kind](tensor.data.reshape(rows, columns // BLOCK, -1))


def plain(tensor: Tensor) -> NDArray[np.float32]:
    """Return an unquantised tensor as float32, in its own shape.

    Raises:
        ModelUnsupported: It is quantised.
    """
    if tensor.kind not in PLAIN:
        raise ModelUnsupported(f"tensor {tensor.name} is {tensor.kind}; F32 or F16 is needed.")
    values = tensor.data.view(PLAIN[tensor.kind]).astype(np.float32)
    return values.reshape(tensor.shape)


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
