"""From a score to a p-value: what every choice that the detector makes costs.

For one codeword, fixed before the text is seen, E[exp(score)] <= 1 in an unmarked text, so that
a score of L or more has probability at most exp(-L) (Markov). The best of several tests has at
most the sum of their probabilities. Each has its share of what may go wrong: half is the whole
text's and half is divided evenly among the narrower windows, either then evenly over the e values,
keys, modes and trials. M is the inverse of a test's share, each over the hypotheses of its mode:
all 2^32 ids blind, or the ids issued under the key.
"""

import math
from dataclasses import dataclass

from watermark import windows
from watermark.score import EPSILONS

THRESHOLD = 1e-6
LOG_THRESHOLD = math.log(THRESHOLD)
BLIND_HYPOTHESES = 2**32
# An answer is `traceable` if a search of this many issued ids would find it.
ISSUED_REFERENCE = 10**6
# Odds of one in a hundred, for the best of the e values: less is not worth calling a mark.
WEAK_THRESHOLD = 1e-2

# A bound above this is not looked for, and stated as 1.
LOG_STATED = math.log(WEAK_THRESHOLD)

# Below this a float64 loses digits; the bound is then stated as this.
_SMALLEST = 1e-300


@dataclass(frozen=True, slots=True)
class Tests:
    """All tests of a text of `scored` scored tokens. trials: token lists tried for the text."""

    scored: int
    keys: int
    modes: int
    trials: int

    def inverse_share(self, width: int) -> int:
        """Return M of each test of a window of `width` scored tokens; the whole text is one."""
        narrower = windows.count(self.scored) - 1
        alike = narrower if narrower and width < self.scored else 1
        halves = 2 if narrower else 1
        return halves * alike * len(EPSILONS) * self.keys * self.modes * self.trials


def log_p(log_evidence: float, *, tests: int, hypotheses: int) -> float:
    """Return the natural logarithm of the bound on p; above 0 it says nothing."""
    return math.log(tests) + math.log(hypotheses) - log_evidence


def needed(log_bound: float, *, tests: int, hypotheses: int) -> float:
    """Return the score at which the logarithm of the bound on p is `log_bound`."""
    return math.log(tests) + math.log(hypotheses) - log_bound


def p_value(log_bound: float) -> float:
    """Return the bound itself, within [1e-300, 1]."""
    return max(_SMALLEST, math.exp(min(0.0, log_bound)))
