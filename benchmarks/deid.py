"""Recall and precision of the recognisers on generated notes whose identifiers are known.

Over both sets of phrases of `deid_notes.py`. Generated notes are tidier than real ones: read both
figures as upper bounds. Nothing here is de-identification.
"""

import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# This folder has files named like packages; the repository comes before it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contract import Figure, parser, report
from benchmarks.deid_notes import HELD_OUT, PHRASES, Maker, note
from privacy.identifiers import find


@dataclass(frozen=True)
class Tally:
    """What was there, and what of it was found. precision: by character."""

    there: Counter[str]
    whole: Counter[str]
    precision: float

    @property
    def recall(self) -> float:
        """The share of identifiers of which every character was found."""
        return sum(self.whole.values()) / sum(self.there.values())


def tallied(phrases: tuple[Maker, ...], *, notes: int, seed: int) -> Tally:
    """Look for the identifiers of generated notes."""
    chance = random.Random(seed)  # noqa: S311 - notes, not keys
    there, whole = Counter[str](), Counter[str]()
    hidden = right = 0
    for _ in range(notes):
        text, marks = note(chance, phrases)
        covered = {i for f in find(text) for i in range(f.start, f.end)}
        identifying = {i for start, end, _ in marks for i in range(start, end)}
        hidden += len(covered)
        right += len(covered & identifying)
        for start, end, kind in marks:
            there[kind] += 1
            whole[kind] += covered.issuperset(range(start, end))
    return Tally(there, whole, right / hidden)


def main() -> None:
    """Print recall by kind, and precision, over both sets of phrases."""
    options = parser(__doc__ or "")
    options.add_argument("--notes", type=int, help="how many to generate of each set")
    options.add_argument("--seed", type=int, default=7)
    arguments = options.parse_args()
    notes = arguments.notes or (300 if arguments.quick else 3000)
    figures = []
    for name, phrases in (("known", PHRASES), ("held_out", HELD_OUT)):
        tally = tallied(phrases, notes=notes, seed=arguments.seed)
        found = f"{sum(tally.whole.values())} of {sum(tally.there.values())}"
        figures += [
            Figure(f"recall_{name}", tally.recall, "", ">= 0.95", ours=found),
            Figure(f"precision_{name}", tally.precision, "", ">= 0.9"),
            *(
                Figure(f"recall_{name}_{kind}", tally.whole[kind] / tally.there[kind], "", ">= 0.9")
                for kind in sorted(tally.there)
            ),
        ]
    report(figures, destination=arguments.json)


if __name__ == "__main__":
    main()
