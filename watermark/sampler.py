"""Draws tokens so that a keyed reader finds the trace id in them, at no cost to their quality.

Each candidate gets a value u from the keyed function, and the one with the largest ln(u)/p wins.
Over the keys, candidate i wins with probability exactly p_i (the Gumbel-max trick: Aaronson,
2022), so the output distribution is the model's. A context that the answer had before would
repeat its values; there the draw is an ordinary one.

A sampler belongs to one answer. After construction it opens no file, starts no thread and
imports nothing, so that it can run inside the sandbox. Build one before locking down: the first
fills the caches of tables.
"""

import math
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from watermark import bounds, code, score
from watermark.errors import KeyMalformed, NoCandidate
from watermark.passage import Passage, read
from watermark.prf import MarkCipher, checked, pack

SEED_BYTES = 32

_STREAM_LABEL = b"pcg-v1/ordinary\x00"
_DRAW_BYTES = 8
_TO_UNIT = 2.0**-53
_ID_LIMIT = 1 << 32


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well an answer can be traced.

    marked: tokens drawn with a mark. log_evidence: the score of the answer's own id, at the best
    of the e values, as the detector computes it over the whole answer. status: `traceable` if a
    detector given this answer, one key and 10^6 issued ids would trace it; `weak` if it would
    not, though its own id alone has p <= 0.01; else `unmarked`.
    """

    marked: int
    log_evidence: float
    status: str


class Sampler:
    """Draws the tokens of one answer.

    key: mark key, 32 bytes. trace_id: 32 bits. seed: 32 bytes, for the ordinary draws alone.

    Raises:
        KeyMalformed: One of them has the wrong size.
    """

    def __init__(self, key: bytes, trace_id: int, seed: bytes) -> None:
        if not 0 <= trace_id < _ID_LIMIT:
            raise KeyMalformed("A trace id is a number of 32 bits.")
        if len(seed) != SEED_BYTES:
            raise KeyMalformed(f"A sampler's seed has {SEED_BYTES} bytes.")
        self._cipher = MarkCipher(key)
        self._codeword = code.symbols(code.encode(np.array([trace_id], np.uint32)))[0].astype(
            np.uint64
        )
        # The label keeps this stream apart from any other use of the same seed.
        stream = Cipher(algorithms.AES(seed), modes.CTR(_STREAM_LABEL))
        self._stream = stream.encryptor()
        self._seen: set[int] = set()
        self._tokens: list[int] = []
        self._marked = 0
        score.tables()

    def draw(
        self, context: tuple[int, int], ids: NDArray[np.int64], probs: NDArray[np.float64]
    ) -> int:
        """Choose a candidate and return its index.

        context: the two tokens before it, the older first; for an answer's first token, the last
        two of its prompt. ids: int64 [k], each below 2^18. probs: float64 [k], the final
        probabilities. A sole candidate is taken as it is, and carries no mark.

        Raises:
            TokenOutOfRange: A token id has more than 18 bits.
            NoCandidate: No probability is above zero.
        """
        packed = pack(*context)
        tokens = checked(ids)
        if not tokens.size:
            raise NoCandidate("A token was to be drawn from no candidates.")
        first = packed not in self._seen
        self._seen.add(packed)
        if tokens.size == 1:
            index = 0
        elif first:
            index = self._marked_draw(packed, tokens, probs)
            self._marked += bool(probs[index] < 1)
        else:
            index = self._ordinary_draw(probs)
        self._tokens.append(int(ids[index]))
        return index

    def evidence(self) -> Evidence:
        """Measure the mark in what was drawn so far."""
        passage = read(self._tokens)
        best = self._own_score(passage) if passage.size else 0.0
        return Evidence(self._marked, best, self._status(best, passage.size))

    def _own_score(self, passage: Passage) -> float:
        symbols = self._codeword[self._cipher.positions(passage.contexts)]
        draws = self._cipher.draws(passage.contexts, passage.tokens, symbols)
        return float(score.tables()[:, score.cells(draws)].sum(axis=1).max())

    def _status(self, log_evidence: float, scored: int) -> str:
        threshold = bounds.needed(
            bounds.LOG_THRESHOLD,
            tests=bounds.Tests(scored, keys=1, modes=2, trials=1).inverse_share(scored),
            hypotheses=bounds.ISSUED_REFERENCE,
        )
        if not self._marked:
            return "unmarked"
        if log_evidence >= threshold:
            return "traceable"
        if log_evidence >= math.log(len(score.EPSILONS) / bounds.WEAK_THRESHOLD):
            return "weak"
        return "unmarked"

    def _marked_draw(
        self, context: int, tokens: NDArray[np.uint64], probs: NDArray[np.float64]
    ) -> int:
        symbol = self._codeword[self._cipher.position(context)]
        draws = self._cipher.draws(np.uint64(context), tokens, symbol)
        log_u = np.log((draws.astype(np.float64) + 0.5) * _TO_UNIT)
        # A tiny probability may overflow to minus infinity, which is the right order; one of
        # zero is left there and never wins.
        with np.errstate(over="ignore"):
            races = np.divide(log_u, probs, out=np.full(probs.size, -np.inf), where=probs > 0)
        index = int(races.argmax())
        if races[index] == -np.inf:
            raise NoCandidate("No candidate has a probability above zero.")
        return index

    def _ordinary_draw(self, probs: NDArray[np.float64]) -> int:
        """Invert the cumulative distribution at 53 bits of the seeded stream."""
        value = int.from_bytes(self._stream.update(bytes(_DRAW_BYTES)), "little") >> 11
        totals = probs.cumsum()
        # A value below 1 times the total stays below the total, so that a found candidate has a
        # probability above zero; none is found only if the total is zero or not a number.
        index = int(totals.searchsorted(value * _TO_UNIT * totals[-1], side="right"))
        if index == probs.size:
            raise NoCandidate("No candidate has a probability above zero.")
        return index
