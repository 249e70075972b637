"""The engine of models that turn a text into one vector (docs/formats/onnx-embedding-v1.md).

A text goes through alone, without padding: another text in the request changes nothing of its
vector, and no mask is needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.engines import runtime

FORMAT = "onnx-embedding-v1"


class EmbeddingEngine:
    """A loaded model.

    dimensions: of a vector. context_length: most tokens of one text. vocab_size: V.
    """

    def __init__(self, session: Any, config: Mapping[str, Any]) -> None:
        self.dimensions = int(config["dimensions"])
        self.context_length = int(config["context_length"])
        self.vocab_size = int(config["vocab_size"])
        self._session = session

    @staticmethod
    def load(header: Mapping[str, Any], memory: memoryview) -> "EmbeddingEngine":
        """Build a warm engine from weights in memory, laid out as `OnnxEngine.load` takes them.

        Raises:
            ValueError: The header points outside `memory`.
        """
        library = runtime.runtime()
        weights = runtime.tensors(library, header, memory)
        graph = runtime.part(header["graph"], memory)
        return EmbeddingEngine(runtime.session(library, graph, weights), header["config"])

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return a text's vector: float32 [dimensions], of length 1.

        Raises:
            ValueError: There are none, or more than fit, or one that the model does not have.
            FloatingPointError: The model's output is not finite.
        """
        ids = np.array([tokens], np.int64)
        if not 1 <= ids.size <= self.context_length:
            raise ValueError(f"A text of {ids.size} tokens; 1 to {self.context_length} fit.")
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            raise ValueError("A token that the model does not have.")
        (vector,) = self._session.run(["vector"], {"input_ids": ids.astype(np.int32)})
        if vector.shape != (1, self.dimensions) or not np.isfinite(vector).all():
            raise FloatingPointError("The model's output is no vector of finite numbers.")
        row: NDArray[np.float32] = vector[0]
        return row
