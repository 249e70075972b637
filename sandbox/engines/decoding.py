"""One sequence in a model's two graphs: its keys and values, fed token by token or in pieces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Longer prompts go through in pieces: attention's workspace grows with the piece.
CHUNK_TOKENS = 512
# From here on the graph for prompts is the faster one; it has a fixed cost per piece.
PROMPT_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Sessions:
    """A model's two graphs over the same weights (docs/formats/onnx-gqa-v1.md).

    prompt: many positions, no logits. step: few positions, logits after the last.
    """

    prompt: Any
    step: Any


class Decoding:
    """One sequence: the keys and values of what was fed so far."""

    def __init__(
        self,
        sessions: Sessions,
        caches: Mapping[str, NDArray[np.float32]],
        *,
        length: int,
        vocab_size: int,
    ) -> None:
        self._sessions = sessions
        self._caches = caches
        self._length = length
        self._fed = 0
        self._last = np.zeros(1, np.int32)
        self._total = np.zeros((), np.int32)
        self._logits = np.zeros((1, 1, vocab_size), np.float32)
        self._token = np.zeros((1, 1), np.int64)
        # Steps of one token are all alike: bound once, and only the buffers' contents change.
        self._one = self._binding_with_logits(self._token)

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append tokens and return the logits [V] that follow the last of them.

        Raises:
            ValueError: There are none, or more than there is room for.
        """
        if not tokens or self._fed + len(tokens) > self._length:
            raise ValueError(f"{len(tokens)} tokens after {self._fed} of {self._length}.")
        rest = tokens
        while len(rest) > PROMPT_TOKENS:
            # The last token stays for the step: its logits are the ones that are wanted.
            size = min(CHUNK_TOKENS, len(rest) - 1)
            self._prompt(rest[:size])
            rest = rest[size:]
        return self._step(rest)

    def _prompt(self, tokens: Sequence[int]) -> None:
        self._advance(len(tokens))
        binding = self._binding(self._sessions.prompt, np.array([tokens], np.int64))
        self._sessions.prompt.run_with_iobinding(binding)

    def _step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        self._advance(len(tokens))
        if len(tokens) == 1:
            self._token[0, 0] = tokens[0]
            binding = self._one
        else:
            binding = self._binding_with_logits(np.array([tokens], np.int64))
        self._sessions.step.run_with_iobinding(binding)
        logits: NDArray[np.float32] = self._logits[0, 0].copy()
        return logits

    def _advance(self, count: int) -> None:
        self._fed += count
        self._last[0] = self._fed - 1
        self._total[...] = self._fed

    def _binding_with_logits(self, ids: NDArray[np.int64]) -> Any:
        binding = self._binding(self._sessions.step, ids)
        bind_output(binding, "logits", self._logits)
        return binding

    def _binding(self, session: Any, ids: NDArray[np.int64]) -> Any:
        """Bind inputs and outputs to memory of ours; keys and values are extended in place."""
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("seqlens_k", self._last)
        binding.bind_cpu_input("total", self._total)
        for name, cache in self._caches.items():
            binding.bind_cpu_input(f"past_{name}", cache)
            bind_output(binding, f"present_{name}", cache)
        return binding


def bind_output(binding: Any, name: str, value: NDArray[np.float32]) -> None:
    """Have an output written to an array's own memory."""
    binding.bind_output(
        name=name,
        device_type="cpu",
        device_id=0,
        element_type=np.float32,
        shape=value.shape,
        buffer_ptr=value.ctypes.data,
    )
