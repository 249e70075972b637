"""Looks through the windows of a text for the ids that were written under one key.

Windows are taken by how high any codeword could score in them, so that most are never decoded:
one that cannot reach the threshold, or not beat what was found, is passed over.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark import bounds, code
from watermark.decoding import Candidates, decode
from watermark.issued import IssuedIds
from watermark.passage import Passage
from watermark.prf import MarkCipher
from watermark.tally import Table, Tally, tally
from watermark.windows import windows

# Scored tokens in which windows begin, whose running sums are held at a time: about 50 MB.
SECTION = 4800
# Windows looked into in a section, those that could score highest first. Each stretch of it has a
# share of its own, so that one long mark leaves room for a short one elsewhere.
_SEARCHED = 192
_STRETCH = 600


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """The ids that may be found under one key in one mode, and what finding one is worth.

    mode: `blind` or `log`. issued: None in blind mode.
    """

    mode: str
    key_label: str
    tests: bounds.Tests
    issued: IssuedIds | None = None

    @property
    def count(self) -> int:
        """How many ids there are."""
        return bounds.BLIND_HYPOTHESES if self.issued is None else self.issued.size

    def needed(self, log_bound: float, *, width: int) -> float:
        """Return the score in a window at which the logarithm of the bound on p is `log_bound`."""
        share = self.tests.inverse_share(width)
        return bounds.needed(log_bound, tests=share, hypotheses=self.count)

    def log_p(self, score: float, *, width: int) -> float:
        """Return the logarithm of the bound on p of a score in a window."""
        share = self.tests.inverse_share(width)
        return bounds.log_p(score, tests=share, hypotheses=self.count)

    def find(self, table: Table, *, floor: float, within: float = 0.0) -> Candidates:
        """Return the best id's codeword that scores at least `floor`, with those `within` nats."""
        if self.issued is None:
            return decode(table, floor=floor, within=within)
        return self.issued.search(table, floor=floor, within=within)


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A window whose table is worth a closer look. window: scored tokens, end exclusive.

    least: the largest logarithm of a bound that is of interest here.
    """

    table: Table
    epsilon: int
    window: tuple[int, int]
    least: float

    @property
    def width(self) -> int:
        """How many scored tokens the window has."""
        return self.window[1] - self.window[0]

    def ceiling(self) -> float:
        """Return what no codeword can exceed: the sum of the rows' maxima."""
        return float(self.table.max(axis=1).sum())

    def explain(self, codeword: np.uint64) -> None:
        """Take an id that was found out of the table: its cells no longer speak for any other.

        A cell of zero says that nothing was seen. What is left is scored as if only that id had
        been written here, under which no other cell depends on how its tokens were drawn.
        """
        found = code.symbols(np.array([codeword]))[0]
        self.table[np.arange(code.LENGTH), found] = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The best id so far, and where it was seen."""

    log_bound: float
    log_evidence: float
    codeword: np.uint64
    hypotheses: Hypotheses
    sighting: Sighting


@dataclass(frozen=True, slots=True, eq=False)
class _Section:
    """Windows that begin in one stretch of a text. own: the stretch; sections' do not overlap."""

    own: tuple[int, int]
    windows: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([self.windows.ravel(), self.own]))


def look(passage: Passage, key: bytes, hypotheses: Sequence[Hypotheses]) -> list[Sighting]:
    """Return the windows in which an id could reach the threshold under a key, and the whole text.

    Those that could score highest come first, the whole text last.

    passage: at least one scored token.
    """
    cipher = MarkCipher(key)
    # All narrower windows need the same score.
    floor = min(each.needed(bounds.LOG_THRESHOLD, width=0) for each in hypotheses)
    found: list[tuple[float, Sighting]] = []
    whole: NDArray[np.float64] | None = None
    for section in _sections(passage.size):
        running = tally(cipher, passage, section.edges)
        found += _promising(running, section.windows, floor)
        tables = np.stack([running.table(e, *section.own) for e in range(len(running.sums))])
        whole = tables if whole is None else whole + tables
    found.sort(key=lambda each: -each[0])
    # The whole text is searched for a weaker bound too, so that there is one to say.
    everything = [
        Sighting(table, epsilon, (0, passage.size), bounds.LOG_STATED)
        for epsilon, table in enumerate(() if whole is None else whole)
    ]
    return [sighting for _, sighting in found] + everything


def strongest(
    sightings: Iterable[Sighting], hypotheses: Sequence[Hypotheses], *, best: Finding | None
) -> Finding | None:
    """Return the best finding among sightings under one key, or `best` if that is as good."""
    for sighting in sightings:
        ceiling = sighting.ceiling()
        for each in hypotheses:
            limit = sighting.least if best is None else min(sighting.least, best.log_bound)
            floor = each.needed(limit, width=sighting.width)
            if ceiling < floor:
                continue
            found = each.find(sighting.table, floor=floor)
            if not found.scores.size:
                continue
            score = float(found.scores[0])
            bound = each.log_p(score, width=sighting.width)
            if best is None or bound < best.log_bound:
                best = Finding(bound, score, found.codewords[0], each, sighting)
    return best


def _sections(scored: int) -> Iterator[_Section]:
    narrower = windows(scored)[:-1]
    for begin in range(0, scored, SECTION):
        own = (begin, min(begin + SECTION, scored))
        starts = narrower[:, 0]
        yield _Section(own, narrower[(own[0] <= starts) & (starts < own[1])])


def _promising(
    running: Tally, candidates: NDArray[np.int64], floor: float
) -> list[tuple[float, Sighting]]:
    """Return the windows of a section that could score highest, each with its ceiling."""
    ceilings = running.ceilings(candidates)
    stretches = (candidates[:, 0] - running.edges[0]) // _STRETCH
    share = max(_SEARCHED * _STRETCH // SECTION, _SEARCHED // (int(stretches.max(initial=0)) + 1))
    found = []
    for stretch in np.unique(stretches):
        rows = np.flatnonzero(stretches == stretch)
        own = ceilings[:, rows]
        for flat in np.argsort(-own, axis=None, kind="stable")[:share]:
            epsilon, row = divmod(int(flat), rows.size)
            if own[epsilon, row] < floor:
                break
            start, end = (int(edge) for edge in candidates[rows[row]])
            table = running.table(epsilon, start, end)
            sighting = Sighting(table, epsilon, (start, end), bounds.LOG_THRESHOLD)
            found.append((float(own[epsilon, row]), sighting))
    return found
