"""What an answer may look like, as a mask over the next token. Runs inside a locked worker.

llguidance parses the grammar and computes the masks: in this process, on this thread, without a
file. A hostile grammar therefore costs its own worker time and memory, within the worker's limits.
The tokens that remain keep the model's own proportions, so the mark is drawn as ever.
"""

import llguidance
import numpy as np
from numpy.typing import NDArray

from sandbox.errors import GrammarRefused
from sandbox.vocabulary import Vocabulary

# The largest parser and lexer that a grammar may make, against schemas built to explode.
_ROW_LIMIT = 2000
_LEXER_STATES_LIMIT = 50_000
_SIZE_LIMIT = 200_000
_REASON_LIMIT_CHARACTERS = 160
# Pieces of JSON text that most masks share; llguidance computes them once.
_WARM_UP = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}'


class Grammars:
    """Makes constraints over one vocabulary. Built in the zygote, used in its workers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._size = len(vocabulary.tokens)
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Bytes(vocabulary)),
            n_vocab=self._size,
            eos_token=list(vocabulary.eos),
            slices=llguidance.LLTokenizer.json_slices(),
        )
        self._eos = np.array(vocabulary.eos, np.int64)

    def constraint(self, grammar: str) -> "Constraint":
        """Return what holds an answer to a grammar, in llguidance's JSON form.

        Raises:
            GrammarRefused: It is not one, or it is too large.
        """
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())
        _require_sound(matcher)
        return Constraint(matcher, size=self._size, eos=self._eos)

    def warm(self) -> None:
        """Use once what a worker will use: it can open and load nothing."""
        grammar = llguidance.LLMatcher.grammar_from_json_schema(_WARM_UP)
        constraint = self.constraint(grammar)
        allowed = constraint.mask(np.zeros(self._size, np.float32))
        constraint.note(int(np.argmax(allowed)))


class Constraint:
    """One answer's grammar, at the point the answer has come to."""

    def __init__(self, matcher: llguidance.LLMatcher, *, size: int, eos: NDArray[np.int64]) -> None:
        self._matcher = matcher
        self._size = size
        self._eos = eos

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, float32 [vocabulary], with minus infinity where no token may follow.

        Raises:
            GrammarRefused: The grammar grew over its limits.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        _require_sound(self._matcher)
        allowed = np.unpackbits(bits, bitorder="little")[: self._size].astype(bool)
        if not allowed.any():
            # A complete answer that nothing may follow: only its end is left.
            allowed[self._eos] = True
        masked = np.full_like(logits, -np.inf)
        masked[: self._size][allowed] = logits[: self._size][allowed]
        return masked

    def note(self, token: int) -> None:
        """Move on by a token that was drawn."""
        self._matcher.consume_token(token)


class _Bytes:
    """What llguidance asks of a tokeniser. Its own way to cut text is the longest match.

    It is asked only how a grammar's fixed text could be cut, never about a prompt.
    """

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos[0]
        # A byte that no text has keeps a control token from matching one.
        self.tokens = [t or b"\xff<|%d|>" % i for i, t in enumerate(vocabulary.tokens)]
        self.special_token_ids = [i for i, t in enumerate(vocabulary.tokens) if not t]
        self._ids = {token: i for i, token in enumerate(vocabulary.tokens) if token}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        ids, at = [], 0
        while at < len(data):
            piece = self._piece(data, at)
            if piece:
                ids.append(self._ids[piece])
            at += len(piece) or 1
        return ids

    def _piece(self, data: bytes, at: int) -> bytes:
        for length in range(min(self._longest, len(data) - at), 0, -1):
            if data[at : at + length] in self._ids:
                return data[at : at + length]
        return b""


def _limits() -> llguidance.LLParserLimits:
    return llguidance.LLParserLimits(
        max_items_in_row=_ROW_LIMIT,
        max_lexer_states=_LEXER_STATES_LIMIT,
        max_grammar_size=_SIZE_LIMIT,
    )


def _require_sound(matcher: llguidance.LLMatcher) -> None:
    if matcher.is_error():
        # The first line names what is wrong with the grammar; the rest is the parser's state.
        reason = matcher.get_error().partition("\n")[0][:_REASON_LIMIT_CHARACTERS]
        raise GrammarRefused(f"The grammar cannot be followed: {reason}")
