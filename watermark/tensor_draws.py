"""The mark's draws for a whole batch at once, on the device that holds the logits.

The same arithmetic as `sampler.Sampler`, in tensor operations: AES-256 through its tables (Daemen
and Rijmen, "The Design of Rijndael", 4.2), the draws as integers, the race in float64. Nothing is
read back to the host, so that an engine's steps stay asynchronous. torch is handed in: a gateway
never imports it.

AES is some 250 small steps, and a GPU takes longer to be told of each than to do it. Where Triton
is, as wherever vLLM drives a GPU, they are one kernel (`fused_draws`) with the same output.
"""

import importlib
import importlib.util
import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark import code
from watermark.keys import KEY_BYTES, TOKEN_BITS
from watermark.prf import VERSION

# Candidates of one draw. What a model thinks less probable than its first 1,024 is left out.
CANDIDATES = 1024

_ROUNDS = 14
_KEY_WORDS = 4 * (_ROUNDS + 1)
_WORD = 0xFFFFFFFF
_POSITION_BIT = 54
_VERSION_BIT = 56
_BLOCK_BYTES = 16
Tensor = Any


@dataclass(frozen=True, slots=True)
class Shape:
    """How candidates are chosen for one request. top_k: 0 for all. temperature: above 0."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


class TensorSampler:
    """Draws for up to `slots` requests. torch: the module. device: where the logits are."""

    def __init__(self, torch: Any, device: Any, *, slots: int) -> None:
        self._torch = torch
        self._device = device
        # On the host; what changed is copied over by `flush`, once a step.
        self._keys = torch.zeros((slots, _KEY_WORDS), dtype=torch.int32)
        self._words = torch.zeros((slots, code.LENGTH), dtype=torch.int64)
        self._shapes = torch.ones((slots, 4), dtype=torch.float64)
        self._marked = torch.zeros(slots, dtype=torch.bool)
        self._changed = True
        self._tables = _Tables(torch, device)
        self._fused = _fused(torch.device(device))
        self.flush()

    def mark(self, slot: int, key: bytes, trace_id: int, shape: Shape) -> None:
        """Mark what is drawn in a slot from the next `flush` on."""
        torch = self._torch
        word = code.symbols(code.encode(np.array([trace_id], np.uint32)))[0]
        self._keys[slot] = torch.from_numpy(expanded(key))
        self._words[slot] = torch.from_numpy(word.astype(np.int64))
        top_k = float(shape.top_k or CANDIDATES)
        numbers = (shape.temperature, top_k, shape.top_p, shape.min_p)
        self._shapes[slot] = torch.tensor(numbers, dtype=torch.float64)
        self._marked[slot] = True
        self._changed = True

    def clear(self, slot: int) -> None:
        """Leave a slot's draws to the engine."""
        self._marked[slot] = False
        self._changed = True

    def any_marked(self, slots: NDArray[np.integer[Any]]) -> bool:
        """Tell whether any of these slots is marked; asks the host alone."""
        return bool(self._marked[self._torch.from_numpy(np.asarray(slots, np.int64))].any())

    def flush(self) -> None:
        """Copy what changed to the device."""
        if self._changed:
            self.keys, self.words = self._keys.to(self._device), self._words.to(self._device)
            self.shapes, self.marked = self._shapes.to(self._device), self._marked.to(self._device)
            self._changed = False

    def choose(self, logits: Tensor, slots: Tensor, older: Tensor, newer: Tensor) -> Tensor:
        """Return the token that each row's mark draws: int64 [rows].

        logits: float32 [rows, vocabulary]. slots: int64 [rows]. older, newer: the two tokens
        before, int64 [rows], each below 2^18.
        """
        torch = self._torch
        values, ids = logits.topk(min(CANDIDATES, logits.shape[1]), dim=1)
        probs = self._probabilities(values, self.shapes[slots])
        context = (older << TOKEN_BITS) | newer
        draws = self._draws(context, ids, slots)
        unit = (draws.to(torch.float64) + 0.5) * 2.0**-53
        never = torch.full_like(probs, -np.inf)
        races = torch.where(probs > 0, unit.log() / probs, never)
        return ids.gather(1, races.argmax(dim=1, keepdim=True))[:, 0]

    def _probabilities(self, values: Tensor, shapes: Tensor) -> Tensor:
        """Return the candidates' probabilities, 0 for those that are left out."""
        torch = self._torch
        temperature, top_k, top_p, min_p = (column[:, None] for column in shapes.unbind(1))
        scaled = values.to(torch.float64) / temperature
        probs = (scaled - scaled[:, :1]).exp()
        kept = torch.arange(values.shape[1], device=values.device)[None, :] < top_k
        probs = probs * (kept & (probs >= min_p))
        probs = probs / probs.sum(dim=1, keepdim=True)
        before = probs.cumsum(dim=1).roll(1, dims=1)
        before[:, 0] = 0
        probs = probs * (before < top_p)
        return probs / probs.sum(dim=1, keepdim=True)

    def _draws(self, context: Tensor, ids: Tensor, slots: Tensor) -> Tensor:
        """Return w >> 11 of each row's candidates: int64 [rows, k]."""
        torch = self._torch
        if self._fused is not None:
            place = self._fused.Place(self.keys, self.words, slots)
            fused: Tensor = self._fused.draws(self._tables.rounds, place, context, ids)
            return fused
        keys = self.keys[slots]
        none = torch.zeros_like(context)
        place = (context | (1 << _POSITION_BIT), none | (VERSION << _VERSION_BIT))
        position = self._tables.encrypt(_columns(torch, *place)[:, None], keys)[0][:, 0] & 7
        symbol = self.words[slots].gather(1, position[:, None])
        second = (ids << 16) | symbol | (VERSION << _VERSION_BIT)
        blocks = _columns(torch, context[:, None].expand_as(ids), second)
        low, high = self._tables.encrypt(blocks, keys)
        return (high << 21) | (low >> 11)


def _fused(device: Any) -> Any:
    """Return the module of the fused kernel where there is one for the device, else None."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("watermark.fused_draws")


def expanded(key: bytes) -> NDArray[np.int32]:
    """Expand an AES-256 key (FIPS 197, 5.2): int32 [60], each word's bytes little-endian.

    Raises:
        ValueError: It has not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"A mark key has {KEY_BYTES} bytes.")
    box = _substitution()
    words = [list(key[i : i + 4]) for i in range(0, KEY_BYTES, 4)]
    constant = 1
    while len(words) < _KEY_WORDS:
        last, place = words[-1], len(words) % 8
        if place == 0:
            last = [int(box[byte]) for byte in (*last[1:], last[0])]
            last[0] ^= constant
            constant = _doubled(constant)
        elif place == 4:  # noqa: PLR2004 - FIPS 197: half a 256-bit key later.
            last = [int(box[byte]) for byte in last]
        words.append([a ^ b for a, b in zip(words[-8], last, strict=True)])
    packed = bytes(itertools.chain.from_iterable(words))
    return np.frombuffer(packed, "<i4").astype(np.int32)


class _Tables:
    """AES-256 on the device: state int32 [rows, blocks, 4], column j the block's bytes 4j..4j+3."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch = torch
        box = _substitution()
        mixed = _mixing(box)
        self._mixed = torch.from_numpy(mixed.reshape(-1)).to(device)
        self._box = torch.from_numpy(box).to(device)
        # What the fused kernel reads: the four mixing tables, then the bare substitution.
        bare = torch.from_numpy(box.astype(np.int32)).to(device)
        self.rounds = torch.cat((self._mixed, bare))
        # ShiftRows: output byte 4j + r comes from byte 4(j + r) + r.
        shift = [(i + 4 * (i % 4)) % _BLOCK_BYTES for i in range(_BLOCK_BYTES)]
        self._shift = torch.tensor(shift, device=device)
        self._rows = torch.tensor([256 * (i % 4) for i in range(16)], device=device).int()

    def encrypt(self, state: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first two output words of each block, unsigned in int64: [rows, blocks].

        keys: int32 [rows, 60], expanded.
        """
        torch = self._torch
        rounds = keys.view(keys.shape[0], _ROUNDS + 1, 1, 4)
        state = state ^ rounds[:, 0]
        for number in range(1, _ROUNDS):
            places = self._shifted(state).int() + self._rows
            found = self._mixed.index_select(0, places.view(-1)).view(*state.shape, 4)
            state = found[..., 0] ^ found[..., 1] ^ found[..., 2] ^ found[..., 3]
            state = state ^ rounds[:, number]
        last = self._box.index_select(0, self._shifted(state).int().view(-1))
        state = last.view(torch.int32).view(state.shape) ^ rounds[:, _ROUNDS]
        low, high = (state[..., i].to(torch.int64) & _WORD for i in (0, 1))
        return low, high

    def _shifted(self, state: Tensor) -> Tensor:
        return state.view(self._torch.uint8).index_select(2, self._shift)


def _columns(torch: Any, first: Tensor, second: Tensor) -> Tensor:
    """Cut two 64-bit words into four of 32 bits: int32 [..., 4]."""
    words = torch.stack((first, second), dim=-1).contiguous()
    return words.view(torch.int32)


@cache
def _substitution() -> NDArray[np.uint8]:
    """Return the S-box (FIPS 197, 5.1.1): inverse in GF(2^8), then an affine map."""
    box = np.zeros(256, np.uint8)
    power = inverse = 1
    while True:
        # 3 generates the field's units; dividing by 3 walks the inverses.
        power ^= _doubled(power)
        inverse = _third(inverse)
        rotated = [(inverse << n | inverse >> (8 - n)) & 0xFF for n in (1, 2, 3, 4)]
        box[power] = inverse ^ rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3] ^ 0x63
        if power == 1:
            break
    box[0] = 0x63
    return box


def _mixing(box: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return what each byte, substituted, adds to its column, by its row: int32 [4, 256]."""
    columns = np.zeros((4, 256, 4), np.uint8)
    for value in range(256):
        once = int(box[value])
        twice = _doubled(once)
        column = [twice, once, once, twice ^ once]
        for row in range(4):
            columns[row, value] = np.roll(column, row)
    return columns.view("<i4")[..., 0].astype(np.int32)


def _doubled(value: int) -> int:
    """Multiply by x in AES's field, x^8 + x^4 + x^3 + x + 1."""
    return (value << 1 ^ (0x11B if value & 0x80 else 0)) & 0xFF


def _third(value: int) -> int:
    """Divide by 3 in AES's field: multiply by 0xF6."""
    value ^= value << 1
    value ^= value << 2
    value ^= value << 4
    value &= 0xFF
    return value ^ (0x09 if value & 0x80 else 0)
