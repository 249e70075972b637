"""The tokeniser of an embedding model. What looks like a control token in a text stays text."""

import json
from collections.abc import Sequence
from typing import Any

import tokenizers

from gateway.models.errors import ModelError


class TextEncoder:
    """A WordPiece tokeniser that frames each text as the model expects it."""

    def __init__(self, tokenizer_json: bytes) -> None:
        try:
            self._inner = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
            document = json.loads(tokenizer_json)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ModelError(f"the tokeniser does not load: {error}.") from None
        # Control tokens are then never matched in a text.
        self._inner.encode_special_tokens = True
        self._special = {int(e["id"]) for e in document["added_tokens"] if e["special"]}
        framed = list(self._inner.encode("", add_special_tokens=True).ids)
        self._before, self._after = framed[:1], framed[1:]

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, framed."""
        return list(self._inner.encode(text).ids)

    def framed(self, tokens: Sequence[int]) -> list[int] | None:
        """Frame tokens that a client counted itself; None where one stands for no text."""
        size = self._inner.get_vocab_size()
        if any(token in self._special or not 0 <= token < size for token in tokens):
            return None
        return [*self._before, *tokens, *self._after]


def prepared(tokenizer_json: bytes, *, vocab_size: int) -> bytes:
    """Return a tokeniser that neither pads nor cuts: too long a text is refused, never shortened.

    Raises:
        ModelError: It does not load, or has tokens that the model does not.
    """
    try:
        document: dict[str, Any] = json.loads(tokenizer_json)
        document |= {"truncation": None, "padding": None}
        content = json.dumps(document, ensure_ascii=False).encode()
        size = tokenizers.Tokenizer.from_str(content.decode()).get_vocab_size()
    except Exception as error:  # noqa: BLE001 - as above
        raise ModelError(f"the tokeniser does not load: {error}.") from None
    if size > vocab_size:
        raise ModelError("the tokeniser has more tokens than the model.")
    TextEncoder(content)
    return content
