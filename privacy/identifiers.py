"""What in a text may identify a person: patterns for the identifiers of 45 CFR 164.514(b)(2)(i).

Patterns and short word lists, no model: fast, explainable, and blind to a lone surname that nothing
announces. What is found is no proof that nothing else is there, so
nothing here is ever called de-identified.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from privacy.proper_names import NAMES, PLACES
from privacy.recogniser import Recogniser
from privacy.recognisers import NUMBERS

RECOGNISERS = (*NUMBERS, *PLACES, *NAMES)


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of the text, in characters, end exclusive. kind: one of `KINDS`."""

    start: int
    end: int
    kind: str


KINDS = tuple(dict.fromkeys(recogniser.kind for recogniser in RECOGNISERS))


def find(text: str) -> list[Finding]:
    """Return what may identify a person, in order, none overlapping."""
    return merged(_matches(text, RECOGNISERS))


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in order, none overlapping.

    Of two that overlap the one that begins first stays, and is widened to the end of the other.
    """
    found: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        last = found[-1] if found else None
        if last is None or finding.start >= last.end:
            found.append(finding)
        elif finding.end > last.end:
            found[-1] = Finding(last.start, finding.end, last.kind)
    return found


def identifies(text: str) -> bool:
    """Tell whether a text holds an identifier that is surely one.

    What only may be one, such as two capitals in a row, is hidden on its way out, and does not turn
    a text that concerns nobody into a patient's.
    """
    sure = tuple(recogniser for recogniser in RECOGNISERS if not recogniser.likely)
    return any(True for _ in _matches(text, sure))


def _matches(text: str, recognisers: Sequence[Recogniser]) -> Iterator[Finding]:
    for recogniser in recognisers:
        for match in recogniser.pattern.finditer(text):
            start, end = match.span(recogniser.group)
            start += recogniser.skip(text[start:end])
            if start < end and recogniser.accept(text[start:end]):
                yield Finding(start, end, recogniser.kind)
