import numpy as np
import pytest

from watermark.errors import KeyMalformed, TokenOutOfRange
from watermark.passage import read
from watermark.prf import AlphabetCipher, MarkCipher, checked, pack

KEY = bytes(range(32))


def words(*values):
    return np.array(values, np.uint64)


def test_single_positions_equal_those_of_a_batch():
    cipher = MarkCipher(KEY)
    contexts = [pack(a, a * 7 % 1000) for a in range(50)]
    assert cipher.positions(words(*contexts)).tolist() == [cipher.position(c) for c in contexts]


def test_whole_alphabet_equals_single_draws_in_every_batch():
    cipher = MarkCipher(KEY)
    alphabet = AlphabetCipher(cipher)
    alphabet.draws(words(*range(128)), words(*range(128)))
    drawn = alphabet.draws(words(5, pack(9, 8)), words(3, 262143))
    symbols = np.arange(256, dtype=np.uint64)
    for row, context, token in ((0, 5, 3), (1, pack(9, 8), 262143)):
        tokens = np.full(256, token, np.uint64)
        assert (drawn[row] == cipher.draws(np.uint64(context), tokens, symbols)).all()


def test_draws_depend_on_key_context_token_and_symbol():
    base = MarkCipher(KEY).draws(words(1), words(2), words(3))[0]
    others = [
        MarkCipher(b"\xff" * 32).draws(words(1), words(2), words(3))[0],
        MarkCipher(KEY).draws(words(4), words(2), words(3))[0],
        MarkCipher(KEY).draws(words(1), words(4), words(3))[0],
        MarkCipher(KEY).draws(words(1), words(2), words(4))[0],
    ]
    assert base not in others
    assert len(set(others)) == 4


def test_older_and_newer_token_are_told_apart():
    assert pack(1, 2) != pack(2, 1)
    assert pack(1, 2) == 1 << 18 | 2


@pytest.mark.parametrize("token", [-1, 1 << 18, 1 << 40, 1 << 70])
def test_tokens_of_more_than_18_bits_are_refused(token):
    for refused in (
        lambda: pack(token, 0),
        lambda: pack(0, token),
        lambda: checked([1, token]),
        lambda: read([1, 2, token]),
    ):
        with pytest.raises(TokenOutOfRange, match="2\\^18"):
            refused()


def test_largest_token_is_accepted():
    assert checked([0, (1 << 18) - 1]).tolist() == [0, (1 << 18) - 1]


def test_key_of_another_length_is_refused():
    with pytest.raises(KeyMalformed):
        MarkCipher(b"k" * 16)


def test_only_the_first_token_after_a_context_is_scored():
    passage = read([1, 2, 3, 1, 2, 4, 1, 2])
    assert passage.index.tolist() == [2, 3, 4, 6, 7]
    assert passage.tokens.tolist() == [3, 1, 2, 1, 2]
    assert passage.contexts.tolist() == [
        pack(a, b) for a, b in ((1, 2), (2, 3), (3, 1), (2, 4), (4, 1))
    ]
    assert passage.span(0, 5) == (0, 8)
    assert passage.span(3, 4) == (4, 7)


@pytest.mark.parametrize("ids", [[], [1], [1, 2]])
def test_text_without_a_full_context_has_nothing_to_score(ids):
    assert read(ids).size == 0
