"""The tokeniser of a model that runs elsewhere, as its `tokenizer.json` says: only to read texts.

Any kind that the library knows is taken; what a sealed model's own tokeniser must have beyond that,
to write with and to build a grammar over, nobody here needs of it.
"""

import tokenizers

from gateway.models.errors import ModelError
from gateway.models.tokenizer import Encoded


class ForeignTokenizer:
    """Cuts texts into tokens. largest: its largest token id."""

    def __init__(self, tokenizer_json: bytes) -> None:
        """Read a `tokenizer.json`.

        Raises:
            ModelError: It is none.
        """
        try:
            self._inner = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ModelError(f"the tokeniser does not load: {error}.") from None
        # Control tokens are then never matched in a text, and no text is cut off or filled up.
        self._inner.encode_special_tokens = True
        self._inner.no_truncation()
        self._inner.no_padding()
        self.largest = max(self._inner.get_vocab(with_added_tokens=True).values(), default=0)

    def encode(self, text: str) -> list[int]:
        """Encode a text; control tokens in it are plain text."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_with_offsets(self, text: str) -> Encoded:
        """Encode a text as `encode` does, and say which characters each token came from."""
        found = self._inner.encode(text, add_special_tokens=False)
        return Encoded(list(found.ids), [(int(start), int(end)) for start, end in found.offsets])
