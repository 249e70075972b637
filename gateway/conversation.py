"""What is put to a model, in both forms it may be needed in: for our own, and for a remote tier.

Our own models are told of tools in words, and held to a form by a grammar; a remote one gets both
in OpenAI's fields, made here of checked values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.backends.base import Feature
from gateway.catalogue import ServedModel


@dataclass(frozen=True, slots=True)
class Conversation:
    """turns: role and text alone, oldest first. text: in place of turns, a bare text to continue.

    tokens: of that text, where the client counted them itself.

    messages: the turns as a remote tier gets them, None where they are the same. options, features:
    what else the answer is to be, as in `backends.base.Ask`, and what a tier must be able to do.
    """

    turns: Sequence[Mapping[str, str]] = field(repr=False)
    text: str | None = field(default=None, repr=False)
    tokens: Sequence[int] | None = field(default=None, repr=False)
    messages: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    features: frozenset[Feature] = frozenset()

    def encoded(self, model: ServedModel) -> list[int]:
        """Return its tokens for one of our own models.

        Raises:
            ChatTemplateRefused: The model's template does not take it.
        """
        if self.tokens is not None:
            return list(self.tokens)
        if self.text is not None:
            return model.tokenizer.encode(self.text)
        return model.template.encode_chat([dict(turn) for turn in self.turns])

    @property
    def sent(self) -> Sequence[Mapping[str, Any]]:
        """The turns as a remote tier gets them."""
        return self.turns if self.messages is None else self.messages
