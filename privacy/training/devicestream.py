"""The same keystream computed on an accelerator, where noise for a step would else be waited for.

ChaCha20 is additions, rotations and exclusive ors of 32-bit words, so it runs as integer tensors
on any device that torch has. The key is in that device's memory, as the gradients are.
"""

import secrets
import struct

import torch

from privacy.training.errors import MechanismBroken
from privacy.training.keystream import KEY_BYTES, Keystream

_CONSTANTS = struct.unpack("<4i", b"expand 32-byte k")
_BLOCK_WORDS = 8
_DOUBLE_ROUNDS = 10
_CHECKED_WORDS = 20


class DeviceKeystream:
    """Uniform 64-bit words on a device, the words of a `Keystream` of the same key."""

    def __init__(self, key: bytes, device: torch.device) -> None:
        self._key = struct.unpack("<8i", key)
        self._calls = 0
        self.device = device

    @staticmethod
    def fresh(device: torch.device) -> "DeviceKeystream":
        """Return a stream under a key that was never used before.

        Raises:
            MechanismBroken: The device does not compute ChaCha20.
        """
        tried = secrets.token_bytes(KEY_BYTES)
        found = DeviceKeystream(tried, device).bits(_CHECKED_WORDS).cpu()
        if not torch.equal(found, Keystream(tried).bits(_CHECKED_WORDS)):
            raise MechanismBroken(
                f"{device} computes another keystream than ChaCha20. Train on the processor."
            )
        return DeviceKeystream(secrets.token_bytes(KEY_BYTES), device)

    def bits(self, count: int) -> torch.Tensor:
        """Return the next words, int64 [count], at most 2**31 blocks of eight at once."""
        # As in Keystream: a call's number is its nonce, and the block counter starts at zero.
        nonce = struct.unpack("<3i", self._calls.to_bytes(12, "little"))
        self._calls += 1
        blocks = -(-count // _BLOCK_WORDS)
        start = self._state(nonce, blocks)
        block = _permuted(start).add_(start)
        # RFC 8439, section 2.3: the words of a block one after the other, little-endian.
        return block.T.flatten().view(torch.int64)[:count]

    def _state(self, nonce: tuple[int, ...], blocks: int) -> torch.Tensor:
        """Return the initial states, int32 [16, blocks]."""
        fixed = torch.tensor([*_CONSTANTS, *self._key, 0, *nonce], dtype=torch.int32)
        state = fixed.to(self.device)[:, None].repeat(1, blocks)
        state[12] = torch.arange(blocks, dtype=torch.int32, device=self.device)
        return state


def _permuted(start: torch.Tensor) -> torch.Tensor:
    """Return the states after twenty rounds, int32 [16, blocks]. Adding wraps, as it must."""
    a, b, c, d = start.clone().split(4)
    for _ in range(_DOUBLE_ROUNDS):
        a, b, c, d = _quarter_rounds(a, b, c, d)
        # The diagonals become columns, and columns again.
        a, b, c, d = _quarter_rounds(a, b.roll(-1, 0), c.roll(-2, 0), d.roll(-3, 0))
        b, c, d = b.roll(1, 0), c.roll(2, 0), d.roll(3, 0)
    return torch.cat([a, b, c, d])


def _quarter_rounds(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return four quarter rounds at once (RFC 8439, section 2.1), each of int32 [4, blocks]."""
    a = a + b
    d = _rotated(d ^ a, 16)
    c = c + d
    b = _rotated(b ^ c, 12)
    a = a + b
    d = _rotated(d ^ a, 8)
    c = c + d
    b = _rotated(b ^ c, 7)
    return a, b, c, d


def _rotated(words: torch.Tensor, by: int) -> torch.Tensor:
    # A shift to the right repeats the sign; the mask leaves what was rotated out.
    return (words << by) | ((words >> (32 - by)) & ((1 << by) - 1))
