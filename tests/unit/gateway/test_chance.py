"""Random bytes are given out once, and never to a child and its parent alike."""

import os

import pytest

from gateway.chance import PAGE_BYTES, Chance


def test_no_bytes_are_given_twice():
    chance = Chance()
    taken = [chance.take(16) for _ in range(PAGE_BYTES // 2)]
    assert {len(each) for each in taken} == {16}
    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize("count", [0, 1, PAGE_BYTES - 1, PAGE_BYTES])
def test_a_count_is_kept_wherever_the_page_ends(count):
    chance = Chance()
    for _ in range(5):
        assert len(chance.take(7)) == 7
        assert len(chance.take(count)) == count


def test_a_child_draws_its_own():
    chance = Chance()
    chance.take(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, chance.take(32))
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(read, 32)
    os.close(read)
    os.close(write)
    assert len(told) == 32
    assert told != chance.take(32)
