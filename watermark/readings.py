"""Ways to read a text that somebody may have disguised or reformatted: docs/formats/mark-v1.md.

Each reading undoes more than the one before. Which ones there are follows from the text alone,
never from a key or from what a detector found, so that the bound can count them as trials.
"""

import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from watermark.lookalikes import LATIN

MOST_READINGS = 4

# A line this long was broken to fit a page rather than ended by its writer.
_WRAPPED_CHARACTERS = 40
# A text with fewer letters of one case than one in this many was put into the other.
_RARE_CASE = 100

_SUSPECT = re.compile(r"[^\n\t -~]|  | \n|\n\n\n")
# Of a character's combining marks no more take part: Unicode's stream-safe format (UAX 15, 13)
# allows as many, and to put n of them in order takes n^2.
_MOST_MARKS = 30
# What a character may be longer in its compatibility form; no Latin one gains more, and one
# Arabic ligature would make a text eighteen times as long.
_MOST_LONGER = 3
_MARK = r"[\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff]"
_UNPLAIN = re.compile(rf"\r\n|.{_MARK}+|[^\n\t -~]", re.DOTALL)
_SPACES = re.compile(r" {2,}| (?=\n)")
_LINE_FEEDS = re.compile(r"\n{3,}")
_WORD = re.compile(r"[^\W\d_]+")
_LISTED = re.compile(r"[-*#>\u2022]|\w{1,3}[.)] ")
_BREAK = re.compile(r"(?<=\S)\n(?=\S)")
_TOKEN = re.compile(r"\w+")
_BEGUN = re.compile(r"\n|[.!?][\"')\]]? ")
_PRONOUN = re.compile(r"\bi\b")

_LINE_ENDS = frozenset("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
# What has no ink though no category tells: fillers, then variation selectors.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)
_INKLESS = frozenset({*_FILLERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)})
_HYPHENS = frozenset("\u2010\u2011")


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One way to read a text. origins: for each character, the original's that it stands for."""

    text: str
    origins: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the original's characters behind [start, end), not empty."""
        return self.origins[start], self.origins[end - 1] + 1


def readings(text: str) -> list[Reading]:
    """Return the different ways to read a text, as it stands first: at most `MOST_READINGS`."""
    found = [Reading(text, range(len(text)))]
    for change in (_cleaned, _joined, _recased):
        changed = change(found[-1])
        if changed.text != found[-1].text:
            found.append(changed)
    return found


def _cleaned(reading: Reading) -> Reading:
    """Leave what a reader sees: no hidden characters, plain spaces, no letters in disguise."""
    if not _SUSPECT.search(reading.text):
        return reading
    pieces, origins, done = [], array("q"), 0
    for match in _UNPLAIN.finditer(reading.text):
        begin, end = match.span()
        seen = _seen(match.group())
        pieces += [reading.text[done:begin], seen]
        origins.extend(range(done, begin))
        origins.extend([begin] * len(seen))
        done = end
    pieces.append(reading.text[done:])
    origins.extend(range(done, len(reading.text)))
    places = array("q", map(reading.origins.__getitem__, origins))
    return _spaced(Reading(_latin("".join(pieces)), places))


def _seen(cluster: str) -> str:
    """Return a character with its marks in its compatibility form, or nothing if it has no ink."""
    if cluster == "\r\n":
        return "\n"
    cluster = cluster[: 1 + _MOST_MARKS]
    composed = unicodedata.normalize("NFKC", cluster)
    if len(composed) > len(cluster) + _MOST_LONGER:
        composed = cluster
    kept = "".join(_ink(character) for character in composed)
    # A mark that composes with no Latin letter was put on it as a disguise.
    return kept[:1] if kept[:1].isascii() and len(kept) > 1 and _marks(kept[1:]) else kept


def _ink(character: str) -> str:
    if character in "\n\t" or " " <= character <= "~":
        return character
    if character in _LINE_ENDS:
        return "\n"
    if character in _HYPHENS:
        return "-"
    category = unicodedata.category(character)
    if category == "Zs":
        return " "
    return "" if category in {"Cc", "Cf"} or ord(character) in _INKLESS else character


def _marks(text: str) -> bool:
    return all(unicodedata.combining(character) for character in text)


def _latin(text: str) -> str:
    """Put Latin letters for their look-alikes, one for one, where a Latin word was meant."""
    if text.isascii():
        return text
    letters = sum(character.isalpha() for character in text)
    latin = 2 * sum(character.isascii() and character.isalpha() for character in text) >= letters

    def meant(match: re.Match[str]) -> str:
        word = match.group()
        alike = sum(character in LATIN for character in word)
        mixed = any(character.isascii() for character in word)
        if alike and (mixed or (latin and alike == len(word))):
            return "".join(LATIN.get(character, character) for character in word)
        return word

    return _WORD.sub(meant, text)


def _spaced(reading: Reading) -> Reading:
    """Leave one space of several, none before a line's end, and at most one empty line."""
    text = reading.text
    within = [
        (match.start() + (text[match.end() : match.end() + 1] != "\n"), match.end())
        for match in _SPACES.finditer(text)
    ]
    spaced = _without(reading, within)
    empty = [(match.start() + 2, match.end()) for match in _LINE_FEEDS.finditer(spaced.text)]
    return _without(spaced, empty)


def _without(reading: Reading, parts: list[tuple[int, int]]) -> Reading:
    pieces, origins, done = [], array("q"), 0
    for begin, end in [*parts, (len(reading.text), len(reading.text))]:
        pieces.append(reading.text[done:begin])
        origins.extend(reading.origins[done:begin])
        done = end
    return Reading("".join(pieces), origins)


def _joined(reading: Reading) -> Reading:
    """Put a space for each line end that only made lines fit."""
    text = reading.text
    # In a text of one case a small letter says nothing about where a sentence begins.
    telling = not _has_one_case(text)
    characters = list(text)
    for match in _BREAK.finditer(text):
        place = match.start()
        wrapped = place - text.rfind("\n", 0, place) > _WRAPPED_CHARACTERS
        ended = text[place - 1] in ".!?:" or _LISTED.match(text, place + 1)
        if (wrapped and not ended) or (telling and text[place + 1].islower()):
            characters[place] = " "
    return Reading("".join(characters), reading.origins)


def _recased(reading: Reading) -> Reading:
    """Give a text that is all small or all capital the capitals that sentences have."""
    text = reading.text
    if not _has_one_case(text):
        return reading
    # One for one: a letter whose other case is longer stays as it is.
    lowered = "".join([_cased(character, str.lower) for character in text])
    characters = list(_PRONOUN.sub("I", lowered))
    for place in _begins(lowered):
        characters[place] = _cased(characters[place], str.upper)
    return Reading("".join(characters), reading.origins)


def _begins(text: str) -> Iterator[int]:
    """Return where the text's first word begins, and each that a line or sentence begins with."""
    # Word by word: one pattern for all of it would look at `. . . .` once for every full stop.
    done: int | None = None
    for match in _TOKEN.finditer(text):
        if done is None or _BEGUN.search(text, done, match.start()):
            yield match.start()
        done = match.end()


def _has_one_case(text: str) -> bool:
    capital = sum(map(str.isupper, text))
    small = sum(map(str.islower, text))
    return _RARE_CASE * min(capital, small) <= capital + small


def _cased(character: str, change: Callable[[str], str]) -> str:
    changed = change(character)
    return changed if len(changed) == 1 else character
