"""Stealing the mark: an attacker asks many questions, learns what is drawn, and forges a text.

After Jovanovic, Staab and Vechev (2024), who spoof red-green marks with some 30,000 queries. Here
the attacker has the best case: the model's exact probabilities, a vocabulary of 40 tokens so that
contexts recur, and as many answers as asked for. docs/watermark-attacks.md says what it means.
"""

from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest

from watermark.detector import survey
from watermark.sampler import Sampler

KEY = b"\x07" * 32
VOCABULARY = 40
IDS = np.arange(VOCABULARY)
ANSWER_TOKENS, FORGED_TOKENS = 300, 400


@cache
def model(context):
    weights = 1 / np.arange(1, VOCABULARY + 1)
    shuffled = np.random.default_rng([*context, 99]).permutation(weights)
    return shuffled / shuffled.sum()


def answer(query, trace_id):
    sampler = Sampler(KEY, trace_id, query.to_bytes(32, "big"))
    tokens = np.random.default_rng(query).integers(0, VOCABULARY, 2).tolist()
    while len(tokens) < ANSWER_TOKENS:
        context = (tokens[-2], tokens[-1])
        tokens.append(int(sampler.draw(context, IDS, model(context))))
    return tokens


def learned(answers):
    """Count what followed each context where the mark drew it: at its first time in an answer."""
    counts = defaultdict(Counter)
    for tokens in answers:
        seen = set()
        for older, newer, token in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if (older, newer) not in seen:
                seen.add((older, newer))
                counts[older, newer][token] += 1
    return counts


def forged(counts):
    """Write a text that follows each context with what was drawn there too often for chance."""
    tokens, used = [1, 2], set()
    while len(tokens) < FORGED_TOKENS:
        context = (tokens[-2], tokens[-1])
        told, probs = counts[context], model(context)
        total = sum(told.values())
        drawn = np.array([told[token] for token in range(VOCABULARY)])
        surprise = (drawn - total * probs) / np.sqrt(total * probs * (1 - probs) + 0.1)
        surprise[[token for token in range(VOCABULARY) if (context[1], token) in used]] = -np.inf
        if np.isneginf(surprise).all():
            break
        tokens.append(int(surprise.argmax()))
        used.add((context[1], tokens[-1]))
    return tokens


def verdicts(trace_ids):
    text = forged(learned([answer(query, own) for query, own in enumerate(trace_ids)]))
    issued = {"a": np.array(trace_ids, np.uint32)}
    return survey(text, {"a": KEY}, issued=issued)


def random_ids(count):
    return np.random.default_rng(5).integers(0, 2**32, count).tolist()


def test_mark_with_one_id_for_all_would_be_stolen_with_five_answers():
    """What the ids are for: without them a handful of questions is enough to forge."""
    (found,) = verdicts([7] * 5)
    assert (found.verdict, found.trace_id) == ("traced", 7)
    assert found.p_value < 1e-100


@pytest.mark.parametrize("queries", [100, 300])
def test_pooled_answers_with_an_id_each_forge_nothing(queries):
    (found,) = verdicts(random_ids(queries))
    assert (found.verdict, found.trace_id) == ("no_trace", None)


def test_pieces_of_a_few_own_answers_lead_to_these_and_to_nobody_else():
    """Cutting up what one was given is quoting it: the ids found are the attacker's own."""
    own = random_ids(3)
    bystanders = np.random.default_rng(6).integers(0, 2**32, 10_000, dtype=np.uint32)
    text = forged(learned([answer(query, trace_id) for query, trace_id in enumerate(own)]))
    issued = {"a": np.append(bystanders, np.array(own, np.uint32))}
    found = survey(text, {"a": KEY}, issued=issued)
    assert found[0].verdict == "traced"
    assert {each.trace_id for each in found} <= set(own)


def test_answers_of_another_epoch_teach_nothing():
    """After a rotation the attacker starts again."""
    text = forged(learned([answer(query, 7) for query in range(5)]))
    assert survey(text, {"a": b"\x08" * 32})[0].verdict == "no_trace"
