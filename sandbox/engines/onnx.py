"""The ONNX Runtime engine: one session in the zygote, one decoding in each worker.

The session is made before the fork with no thread but the caller's; after it a decoding needs
memory and nothing else: no file, no thread, no clock it would have to ask for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.engines import runtime
from sandbox.engines.decoding import Decoding, Sessions
from sandbox.engines.together import Together


class OnnxEngine:
    """A loaded model.

    vocab_size: V. eos: token ids that end an answer. context_length: most tokens of one decoding.
    batches: whether several sequences can be stepped at once.
    """

    def __init__(self, sessions: Sessions, config: Mapping[str, Any]) -> None:
        self.vocab_size = int(config["vocab_size"])
        self.eos = tuple(int(token) for token in config["eos"])
        self.context_length = int(config["context_length"])
        self.batches = bool(config.get("batches", False))
        self._layers = int(config["layers"])
        self._cache_shape = (int(config["kv_heads"]), int(config["head_dim"]))
        self._sessions = sessions

    @staticmethod
    def load(header: Mapping[str, Any], memory: memoryview) -> "OnnxEngine":
        """Build an engine from weights in memory.

        The sessions repack what they compute with and copy the rest, so `memory` is not read
        again once this returns: letting go of it frees the first copy.

        header: `config`, `graph` {offset, length} and `tensors` [{name, dtype, shape, offset,
        length}], offsets into `memory`.

        Raises:
            ValueError: The header points outside `memory`.
        """
        library = runtime.runtime()
        values = runtime.tensors(library, header, memory)
        graphs = runtime.part(header["graph"], memory)

        def session(name: str) -> Any:
            place = header["config"]["graphs"][name]
            # The runtime refuses a weight that the graph does not declare.
            declared = {key: value for key, value in values.items() if key not in place["unused"]}
            return runtime.session(library, runtime.part(place, graphs), declared)

        sessions = Sessions(prompt=session("prompt"), step=session("step"))
        return OnnxEngine(sessions, header["config"])

    def start(self, length: int) -> Decoding:
        """Make room for `length` tokens, prompt and answer together.

        Raises:
            ValueError: `length` is not from 1 to `context_length`.
        """
        if not 1 <= length <= self.context_length:
            raise ValueError(f"A decoding of {length} tokens; 1 to {self.context_length} fit.")
        caches = self._caches(1, length)
        return Decoding(self._sessions, caches, length=length, vocab_size=self.vocab_size)

    def start_together(self, rows: int, length: int) -> Together:
        """Make room for sequences of at most `length` tokens each, as `start` for one.

        Raises:
            ValueError: `length` is not from 1 to `context_length`, or the model's graph takes one.
        """
        if not 1 <= length <= self.context_length or not self.batches:
            raise ValueError(f"{rows} decodings of {length} tokens side by side.")
        return Together(
            self._sessions,
            self._caches(rows, length),
            rows=rows,
            length=length,
            vocab_size=self.vocab_size,
        )

    def _caches(self, rows: int, length: int) -> dict[str, NDArray[np.float32]]:
        heads, size = self._cache_shape
        names = [f"{part}_{layer}" for layer in range(self._layers) for part in ("key", "value")]
        return {name: np.zeros((rows, heads, length, size), np.float32) for name in names}
