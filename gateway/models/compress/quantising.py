"""Four bits a weight, with the error of each column made up for by the columns after it.

GPTQ (Frantar et al., ICLR 2023) onto ggml's Q4_1: blocks of 32 along a row, w = scale · code +
minimum, both float16. A block's scale and minimum are fixed when its first column is reached, by
the weights as compensation has left them; of a few candidates that clip its ends the one with the
least square error is taken. NumPy alone: a Hessian goes in, ggml's bytes come out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.models.blocks import BLOCK
from gateway.models.errors import CompressionImpossible
from gateway.models.gguf import Tensor

# What is added to the Hessian's diagonal, as a share of its mean: GPTQ's own default.
DAMPING = 0.01
TOP = 15
# How much of a block's range its codes span; the rest is clipped.
SPANS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)


def rounded(name: str, weights: NDArray[np.float32]) -> Tensor:
    """Quantise each weight by itself, to the nearest code. weights: [N, K], K a multiple of 32."""
    _require_blocks(name, weights)
    rows = weights.reshape(len(weights), -1, BLOCK)
    scales, minima = _fitted(rows, np.ones(BLOCK))
    return _tensor(name, _codes(rows, scales[..., None], minima[..., None]), scales, minima)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the inputs of a matrix are like.

    upper: float64 [K, K], the upper Cholesky factor of the inverse of their damped Hessian.
    silent: bool [K], the inputs that are always zero.
    """

    upper: NDArray[np.float64]
    silent: NDArray[np.bool_]


def inputs(name: str, hessian: NDArray[np.float64]) -> Inputs:
    """Prepare for `compensated`, once for all matrices that share an input.

    hessian: [K, K], the sum of x·xᵀ over inputs x.

    Raises:
        CompressionImpossible: The inputs were not finite.
    """
    damped = hessian.astype(np.float64)
    # A view: what is set here is set in the matrix.
    diagonal = np.einsum("ii->i", damped)
    silent = diagonal == 0
    diagonal[silent] = 1.0
    diagonal += DAMPING * diagonal.mean()
    try:
        inverse = np.linalg.inv(damped)
        # NumPy's factor L has L·Lᵀ = H⁻¹, and GPTQ's U has Uᵀ·U = H⁻¹.
        upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    except np.linalg.LinAlgError:
        upper = np.full_like(damped, np.nan)
    if not np.isfinite(upper).all():
        raise CompressionImpossible(
            f"The inputs of {name} cannot be calibrated with: they are not finite."
        )
    return Inputs(np.ascontiguousarray(upper), silent)


def compensated(name: str, weights: NDArray[np.float32], given: Inputs) -> Tensor:
    """Quantise so that the product with such inputs changes least. weights: [N, K].

    Raises:
        CompressionImpossible: K fills no blocks.
    """
    _require_blocks(name, weights)
    # One column a row here: the work goes column by column.
    work = np.ascontiguousarray(weights.T, np.float64)
    # An input that is always zero says nothing of its column, which then must not disturb others.
    work[given.silent] = 0.0
    codes = np.empty(work.shape, np.uint8)
    scales = np.empty((len(work) // BLOCK, work.shape[1]), np.float32)
    minima = np.empty_like(scales)
    for block, begin in enumerate(range(0, len(work), BLOCK)):
        end = begin + BLOCK
        own = given.upper[begin:end, begin:end]
        # What a column's error costs when no later column makes up for it.
        cost = 1 / np.square(np.diag(own))
        scales[block], minima[block] = _fitted(work[begin:end].T, cost)
        part = _block(work[begin:end], own, scales[block], minima[block])
        codes[begin:end] = part.codes
        work[end:] -= given.upper[begin:end, end:].T @ part.errors
    shaped = np.ascontiguousarray(codes.T).reshape(weights.shape[0], -1, BLOCK)
    return _tensor(name, shaped, scales.T, minima.T)


def _require_blocks(name: str, weights: NDArray[np.float32]) -> None:
    if weights.shape[1] % BLOCK:
        raise CompressionImpossible(f"Rows of {name} do not fill blocks of {BLOCK}.")


@dataclass(frozen=True, slots=True)
class _Part:
    """One quantised block. codes: uint8 [32, N]. errors: float64 [32, N], still to be made up."""

    codes: NDArray[np.uint8]
    errors: NDArray[np.float64]


def _block(
    work: NDArray[np.float64],
    upper: NDArray[np.float64],
    scales: NDArray[np.float32],
    minima: NDArray[np.float32],
) -> _Part:
    """Quantise one block's columns in turn. work: [32, N]. upper: [32, 32], its own part."""
    rest, errors = work.copy(), np.empty_like(work)
    codes = np.empty(work.shape, np.uint8)
    for column in range(BLOCK):
        codes[column] = _codes(rest[column], scales, minima)
        kept = codes[column] * scales + minima
        errors[column] = (rest[column] - kept) / upper[column, column]
        rest[column + 1 :] -= upper[column, column + 1 :, None] * errors[column]
    return _Part(codes, errors)


def _fitted(
    values: NDArray[np.floating], cost: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a scale and a minimum to each block. values: [..., 32]; returns two arrays [...]."""
    low, high = values.min(-1), values.max(-1)
    best = np.full(low.shape, np.inf)
    scales, minima = np.zeros(low.shape, np.float32), np.zeros(low.shape, np.float32)
    for span in SPANS:
        cut = (1 - span) / 2 * (high - low)
        scale, minimum = _half((high - low - 2 * cut) / TOP), _half(low + cut)
        codes = _codes(values, scale[..., None], minimum[..., None])
        strayed = codes * scale[..., None] + minimum[..., None] - values
        error = (np.square(strayed) * cost).sum(-1)
        better = error < best
        best = np.where(better, error, best)
        scales, minima = np.where(better, scale, scales), np.where(better, minimum, minima)
    return scales, minima


def _codes(
    values: NDArray[np.floating], scales: NDArray[np.float32], minima: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the nearest codes; where a block is flat, its scale is zero and so are its codes."""
    steps = np.where(scales > 0, scales, 1)
    return np.clip(np.rint((values - minima) / steps), 0, TOP).astype(np.uint8)


def _half(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return values.astype(np.float16).astype(np.float32)


def _tensor(
    name: str,
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    minima: NDArray[np.float32],
) -> Tensor:
    """Lay blocks out as ggml's Q4_1: scale, minimum, 16 bytes whose low halves come first."""
    rows, count, _ = codes.shape
    head = np.stack([scales, minima], -1).astype("<f2").view(np.uint8)
    half = BLOCK // 2
    nibbles = codes[..., :half] | (codes[..., half:] << np.uint8(4))
    data = np.concatenate([head, nibbles], axis=-1).reshape(-1)
    return Tensor(name, "Q4_1", (rows, count * BLOCK), data)
