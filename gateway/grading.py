"""How hard a request looks: a grade from 0 to 100 by its length, its turns and its task. Pure.

A guess from the outside of a text, not from its meaning: it decides which tiers are good enough,
and a request that names its tier is never graded. Nothing of the text is kept.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CHARACTERS_A_TOKEN = 4
MOST = 100
# Each doubling of the text beyond this adds its weight once.
SHORT_TOKENS = 32

_TASKS: tuple[tuple[str, int, re.Pattern[str]], ...] = (
    ("code", 30, re.compile(r"```|\b(?:def|class|function|SELECT|#include)\b")),
    ("proof", 35, re.compile(r"\b(?:prove|proof|derive|theorem)\b", re.IGNORECASE)),
    ("reasoning", 25, re.compile(
        r"\b(?:why|compare|analy[sz]e|step by step|trade-?offs?|differential diagnosis|plan)\b",
        re.IGNORECASE)),
    ("writing", 15, re.compile(r"\b(?:write|draft|summari[sz]e|rewrite|translate)\b",
                               re.IGNORECASE)),
    ("lookup", 0, re.compile(r"")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grade:
    """score: 0 (easy) to 100. task: the kind of work, by the first that matched."""

    score: int
    task: str


@dataclass(frozen=True, slots=True)
class Weights:
    """What the parts of a grade weigh; the tuning step changes these and nothing else here."""

    length: int = 8
    turn: int = 2
    answer: int = 4
    tasks: Mapping[str, int] = field(
        default_factory=lambda: {name: weight for name, weight, _ in _TASKS}
    )


def grade(turns: Sequence[Mapping[str, str]], *, max_tokens: int, weights: Weights) -> Grade:
    """Grade a conversation; the task is that of its last message."""
    tokens = sum(len(turn["content"]) for turn in turns) // CHARACTERS_A_TOKEN
    last = turns[-1]["content"] if turns else ""
    task = next(name for name, _, pattern in _TASKS if pattern.search(last))
    score = weights.tasks.get(task, 0)
    score += weights.length * _doublings(tokens)
    score += weights.turn * max(0, len(turns) - 2)
    score += weights.answer * _doublings(max_tokens // 4)
    return Grade(min(MOST, score), task)


def _doublings(tokens: int) -> int:
    return max(0, (tokens // SHORT_TOKENS).bit_length())
