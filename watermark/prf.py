"""The keyed function behind every mark: AES-256 on blocks that pack their inputs injectively.

A block is two 64-bit words, each stored little-endian, the first word first:

    word 0   bits 0-17 newer context token | 18-35 older context token | 36-53 zero | 54-63 domain
    word 1   bits 0-15 symbol | 16-33 token | 34-55 zero | 56-63 version

Each pair of inputs has a block of its own, so that no hash can collide and a mark's randomness
is as good as AES. The first eight output bytes, little-endian, are the function's value.
"""

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from watermark.code import ALPHABET, LENGTH
from watermark.errors import KeyMalformed, TokenOutOfRange
from watermark.keys import KEY_BYTES, TOKEN_BITS

VERSION = 1
CONTEXT = 2

_POSITION_DOMAIN = np.uint64(1 << 54)
_VERSION_WORD = np.uint64(VERSION << 56)
_TOKEN_SHIFT = np.uint64(16)
_MANTISSA_SHIFT = np.uint64(11)
_BLOCK_BYTES = 16
_Words = NDArray[np.uint64]


class MarkCipher:
    """The function under one mark key. Not thread-safe: it owns a cipher state."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyMalformed(f"A mark key has {KEY_BYTES} bytes; derive it with the keyring.")
        # ECB is safe here: blocks are inputs of a pseudo-random function, never plaintext.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305

    def position(self, context: int) -> int:
        """Return which symbol of the codeword the context `context` (packed) carries: 0..7."""
        block = (context | int(_POSITION_DOMAIN)).to_bytes(8, "little") + _POSITION_TAIL
        return self._cipher.update(block)[0] % LENGTH

    def positions(self, contexts: _Words) -> NDArray[np.int64]:
        """Return the position of each packed context: int64 [n], 0..7, n at least 1."""
        blocks = np.empty((contexts.size, 2), "<u8")
        blocks[:, 0] = contexts | _POSITION_DOMAIN
        blocks[:, 1] = _VERSION_WORD
        return (self._values(blocks) % np.uint64(LENGTH)).astype(np.int64)

    def draws(self, contexts: _Words | np.uint64, tokens: _Words, symbols: _Words) -> _Words:
        """Return w >> 11 for each (context, token, symbol): uint64 [n] below 2^53, n at least 1."""
        blocks = np.empty((tokens.size, 2), "<u8")
        blocks[:, 0] = contexts
        blocks[:, 1] = (tokens << _TOKEN_SHIFT) | symbols | _VERSION_WORD
        return self._values(blocks) >> _MANTISSA_SHIFT

    def update_into(self, blocks: memoryview, output: bytearray) -> None:
        """Write the function of whole blocks to `output`, which is 15 bytes longer than they."""
        self._cipher.update_into(blocks, output)

    def _values(self, blocks: _Words) -> _Words:
        output = self._cipher.update(blocks.data.cast("B"))
        return np.frombuffer(output, "<u8")[::2]


class AlphabetCipher:
    """The function for every symbol at once, in buffers that are reused from batch to batch."""

    BATCH = 128

    def __init__(self, cipher: MarkCipher) -> None:
        self._cipher = cipher
        self._blocks = np.empty((self.BATCH, ALPHABET, 2), "<u8")
        self._symbols = np.arange(ALPHABET, dtype=np.uint64) | _VERSION_WORD
        self._output = bytearray(self._blocks.nbytes + _BLOCK_BYTES - 1)

    def draws(self, contexts: _Words, tokens: _Words) -> _Words:
        """Return w >> 11 for each token and symbol: uint64 [n, 256], n at most `BATCH`."""
        count = contexts.size
        blocks = self._blocks[:count]
        blocks[:, :, 0] = contexts[:, None]
        np.bitwise_or((tokens << _TOKEN_SHIFT)[:, None], self._symbols, out=blocks[:, :, 1])
        self._cipher.update_into(blocks.data.cast("B"), self._output)
        values = np.frombuffer(self._output, "<u8", count * ALPHABET * 2)[::2]
        return (values >> _MANTISSA_SHIFT).reshape(count, ALPHABET)


def pack(older: int, newer: int) -> int:
    """Pack a context into 36 bits.

    Raises:
        TokenOutOfRange: A token id is negative or has more than 18 bits.
    """
    if not (0 <= older < 1 << TOKEN_BITS and 0 <= newer < 1 << TOKEN_BITS):
        raise _out_of_range()
    return older << TOKEN_BITS | newer


def checked(tokens: Sequence[int] | NDArray[np.int64]) -> _Words:
    """Return token ids as uint64 [n].

    Raises:
        TokenOutOfRange: A token id is negative or has more than 18 bits.
    """
    try:
        # A negative id becomes a huge one, so that one comparison finds both ends.
        words = np.asarray(tokens, np.int64).view(np.uint64)
    except OverflowError:
        raise _out_of_range() from None
    if words.size and words.max() >> np.uint64(TOKEN_BITS):
        raise _out_of_range()
    return words


def _out_of_range() -> TokenOutOfRange:
    return TokenOutOfRange(
        f"Version {VERSION} of the mark reads token ids below 2^{TOKEN_BITS} only; a model with a "
        "larger vocabulary needs a later version."
    )


_POSITION_TAIL = int(_VERSION_WORD).to_bytes(8, "little")
