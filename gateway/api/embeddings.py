"""`POST /v1/embeddings`: texts into vectors, by the home's own models alone.

Vectors are no text: they carry no mark, and a rule of the policy that asks for one does not speak
of them. What is recorded of them is what is recorded of an answer.
"""

import base64
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.answer import Answer
from gateway.api.asgi import Scope
from gateway.api.asking import Asked, Asking
from gateway.api.decoding import decode
from gateway.api.sampling import Count, Token
from gateway.catalogue import EmbeddingModel
from gateway.errors import RequestRefused
from gateway.identity import Principal
from gateway.question import Ended, Piece, Question
from sandbox.wire import MOST_INPUT_TOKENS, MOST_INPUTS


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for embeddings. input: one text or several, each as text or as token ids."""

    model: str
    input: str | list[str | Token | list[Token]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None


_decoder = msgspec.json.Decoder(EmbeddingRequest)


@dataclass(frozen=True, slots=True)
class EmbeddingDialect:
    """Reads requests for embeddings."""

    asking: Asking
    operation: str = "embeddings.create"

    def rendering(self, scope: Scope, principal: Principal, body: bytes) -> "EmbeddingRendering":
        """Read a request.

        Raises:
            RequestRefused: It cannot be served as it is.
        """
        request = decode(_decoder, body)
        model = self.asking.catalogue.embedder(request.model)
        _require_dimensions(request.dimensions, model)
        inputs = _inputs(_texts(request.input), model)
        question = self.asking.embedding(
            Asked(scope, principal, self.operation, body), model=model, inputs=inputs
        )
        return EmbeddingRendering(question, model, plain=request.encoding_format != "base64")


@dataclass(frozen=True, slots=True)
class EmbeddingRendering:
    """Vectors in OpenAI's words. plain: as lists of numbers, and not as base64 of float32."""

    question: Question
    model: EmbeddingModel
    plain: bool
    streamed: bool = False
    receipt: bool = False

    def whole(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:
        """Return the body."""
        ((text, _),) = answer.texts()
        # Every vector is as long as the next, and so is its base64.
        size = len(base64.b64encode(bytes(4 * self.model.dimensions)))
        vectors = [text[at : at + size] for at in range(0, len(text), size)]
        tokens = self.question.prompt_tokens
        body = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self._written(vector)}
                for index, vector in enumerate(vectors)
            ],
            "model": self.model.model_id,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return msgspec.json.encode(body | dict(extra))

    def begin(self, answer: Answer) -> bytes:  # noqa: ARG002 - it is never streamed
        """Return nothing: no client can ask for a stream."""
        return b""

    def piece(self, item: Piece | Ended) -> bytes:  # noqa: ARG002 - likewise
        """Return nothing, likewise."""
        return b""

    def end(self, answer: Answer, extra: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - likewise
        """Return nothing, likewise."""
        return b""

    def _written(self, vector: str) -> str | list[float]:
        if not self.plain:
            return vector
        return array("f", base64.b64decode(vector)).tolist()


def _require_dimensions(asked: int | None, model: EmbeddingModel) -> None:
    if asked is not None and asked != model.dimensions:
        raise RequestRefused(
            f"The vectors of {model.model_id!r} have {model.dimensions} dimensions, and it was "
            "not trained to be cut. Send the request without 'dimensions'.",
            param="dimensions",
            code="unsupported_parameter",
        )


def _texts(given: str | Sequence[str | int | list[int]]) -> list[str | list[int]]:
    """Return each text on its own: a list of bare numbers is one text.

    Raises:
        RequestRefused: There are none, too many, or they are mixed.
    """
    if isinstance(given, str):
        return [given]
    numbers = [each for each in given if isinstance(each, int)]
    if numbers and len(numbers) == len(given):
        return [numbers]
    texts = [each for each in given if not isinstance(each, int)]
    if not texts or numbers:
        raise RequestRefused(
            "'input' is a text, a list of texts, the token ids of one text, or a list of these.",
            param="input",
        )
    if len(texts) > MOST_INPUTS:
        raise RequestRefused(
            f"'input' has {len(texts)} texts; at most {MOST_INPUTS} go into one request.",
            param="input",
        )
    return texts


def _inputs(texts: Sequence[str | list[int]], model: EmbeddingModel) -> list[list[int]]:
    """Encode texts.

    Raises:
        RequestRefused: One is empty or too long for the model, or all are too long together.
    """
    inputs = [_encoded(text, index, model) for index, text in enumerate(texts)]
    total = sum(map(len, inputs))
    if total > MOST_INPUT_TOKENS:
        raise RequestRefused(
            f"The texts have {total} tokens together; at most {MOST_INPUT_TOKENS} go into one "
            "request. Split it.",
            param="input",
            code="context_length_exceeded",
        )
    return inputs


def _encoded(text: str | list[int], index: int, model: EmbeddingModel) -> list[int]:
    if not text:
        raise RequestRefused(f"Text {index} of 'input' is empty.", param="input")
    ids = model.encoder.encode(text) if isinstance(text, str) else model.encoder.framed(text)
    if ids is None:
        raise RequestRefused(f"A token of text {index} stands for no text.", param="input")
    if len(ids) > model.context_length:
        raise RequestRefused(
            f"This model's context is {model.context_length} tokens, and text {index} of 'input' "
            f"has {len(ids)}. Cut it into shorter texts.",
            param="input",
            code="context_length_exceeded",
        )
    return ids
