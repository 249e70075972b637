"""The models this gateway serves: what each is called, how it reads and writes text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.backends.local import LocalBackend
from gateway.backends.remote import RemoteBackend
from gateway.errors import RequestRefused
from gateway.models.chat import ChatTemplate
from gateway.models.tokenizer import Tokenizer


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
class RemoteModel:
    """A model that an endpoint of a remote tier serves: text goes there, and text comes back.

    digest: names endpoint and model; nobody here can vouch for more.
    """

    model_id: str
    digest: str
    context_length: int
    backend: RemoteBackend
    generation: int = 0

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
    """Models by name."""

    models: Mapping[str, ServedModel]

    def model(self, name: str) -> ServedModel:
        """Return the model a request names.

        Raises:
            RequestRefused: 404 `model_not_found`.
        """
        try:
            return self.models[name]
        except KeyError:
            raise RequestRefused(
                f"The model {name[:64]!r} does not exist here. GET /v1/models lists those that do.",
                status=404,
                param="model",
                code="model_not_found",
            ) from None
