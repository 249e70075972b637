"""The console's languages: message catalogues as data, and which of them a browser gets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
_DIRECTORY = Path(__file__).parent / "messages"
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
# Names of powers of ten, the largest first; a number is said in the first that it reaches.
_POWERS = {
    "en": ((12, "trillion"), (9, "billion"), (6, "million"), (3, "thousand")),
    "zh": ((12, "万亿"), (8, "亿"), (4, "万")),
}
# Beyond this nobody has a word.
_SAID = 14


@dataclass(frozen=True, slots=True)
class Words:
    """One language's messages, by key."""

    code: str
    messages: Mapping[str, str] = field(repr=False)

    @property
    def tag(self) -> str:
        """The language's tag (RFC 5646)."""
        return {"zh": "zh-Hans"}.get(self.code, self.code)

    def __call__(self, key: str, **values: object) -> str:
        """Return a message with its values in place.

        Raises:
            KeyError: There is no such message.
        """
        return self.messages[key].format(**values)

    def counted(self, key: str, number: int, **values: object) -> str:
        """Return a message about `number` of something; a language may have another for one.

        Raises:
            KeyError: There is no such message.
        """
        one = f"{key}.one"
        return self(one if number == 1 and one in self.messages else key, **values)

    def power(self, exponent: int) -> str:
        """Say ten to the power of `exponent` in words, as far as there are any."""
        raised = f"10{str(exponent).translate(_RAISED)}"
        for least, name in _POWERS[self.code]:
            if least <= exponent <= _SAID:
                return f"{10 ** (exponent - least)} {name} ({raised})"
        return raised

    def known(self, key: str, otherwise: str) -> str:
        """Return a message that may be missing, for words that come from elsewhere."""
        return self.messages.get(key, otherwise)


@cache
def words(code: str) -> Words:
    """Return a language's words."""
    text = (_DIRECTORY / f"{code}.json").read_text(encoding="utf-8")
    return Words(code, json.loads(text))


def chosen(cookie: str | None, accepted: str | None) -> Words:
    """Return the words of a browser: as its cookie says, or as it asks (RFC 9110, 12.5.4)."""
    if cookie in LANGUAGES:
        return words(cookie)
    for asked in _preferred(accepted or ""):
        code = asked.partition("-")[0].lower()
        if code in LANGUAGES:
            return words(code)
    return words("en")


def _preferred(accepted: str) -> list[str]:
    """Return the language ranges of a header, the most wanted first; what is unclear counts 0."""
    weighted = []
    for place, part in enumerate(accepted[:512].split(",")):
        name, _, weight = part.strip().partition(";q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            quality = 0.0
        if quality > 0:
            weighted.append((-quality, place, name))
    return [name for _, _, name in sorted(weighted)]
