"""Looks through the windows of a text for the best id under one key.

Windows are taken by how high any codeword could score in them, so that most are never decoded:
one that cannot reach the threshold, or not beat what was found, is passed over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark import bounds
from watermark.decoding import Candidates, decode
from watermark.issued import IssuedIds
from watermark.passage import Passage
from watermark.prf import MarkCipher
from watermark.tally import Table, Tally, tally
from watermark.windows import windows

# Scored tokens in which windows begin, whose running sums are held at a time: about 50 MB.
SECTION = 4800
# Windows looked into in a section, those that could score highest first.
_SEARCHED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Hypotheses:
    """The ids that may be found under one key in one mode, and what finding one is worth.

    mode: `blind` or `log`. tests: M of `bounds`. issued: None in blind mode.
    """

    mode: str
    key_label: str
    tests: int
    issued: IssuedIds | None = None

    @property
    def count(self) -> int:
        """How many ids there are."""
        return bounds.BLIND_HYPOTHESES if self.issued is None else self.issued.size

    def needed(self, log_bound: float) -> float:
        """Return the score at which the logarithm of the bound on p is `log_bound`."""
        return bounds.needed(log_bound, tests=self.tests, hypotheses=self.count)

    def find(self, table: Table, *, floor: float, within: float = 0.0) -> Candidates:
        """Return the best id's codeword that scores at least `floor`, with those `within` nats."""
        if self.issued is None:
            return decode(table, floor=floor, within=within)
        return self.issued.search(table, floor=floor, within=within)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The best id so far. window: scored tokens, end exclusive. table: the window's scores."""

    log_bound: float
    log_evidence: float
    codeword: np.uint64
    hypotheses: Hypotheses
    window: tuple[int, int]
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class _Section:
    """Windows that begin in one stretch of a text. own: the stretch; sections' do not overlap."""

    own: tuple[int, int]
    windows: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([self.windows.ravel(), self.own]))


def search(
    passage: Passage, key: bytes, hypotheses: Sequence[Hypotheses], *, best: Finding | None
) -> Finding | None:
    """Return the best finding under a key, or `best` if that is as good.

    passage: at least one scored token.
    """
    cipher = MarkCipher(key)
    whole = None
    for section in _sections(passage.size):
        running = tally(cipher, passage, section.edges)
        for epsilon, window in _promising(running, section.windows):
            table = running.table(epsilon, *window)
            best = _better(best, table, window, hypotheses, limit=bounds.LOG_THRESHOLD)
        tables = np.stack([running.table(e, *section.own) for e in range(len(running.sums))])
        whole = tables if whole is None else whole + tables
    # The whole text comes last and is searched for any bound at all, so that there is one to say.
    for table in () if whole is None else whole:
        best = _better(best, table, (0, passage.size), hypotheses, limit=0.0)
    return best


def _sections(scored: int) -> Iterator[_Section]:
    narrower = windows(scored)[:-1]
    for begin in range(0, scored, SECTION):
        own = (begin, min(begin + SECTION, scored))
        starts = narrower[:, 0]
        yield _Section(own, narrower[(own[0] <= starts) & (starts < own[1])])


def _promising(
    running: Tally, candidates: NDArray[np.int64]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield e index and window of those that could score highest, the highest first."""
    ceilings = running.ceilings(candidates)
    for flat in np.argsort(-ceilings, axis=None, kind="stable")[:_SEARCHED]:
        epsilon, row = divmod(int(flat), len(candidates))
        start, end = candidates[row]
        yield epsilon, (int(start), int(end))


def _better(
    best: Finding | None,
    table: Table,
    window: tuple[int, int],
    hypotheses: Sequence[Hypotheses],
    *,
    limit: float,
) -> Finding | None:
    """Return the best finding in a table whose bound is below `limit`, if it beats `best`."""
    ceiling = float(table.max(axis=1).sum())
    for each in hypotheses:
        floor = each.needed(limit if best is None else min(limit, best.log_bound))
        found = each.find(table, floor=floor) if ceiling >= floor else None
        if found is None or not found.scores.size:
            continue
        score = float(found.scores[0])
        bound = bounds.log_p(score, tests=each.tests, hypotheses=each.count)
        if best is None or bound < best.log_bound:
            best = Finding(bound, score, found.codewords[0], each, window, table)
    return best
