"""The models this gateway serves: what each is called, how it reads and writes text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.backends.local import LocalBackend
from gateway.backends.remote import RemoteBackend
from gateway.errors import RequestRefused
from gateway.models.chat import ChatTemplate
from gateway.models.foreign import ForeignTokenizer
from gateway.models.tokenizer import Tokenizer
from gateway.models.wordpiece import TextEncoder


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One sealed model, ready to answer.

    digest: `sha256:` and 64 hex digits over the sealed content. created_s: Unix seconds.
    """

    model_id: str
    digest: str
    generation: int
    created_s: int
    config: Mapping[str, Any]
    tokenizer: Tokenizer
    template: ChatTemplate
    backend: LocalBackend

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return int(self.config["context_length"])

    @property
    def eos(self) -> list[int]:
        """Token ids that end an answer."""
        return [int(token) for token in self.config["eos"]]

    @property
    def training_certificate(self) -> str | None:
        """Digest of the certificate of its private training, as its seal names it."""
        named = self.config.get("training_certificate")
        return None if named is None else str(named)


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """One sealed model that turns texts into vectors; members as of `ServedModel`."""

    model_id: str
    digest: str
    generation: int
    created_s: int
    config: Mapping[str, Any]
    encoder: TextEncoder
    backend: LocalBackend

    @property
    def context_length(self) -> int:
        """Most tokens of one text."""
        return int(self.config["context_length"])

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return int(self.config["dimensions"])

    @property
    def eos(self) -> list[int]:
        """None: it writes nothing."""
        return []

    @property
    def training_certificate(self) -> str | None:
        """None: it was not trained here."""
        return None


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model that an endpoint of a remote tier serves: text goes there, and text comes back.

    digest: names endpoint and model; nobody here can vouch for more. tokenizer: of a model whose
    server marks its tokens as this gateway asks, None where none does.
    """

    model_id: str
    digest: str
    context_length: int
    backend: RemoteBackend
    generation: int = 0
    tokenizer: ForeignTokenizer | None = None

    @property
    def eos(self) -> list[int]:
        """None: its tokens are not known here."""
        return []

    @property
    def training_certificate(self) -> str | None:
        """None: nobody here can vouch for its training."""
        return None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Models by name. embedding: those of `POST /v1/embeddings`, and of nothing else."""

    models: Mapping[str, ServedModel]
    embedding: Mapping[str, EmbeddingModel] = field(default_factory=dict)

    @property
    def all(self) -> Mapping[str, ServedModel | EmbeddingModel]:
        """Every model of the home."""
        return {**self.models, **self.embedding}

    def model(self, name: str) -> ServedModel:
        """Return the model that a request for text names.

        Raises:
            RequestRefused: 404 `model_not_found`.
        """
        if name in self.embedding:
            raise _unknown(f"The model {name!r} embeds and writes nothing: POST /v1/embeddings.")
        if name not in self.models:
            raise _absent(name)
        return self.models[name]

    def embedder(self, name: str) -> EmbeddingModel:
        """Return the model that a request for embeddings names; raises as `model`."""
        if name in self.models:
            raise _unknown(f"The model {name!r} makes no embeddings. GET /v1/models lists others.")
        if name not in self.embedding:
            raise _absent(name)
        return self.embedding[name]

    def any(self, name: str) -> ServedModel | EmbeddingModel:
        """Return a model of either kind; raises as `model`."""
        return self.embedding[name] if name in self.embedding else self.model(name)


def _absent(name: str) -> RequestRefused:
    return _unknown(
        f"The model {name[:64]!r} does not exist here. GET /v1/models lists those that do; one "
        "that was sealed while this gateway serves is there from its next start."
    )


def _unknown(message: str) -> RequestRefused:
    return RequestRefused(message, status=404, param="model", code="model_not_found")
