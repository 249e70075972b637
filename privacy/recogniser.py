"""One recogniser: a pattern, what of it is the finding, and a last look at that."""

import re
from collections.abc import Callable
from dataclasses import dataclass

CODE = r"[A-Z0-9](?:[A-Z0-9-]{2,20})[A-Z0-9]"


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
    between = r"(?:\s*(?:number|no\.?|num\.?|nr\.?|#|id|ID|code|is|was|of))*\s*[:#=]?\s*"
    pattern = rf"\b(?i:{label})\b{between}(?=[A-Z0-9-]*\d|\(|[A-Z]{{2,3}} \d)({value})"
    return Recogniser(kind, re.compile(pattern), 1)
