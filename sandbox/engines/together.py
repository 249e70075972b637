"""Sequences side by side in one set of buffers: one pass over the weights gives each its token.

Prompts go through alone, each into its own row; only steps of one token are taken together. A
sequence's numbers are those of a decoding of its own: rows share weights and nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.engines.decoding import Decoding, Sessions, bind_output


class Together:
    """Rows of keys and values, of one length; a row's number is its sequence's place."""

    def __init__(
        self,
        sessions: Sessions,
        caches: Mapping[str, NDArray[np.float32]],
        *,
        rows: int,
        length: int,
        vocab_size: int,
    ) -> None:
        self._sessions = sessions
        self._caches = dict(caches)
        self._length = length
        self._vocab_size = vocab_size
        self._fed = [0] * rows
        self._total = np.zeros((), np.int32)
        self._bind()

    def begin(self, row: int, prompt: Sequence[int]) -> NDArray[np.float32]:
        """Fill a row with a prompt and return the logits [V] after it.

        Raises:
            ValueError: There is no prompt, or no room for it.
        """
        caches = {name: cache[row : row + 1] for name, cache in self._caches.items()}
        alone = Decoding(self._sessions, caches, length=self._length, vocab_size=self._vocab_size)
        logits = alone.feed(prompt)
        self._fed[row] = len(prompt)
        return logits

    def copy(self, row: int, *, source: int) -> None:
        """Fill a row with what was fed to another."""
        fed = self._fed[source]
        for cache in self._caches.values():
            cache[row, :, :fed] = cache[source, :, :fed]
        self._fed[row] = fed

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append one token to each row and return the logits after them, [rows, V].

        Raises:
            ValueError: Not one token a row, or a row is full.
        """
        if len(tokens) != len(self._fed) or max(self._fed) >= self._length:
            raise ValueError(f"{len(tokens)} tokens for {len(self._fed)} rows.")
        self._fed = [fed + 1 for fed in self._fed]
        self._tokens[:, 0] = tokens
        self._last[:] = [fed - 1 for fed in self._fed]
        self._total[...] = max(self._fed)
        self._sessions.step.run_with_iobinding(self._binding)
        logits: NDArray[np.float32] = self._logits[:, 0].copy()
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these, in rising order; they become the first ones."""
        for place, row in enumerate(rows):
            if place != row:
                # Rising order: what is written over was moved or let go of before.
                self.copy(place, source=row)
        self._fed = self._fed[: len(rows)]
        self._caches = {name: cache[: len(rows)] for name, cache in self._caches.items()}
        self._bind()

    def _bind(self) -> None:
        """Bind a step of all rows to memory of ours; only the buffers' contents change."""
        rows = len(self._fed)
        self._tokens = np.zeros((rows, 1), np.int64)
        self._last = np.zeros(rows, np.int32)
        self._logits = np.zeros((rows, 1, self._vocab_size), np.float32)
        binding: Any = self._sessions.step.io_binding()
        binding.bind_cpu_input("input_ids", self._tokens)
        binding.bind_cpu_input("seqlens_k", self._last)
        binding.bind_cpu_input("total", self._total)
        for name, cache in self._caches.items():
            binding.bind_cpu_input(f"past_{name}", cache)
            bind_output(binding, f"present_{name}", cache)
        bind_output(binding, "logits", self._logits)
        self._binding = binding
