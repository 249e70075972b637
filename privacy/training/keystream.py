"""A ChaCha20 keystream as the source of every random draw in training.

Its key comes from the operating system and is neither stored nor told: whoever knows it can
subtract the noise. `torch.manual_seed` and NumPy's seeds have no effect on it.
"""

import secrets

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

SOURCE = "ChaCha20, keyed from the operating system"
KEY_BYTES = 32
# The block counter within one nonce has 32 bits of 64-byte blocks (RFC 8439, section 2.3).
_LIMIT_WORDS = (1 << 32) * 64 // 8


class Keystream:
    """Uniform 64-bit words, each given out once. Not safe to share between threads."""

    device = torch.device("cpu")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._calls = 0

    @staticmethod
    def fresh() -> "Keystream":
        """Return a stream under a key that was never used before."""
        return Keystream(secrets.token_bytes(KEY_BYTES))

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` uniform words, at most 2**35 at once."""
        if not 0 <= count < _LIMIT_WORDS:
            raise ValueError("A draw takes at most 2**35 words.")
        # A call's number is its nonce, so no two calls share keystream. The first four bytes are
        # the block counter, which starts at zero.
        nonce = bytes(4) + self._calls.to_bytes(12, "little")
        self._calls += 1
        out = np.zeros(count, dtype=np.uint64)
        if count:
            view = memoryview(out.data).cast("B")
            Cipher(ChaCha20(self._key, nonce), mode=None).encryptor().update_into(view, view)
        return out

    def bits(self, count: int) -> torch.Tensor:
        """Return the next words as a tensor, int64 [count]: the same bits, signed."""
        return torch.from_numpy(self.words(count).view(np.int64))
