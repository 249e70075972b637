"""Keyed fingerprints: how a text is found again that carries no mark.

For tiers that give no logits, and for answers whose mark came out weak. A text's words are cut
into overlapping shingles, each becomes a number under a key, and of every few neighbours the
smallest is kept (winnowing: Schleimer, Wilkerson and Aiken, 2003). What two texts share in a row
of enough words they share in kept numbers, wherever it stands and whatever surrounds it.

Without the key the numbers tell nothing, so that a stolen table does not reveal what was written.
docs/formats/fingerprint-v1.md has the format and its rate of false matches.
"""

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from watermark.readings import readings

VERSION = 1
# Words of a shingle, and shingles of which the smallest is kept: a run of
# SHINGLE_WORDS + WINDOW - 1 shared words always shares a number.
SHINGLE_WORDS = 6
WINDOW = 4
GUARANTEE_WORDS = SHINGLE_WORDS + WINDOW - 1
NUMBER_BITS = 63
# Shared numbers that make a match. Phrases that everybody writes reach one or two.
LEAST_SHARED = 6

_LABEL = b"sealgate/fingerprint-v1/shingle"
_WORD = re.compile(r"[^\W_]+")
_FOREIGN = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Match:
    """A text that shares `shared` different numbers with the one asked about.

    share: of the stored text's numbers, from 0 to 1.
    """

    label: str
    shared: int
    share: float


def fingerprint(text: str, *, key: bytes) -> frozenset[int]:
    """Return a text's numbers, each below 2^63; none if it has too few words.

    key: 32 bytes. Case, punctuation, spacing and letters in disguise make no difference.
    """
    words = _words(text)
    numbers = [
        _number(words[i : i + SHINGLE_WORDS], key) for i in range(len(words) - SHINGLE_WORDS + 1)
    ]
    if len(numbers) < WINDOW:
        return frozenset(numbers)
    return frozenset(min(numbers[i : i + WINDOW]) for i in range(len(numbers) - WINDOW + 1))


def matches(found: Iterable[str], sizes: Mapping[str, int]) -> list[Match]:
    """Return the stored texts that share enough numbers, the most first.

    found: the label of each stored number that the text asked about has. sizes: how many numbers
    each stored text has.
    """
    shared = Counter(found)
    enough = [
        Match(label, count, count / sizes[label])
        for label, count in shared.items()
        if count >= LEAST_SHARED
    ]
    return sorted(enough, key=lambda match: (-match.shared, match.label))


def _words(text: str) -> list[str]:
    """Return the words of the text's plainest reading, in one case and without accents."""
    plain = _FOREIGN.sub(_decomposed, readings(text)[-1].text).casefold()
    letters = "".join([c for c in plain if not unicodedata.combining(c)])
    return _WORD.findall(letters)


def _decomposed(character: re.Match[str]) -> str:
    # One by one: a whole text's marks would be put in order first, n of them in n^2 steps.
    return unicodedata.normalize("NFKD", character.group())


def _number(shingle: list[str], key: bytes) -> int:
    digest = hmac.digest(key, _LABEL + "\x00".join(shingle).encode(), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") >> (64 - NUMBER_BITS)
