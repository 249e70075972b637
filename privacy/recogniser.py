"""One recogniser: a pattern, what of it is the finding, and a last look at that."""

import re
from collections.abc import Callable
from dataclasses import dataclass

CODE = r"[A-Z0-9](?:[A-Z0-9-]{2,20})[A-Z0-9]"
# No recogniser looks beyond a bounded stretch of text from where it begins: one that could would
# take the square of a text's length, and any caller may send one that is made for it. Blanks alone
# have no bound, for forms set values far from their labels: none begins among them, and what takes
# a run of them gives none back (`*+`), so that a text's runs are read a fixed number of times.
_GAP = r"\s*+"


@dataclass(frozen=True, slots=True)
class Recogniser:
    """group: what the finding is; the rest of the match is its context.

    skip: how many characters at its beginning are none of it. accept: the last look at the rest.
    likely: whether it is worth hiding and yet may be nobody's, such as two capitals in a row.
    """

    kind: str
    pattern: re.Pattern[str]
    group: int = 0
    accept: Callable[[str], bool] = bool
    skip: Callable[[str], int] = lambda _: 0
    likely: bool = False


def labelled(kind: str, label: str, value: str = CODE) -> Recogniser:
    """Recognise a value behind a label: `MRN: 12345`, `account no. 99-12`."""
    words = r"(?:number|no\.?|num\.?|nr\.?|#|id|ID|code|is|was|of)"
    between = rf"(?:{_GAP}{words}){{0,4}}{_GAP}[:#=]?{_GAP}"
    pattern = rf"\b(?i:{label})\b{between}(?=[A-Z0-9-]{{0,32}}\d|\(|[A-Z]{{2,3}} \d)({value})"
    return Recogniser(kind, re.compile(pattern), 1)
