"""Tells whether a text carries marks, whose key each is and which id, with a bound on the error.

The bound holds for any text that was written without knowledge of the key: it rests on the keyed
function alone, and on no corpus. How much a detector searches affects what it finds, never the
bound, which counts every test that could have been made (`bounds`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark import bounds, code, score
from watermark.extent import extent
from watermark.issued import IssuedIds
from watermark.passage import Passage, read
from watermark.search import Finding, Hypotheses, Sighting, look, strongest

# Ids reported of one text; a text of more is reported in part.
MOST_PASSAGES = 32
# Candidates this far below the best, in nats, no longer matter to its confidence.
_RIVALS = 20.0


@dataclass(frozen=True, slots=True)
class Detection:
    """What one mark in a text says, or that there is none.

    verdict: `traced` if p_value is at most 1e-6, `too_short` if no mark could have reached that,
    else `no_trace`. p_value: a bound on the probability that a text without a mark scores so high
    anywhere under any of the keys. mode: `blind` if the id was read from the text alone, `log` if
    it was found among the issued. confidence: the posterior probability of the id; 0 unless
    traced. start, end: tokens that carry the mark, end exclusive; both 0 unless traced.
    """

    verdict: str
    p_value: float
    mode: str
    confidence: float
    key_label: str | None = None
    trace_id: int | None = None
    start: int = 0
    end: int = 0


def detect(
    ids: Sequence[int],
    keys: Mapping[str, bytes],
    *,
    issued: Mapping[str, NDArray[np.uint32]] | None = None,
    trials: int = 1,
) -> Detection:
    """Look for the strongest mark of any of the keys in a text; else as `survey`."""
    return survey(ids, keys, issued=issued, trials=trials, most=1)[0]


def survey(
    ids: Sequence[int],
    keys: Mapping[str, bytes],
    *,
    issued: Mapping[str, NDArray[np.uint32]] | None = None,
    trials: int = 1,
    most: int = MOST_PASSAGES,
) -> list[Detection]:
    """Look for every mark of any of the keys in a text, as docs/formats/mark-v1.md defines it.

    Returns the ids found, the strongest first, each once; or one detection that is not `traced`.

    ids: the text's tokens. keys: mark keys, 32 bytes each, by label. issued: the ids issued under
    each key, by the same labels; given, both modes are tried and the bound pays for both. trials:
    how many token lists are tried for this text, this one included; the bound pays for them.

    Raises:
        TokenOutOfRange: A token id is negative or has more than 18 bits.
        KeyMalformed: A key has the wrong length.
    """
    passage = read(ids)
    hypotheses = _hypotheses(passage.size, keys, issued, trials)
    if _too_short(passage.size, hypotheses):
        return [Detection("too_short", 1.0, "blind", 0.0)]
    sightings = {label: look(passage, key, hypotheses[label]) for label, key in keys.items()}
    found: list[Detection] = []
    best = _strongest(sightings, hypotheses)
    strongest_bound = 0.0 if best is None else best.log_bound
    while best is not None and best.log_bound <= bounds.LOG_THRESHOLD and len(found) < most:
        label = best.hypotheses.key_label
        found.append(_traced(passage, keys[label], best))
        if len(found) < most:
            for sighting in sightings[label]:
                sighting.explain(best.codeword)
            best = _strongest(sightings, hypotheses)
    if found:
        return found
    mode = "blind" if best is None else best.hypotheses.mode
    return [Detection("no_trace", bounds.p_value(strongest_bound), mode, 0.0)]


def _hypotheses(
    scored: int,
    keys: Mapping[str, bytes],
    issued: Mapping[str, NDArray[np.uint32]] | None,
    trials: int,
) -> dict[str, list[Hypotheses]]:
    """Return what is searched under each key; without issued ids, a key is searched blind only."""
    modes = 1 if issued is None else 2
    tests = bounds.Tests(scored, keys=len(keys), modes=modes, trials=trials)
    found = {label: [Hypotheses("blind", label, tests)] for label in keys}
    for label, trace_ids in (issued or {}).items():
        if label in found and trace_ids.size:
            found[label].append(Hypotheses("log", label, tests, IssuedIds(trace_ids)))
    return found


def _too_short(scored: int, hypotheses: Mapping[str, list[Hypotheses]]) -> bool:
    """Tell whether the largest score that these tokens could have stays below every threshold."""
    # A narrower window needs more, and has fewer tokens to reach it.
    needed = [
        each.needed(bounds.LOG_THRESHOLD, width=scored)
        for key in hypotheses.values()
        for each in key
    ]
    return scored * score.ceiling() < min(needed, default=0.0)


def _strongest(
    sightings: Mapping[str, list[Sighting]], hypotheses: Mapping[str, list[Hypotheses]]
) -> Finding | None:
    best: Finding | None = None
    for label, seen in sightings.items():
        best = strongest(seen, hypotheses[label], best=best)
    return best


def _traced(passage: Passage, key: bytes, best: Finding) -> Detection:
    start, end = passage.span(*extent(passage, key, best))
    return Detection(
        verdict="traced",
        p_value=bounds.p_value(best.log_bound),
        mode=best.hypotheses.mode,
        confidence=_confidence(best),
        key_label=best.hypotheses.key_label,
        trace_id=int(code.trace_ids(np.array([best.codeword]))[0]),
        start=start,
        end=end,
    )


def _confidence(best: Finding) -> float:
    """Return the softmax of the id's score among its rivals' and that of no mark at all.

    No mark is as probable beforehand as a mark of any of the (test, id) pairs together.
    """
    floor = best.log_evidence - _RIVALS
    rivals = best.hypotheses.find(best.sighting.table, floor=floor, within=_RIVALS)
    ratios = np.exp(rivals.scores - best.log_evidence)
    return 1 / (float(ratios.sum()) + math.exp(best.log_bound))
