"""Pseudonyms for what may identify a person, on the way to a remote tier and back.

Random for each request and kept only while it runs: who holds what was sent learns from it neither
the value nor whether two requests hold the same one. The answer gets the values back, whole or as
it streams, in text as in the arguments of a tool.

This lowers what is disclosed. It is no de-identification under 45 CFR 164.514: see `identifiers`.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from privacy.errors import PrivacyError
from privacy.identifiers import KINDS, Finding, find

_RANDOM_BYTES = 5
_DIGITS = 2 * _RANDOM_BYTES
_WORDS = sorted({kind.upper() for kind in KINDS}, key=len, reverse=True)
_BEGINNINGS = sorted({word[:n] for word in _WORDS for n in range(1, len(word) + 1)}, key=len)[::-1]
_LONGEST = len(_WORDS[0]) + 1 + _DIGITS
# A value that came in by itself must not be mistaken for one of ours: hence the random digits.
_PSEUDONYM = re.compile(rf"(?:{'|'.join(_WORDS)})_[0-9A-F]{{{_DIGITS}}}")
_TAIL = re.compile(
    rf"(?:(?:{'|'.join(_WORDS)})_[0-9A-F]{{0,{_DIGITS - 1}}}|{'|'.join(_BEGINNINGS)})\Z"
)

__all__ = ["Finding", "Pseudonyms", "Restorer", "find"]


class PseudonymsFailed(PrivacyError):
    """A text could not be put under pseudonyms, so it must not leave."""


class Pseudonyms:
    """The pseudonyms of one request. recognise: finds what to replace."""

    def __init__(self, recognise: Callable[[str], Sequence[Finding]] = find) -> None:
        self._recognise = recognise
        self._by_value: dict[str, str] = {}
        self._by_pseudonym: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many values were replaced."""
        return len(self._by_value)

    @property
    def counts(self) -> dict[str, int]:
        """How many different values were replaced, by their kind."""
        return dict(Counter(name.rpartition("_")[0].lower() for name in self._by_pseudonym))

    def hide(self, text: str) -> str:
        """Return the text with pseudonyms in it.

        Raises:
            PseudonymsFailed: A recogniser failed. Send nothing.
        """
        try:
            return self._hidden(text)
        except Exception as error:
            raise PseudonymsFailed(
                "The text could not be put under pseudonyms, so it is not sent."
            ) from error

    def hide_json(self, value: Any) -> Any:
        """Return a JSON value with pseudonyms in each of its texts, keys left as they are."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_json(each) for each in value]
        if isinstance(value, dict):
            return {name: self.hide_json(each) for name, each in value.items()}
        return value

    def restore(self, text: str) -> str:
        """Return an answer's text with the values back in their places."""
        return _PSEUDONYM.sub(lambda m: self._by_pseudonym.get(m[0], m[0]), text)

    def restore_json_text(self, text: str) -> str:
        """Return JSON text, such as a tool's arguments, with the values back, escaped for it."""
        return _PSEUDONYM.sub(
            lambda m: (
                json.dumps(self._by_pseudonym[m[0]])[1:-1] if m[0] in self._by_pseudonym else m[0]
            ),
            text,
        )

    def restorer(self) -> "Restorer":
        """Return what restores one answer as it streams."""
        return Restorer(self.restore)

    def json_restorer(self) -> "Restorer":
        """Return what restores JSON text as it streams."""
        return Restorer(self.restore_json_text)

    def _hidden(self, text: str) -> str:
        pieces, at = [], 0
        for finding in self._recognise(text):
            value = text[finding.start : finding.end]
            pieces += [text[at : finding.start], self._pseudonym(value, finding.kind)]
            at = finding.end
        hidden = "".join([*pieces, text[at:]])
        # The same value may stand where no recogniser saw it, without its label or its title.
        for value, pseudonym in sorted(self._by_value.items(), key=lambda kv: -len(kv[0])):
            # Most values are gone by now, and looking for a string costs little.
            if value in hidden:
                hidden = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", pseudonym, hidden)
        return hidden

    def _pseudonym(self, value: str, kind: str) -> str:
        known = self._by_value.get(value)
        if known is None:
            known = f"{kind.upper()}_{secrets.token_hex(_RANDOM_BYTES).upper()}"
            self._by_value[value] = known
            self._by_pseudonym[known] = value
        return known


class Restorer:
    """Restores a stream: what could be the beginning of a pseudonym is held back."""

    def __init__(self, restore: Callable[[str], str]) -> None:
        self._restore = restore
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what can be told now."""
        self._held += text
        tail = _TAIL.search(self._held, max(0, len(self._held) - _LONGEST))
        cut = tail.start() if tail else len(self._held)
        for whole in _PSEUDONYM.finditer(self._held, max(0, len(self._held) - _LONGEST)):
            # What looks like a beginning may be the end of a whole one.
            cut = whole.end() if whole.start() < cut < whole.end() else cut
        told, self._held = self._held[:cut], self._held[cut:]
        return self._restore(told)

    def finish(self) -> str:
        """Return what was held back when the answer ended."""
        told, self._held = self._held, ""
        return self._restore(told)
