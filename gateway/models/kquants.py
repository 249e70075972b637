"""K-quants taken apart: ggml's super-blocks of 256 weights as the plain blocks they are made of.

Every weight is a code times a scale plus an offset, and so it stays; the products of a
super-block's scale with its parts' own are rounded once, to float32. Sources: ggml's
`block_q4_K`, `block_q5_K` and `block_q6_K`.
"""

import numpy as np
from numpy.typing import NDArray

SUPER_BLOCK = 256
# Codes, scales and offsets as `blocks.Blocks` holds them, B of them in a row.
Parts = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]


def q4_k(raw: NDArray[np.uint8]) -> Parts:
    """Take Q4_K apart: uint8 [N, S, 144] into 4-bit codes [N, 8·S, 32], zero 8.

    A super-block: float16 scale and minimum scale, 8 scales and 8 minima of 6 bits in 12 bytes,
    128 bytes of codes.
    """
    scales, minima = _scales_and_minima(raw)
    codes = _nibbles(raw[..., 16:], width=32)
    return _blocks(codes), _row(scales), _row(np.float32(8) * scales - minima)


def q5_k(raw: NDArray[np.uint8]) -> Parts:
    """Take Q5_K apart: uint8 [N, S, 176] into 8-bit codes [N, 8·S, 32], zero 128.

    As Q4_K, with 32 bytes of fifth bits before the codes. The codes are moved to the middle of
    what 8 bits hold, since the kernel rounds activations in proportion to their distance from zero.
    """
    scales, minima = _scales_and_minima(raw)
    shifts = np.arange(8, dtype=np.uint8)[:, None]
    fifth = ((raw[..., None, 16:48] >> shifts) & np.uint8(1)) << np.uint8(4)
    codes = (_nibbles(raw[..., 48:], width=32) | fifth) + np.uint8(128 - 16)
    return _blocks(codes), _row(scales), _row(np.float32(16) * scales - minima)


def q6_k(raw: NDArray[np.uint8]) -> Parts:
    """Take Q6_K apart: uint8 [N, S, 210] into 8-bit codes [N, 16·S, 16], zero 128.

    A super-block: 128 bytes of low halves, 64 of high pairs of bits, 16 signed scales, a float16
    scale of these.
    """
    low = _nibbles(raw[..., :128], width=64).reshape(*raw.shape[:2], 8, 32)
    pairs = raw[..., 128:192].reshape(*raw.shape[:2], 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = ((pairs >> shifts) & np.uint8(3)).reshape(*raw.shape[:2], 8, 32)
    # ggml subtracts 32 from codes of 6 bits and the kernel 128 from ours.
    codes = (low | (high << np.uint8(4))) + np.uint8(128 - 32)
    parts = np.ascontiguousarray(raw[..., 192:208]).view(np.int8).astype(np.float32)
    scales = _half(raw[..., 208:210]) * parts
    return codes.reshape(raw.shape[0], -1, 16), _row(scales), None


def _scales_and_minima(raw: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read both of a super-block's 8 parts: float32 [N, S, 8] each.

    The first four of each lie in the low 6 bits of a byte; of the others the low halves share
    bytes, and the high pairs of bits stand above the first four.
    """
    six, four = np.uint8(0x3F), np.uint8(0x0F)
    first, second, shared = raw[..., 4:8], raw[..., 8:12], raw[..., 12:16]
    scales = np.concatenate([first & six, (shared & four) | ((first >> 2) & 0x30)], axis=-1)
    minima = np.concatenate([second & six, (shared >> 4) | ((second >> 2) & 0x30)], axis=-1)
    return _half(raw[..., 0:2]) * scales, _half(raw[..., 2:4]) * minima


def _nibbles(raw: NDArray[np.uint8], *, width: int) -> NDArray[np.uint8]:
    """Split runs of `width` bytes: their low halves, then their high halves, one row each."""
    runs = raw.reshape(*raw.shape[:2], -1, 1, width)
    halves = (runs >> np.array([0, 4], np.uint8)[:, None]) & np.uint8(15)
    return halves.reshape(*raw.shape[:2], -1, width)


def _half(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _blocks(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes.reshape(codes.shape[0], -1, codes.shape[-1])


def _row(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(values.shape[0], -1).astype(np.float32)
