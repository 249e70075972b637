"""Text to tokens and back. What looks like a control token in a text stays text."""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tokenizers

from gateway.models import spelling
from gateway.models.errors import ModelError


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text's tokens. offsets: for each the characters of the text it came from, end exclusive.

    A character split over several tokens belongs to each of them. A byte that the vocabulary has
    no token for belongs to none: it is left out, as llama.cpp does.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer:
    """A tokeniser as `vocabulary.py` writes it: byte-level BPE, or SentencePiece by scores.

    bos, eos: what chat templates call `bos_token` and `eos_token`; empty where there is none.
    """

    def __init__(self, tokenizer_json: bytes) -> None:
        try:
            document = json.loads(tokenizer_json)
            self._inner = tokenizers.Tokenizer.from_str(tokenizer_json.decode())
            named = document["post_processor"]["special_tokens"]
            self._spelling = spelling.of(document)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise ModelError(f"the tokeniser does not load: {error}.") from None
        # Control tokens are then never matched in a text.
        self._inner.encode_special_tokens = True
        self.bos, self.eos = (
            "".join(named[name]["tokens"]) if name in named else "" for name in ("bos", "eos")
        )
        self._added = {entry["content"]: int(entry["id"]) for entry in document["added_tokens"]}
        self._control = {
            entry["content"]: int(entry["id"])
            for entry in document["added_tokens"]
            if entry["special"]
        }
        self._pattern = _any_of(self._control)

    def encode(self, text: str) -> list[int]:
        """Encode a text; control tokens in it are plain text."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_with_offsets(self, text: str) -> Encoded:
        """Encode a text as `encode` does, and say which characters each token came from."""
        ids = self.encode(text)
        # The library's own offsets drift behind a byte that was left out; these count bytes.
        characters = [
            position
            for position, character in enumerate(text)
            for byte in character.encode()
            if self._spelling.knows(byte)
        ]
        offsets, begin = [], 0
        # Whether the next token begins with a space that is not the text's.
        prefixed = self._spelling.prefixed
        for token in ids:
            whole = self._inner.id_to_token(token) in self._added
            end = begin + len(self.token_bytes(token)) - (prefixed and not whole)
            # A prefix that became a token of its own covers no character.
            place = characters[begin] if begin < len(characters) else len(text)
            offsets.append((place, characters[end - 1] + 1 if end > begin else place))
            begin, prefixed = end, whole and self._spelling.prefixed
        return Encoded(ids, offsets)

    def split_control(self, text: str) -> Iterator[str | int]:
        """Cut a template's own text at its control tokens: pieces of text, and token ids."""
        for piece in self._pattern.split(text):
            if piece:
                yield self._control.get(piece, piece)

    def decoder(self) -> "Decoder":
        """Return a fresh decoder for one answer."""
        return Decoder(self)

    def token_bytes(self, token: int) -> bytes:
        """Return a token's bytes in a text: none for a control token or an id without a token."""
        content = self._inner.id_to_token(token)
        if content is None or content in self._control:
            return b""
        if content in self._added:
            return content.encode()
        return self._spelling.octets(content)


class Decoder:
    """Tokens to text as they come; a character is held back until all of its bytes are there."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._text = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, tokens: Sequence[int]) -> str:
        """Return the text that these tokens complete."""
        return self._text.decode(b"".join(self._tokenizer.token_bytes(token) for token in tokens))

    def finish(self) -> str:
        """Return what an answer that ended inside a character leaves: a replacement character."""
        return self._text.decode(b"", final=True)


def _any_of(tokens: dict[str, int]) -> re.Pattern[str]:
    """Match any of the tokens, the longest first; with none, match nothing."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if tokens else "(?!)")
