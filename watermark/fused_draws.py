"""The mark's draws as one Triton kernel: AES-256 of a row's position block, then of its candidates.

Imported by `tensor_draws` alone, and only where Triton and a GPU are. Each program encrypts one
row's position block, reads the symbol there, and encrypts a stretch of the row's draw blocks. The
tables are 5 KiB and stay in the processor's cache.
"""

from dataclasses import dataclass
from typing import Any

import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]

from watermark.keys import TOKEN_BITS
from watermark.prf import VERSION

_STRETCH = 256
_KEY_WORDS = 60
_SYMBOLS = 8
_POSITION_WORD = tl.constexpr(1 << 54)
_VERSION_WORD = tl.constexpr(VERSION << 56)
_OLDER = tl.constexpr(TOKEN_BITS)
Tensor = Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where each row's secrets lie.

    keys: int32 [slots, 60], expanded. words: int64 [slots, 8]. slots: int64 [rows].
    """

    keys: Tensor
    words: Tensor
    slots: Tensor


def draws(tables: Tensor, place: Place, context: Tensor, ids: Tensor) -> Tensor:
    """Return w >> 11 of each row's candidates: int64 [rows, k].

    tables: int32 [1280], the four mixing tables and the substitution. context: int64 [rows],
    packed. ids: int64 [rows, k].
    """
    ids = ids.contiguous()
    rows, count = ids.shape
    found = ids.new_empty(ids.shape)
    grid = (rows, triton.cdiv(count, _STRETCH))
    _draw[grid](
        tables,
        place.keys.contiguous(),
        place.words.contiguous(),
        place.slots.contiguous(),
        context.contiguous(),
        ids,
        found,
        count,
        STRETCH=_STRETCH,
        KEY_WORDS=_KEY_WORDS,
        SYMBOLS=_SYMBOLS,
    )
    return found


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _draw(  # type: ignore[no-untyped-def,untyped-decorator,unused-ignore]  # noqa: ANN202, PLR0917 - Triton's language.
    tables,  # noqa: ANN001
    keys,  # noqa: ANN001
    words,  # noqa: ANN001
    slots,  # noqa: ANN001
    contexts,  # noqa: ANN001
    ids,  # noqa: ANN001
    found,  # noqa: ANN001
    count,  # noqa: ANN001
    STRETCH: tl.constexpr,  # noqa: N803
    KEY_WORDS: tl.constexpr,  # noqa: N803
    SYMBOLS: tl.constexpr,  # noqa: N803
):
    row = tl.program_id(0)
    columns = tl.program_id(1) * STRETCH + tl.arange(0, STRETCH)
    there = columns < count
    slot = tl.load(slots + row)
    key = keys + slot * KEY_WORDS
    context = tl.load(contexts + row)
    version = tl.full((), _VERSION_WORD, tl.int64)
    position, _ = _encrypted(tables, key, context | _POSITION_WORD, version)
    symbol = tl.load(words + slot * SYMBOLS + (position & (SYMBOLS - 1)))
    token = tl.load(ids + row * count + columns, mask=there, other=0)
    first = tl.zeros((STRETCH,), tl.int64) + context
    low, high = _encrypted(tables, key, first, (token << 16) | symbol | version)
    tl.store(found + row * count + columns, (high << 21) | (low >> 11), mask=there)


@triton.jit
def _encrypted(tables, key, first, second):  # type: ignore[no-untyped-def,untyped-decorator,unused-ignore]  # noqa: ANN001, ANN202
    """Return the first two output words of the blocks of two 64-bit words, unsigned in int64."""
    a = first.to(tl.int32) ^ tl.load(key)
    b = (first >> 32).to(tl.int32) ^ tl.load(key + 1)
    c = second.to(tl.int32) ^ tl.load(key + 2)
    d = (second >> 32).to(tl.int32) ^ tl.load(key + 3)
    # A loop, not unrolled: compiling 13 rounds of it takes minutes.
    for number in range(1, 14):
        e = _mixed(tables, a, b, c, d) ^ tl.load(key + 4 * number)
        f = _mixed(tables, b, c, d, a) ^ tl.load(key + 4 * number + 1)
        g = _mixed(tables, c, d, a, b) ^ tl.load(key + 4 * number + 2)
        h = _mixed(tables, d, a, b, c) ^ tl.load(key + 4 * number + 3)
        a, b, c, d = e, f, g, h
    low = _substituted(tables, a, b, c, d) ^ tl.load(key + 56)
    high = _substituted(tables, b, c, d, a) ^ tl.load(key + 57)
    return low.to(tl.int64) & 0xFFFFFFFF, high.to(tl.int64) & 0xFFFFFFFF


@triton.jit
def _mixed(tables, a, b, c, d):  # type: ignore[no-untyped-def,untyped-decorator,unused-ignore]  # noqa: ANN001, ANN202
    """Return one column after SubBytes, ShiftRows and MixColumns."""
    one = tl.load(tables + (a & 0xFF)) ^ tl.load(tables + 256 + ((b >> 8) & 0xFF))
    two = tl.load(tables + 512 + ((c >> 16) & 0xFF)) ^ tl.load(tables + 768 + ((d >> 24) & 0xFF))
    return one ^ two


@triton.jit
def _substituted(tables, a, b, c, d):  # type: ignore[no-untyped-def,untyped-decorator,unused-ignore]  # noqa: ANN001, ANN202
    """Return one column after SubBytes and ShiftRows: the last round mixes nothing."""
    bare = tables + 1024
    one = tl.load(bare + (a & 0xFF)) | (tl.load(bare + ((b >> 8) & 0xFF)) << 8)
    two = (tl.load(bare + ((c >> 16) & 0xFF)) << 16) | (tl.load(bare + ((d >> 24) & 0xFF)) << 24)
    return one | two
