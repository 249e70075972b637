"""Texts as vectors: words hashed into a fixed number of columns. Learns nothing from the texts.

A vocabulary built from private texts would itself be private; hashing needs none.
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w\w+")


def hashed(texts: Sequence[str], *, columns: int) -> NDArray[np.float32]:
    """Return float32 [texts, columns]: square roots of word counts, each row of length 1."""
    rows = np.zeros((len(texts), columns), dtype=np.float32)
    for index, text in enumerate(texts):
        words = [zlib.crc32(word.encode()) % columns for word in _WORD.findall(text.lower())]
        np.add.at(rows[index], np.array(words, dtype=np.int64), 1.0)
    # Common words would drown the others; roots dampen them.
    rows = np.sqrt(rows)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)
