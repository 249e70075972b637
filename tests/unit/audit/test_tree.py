"""The stored tree: nodes at every eighth height, and what is made of them in a large log."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import store, tree
from audit.errors import LogTampered
from audit.merkle import (
    TILE_WIDTH,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    perfect_ranges,
    verify_consistency,
    verify_inclusion,
)
from audit.store import open_log
from tests.trees import root_of

# Two levels of nodes above the leaves, and neither of them even.
LEAVES = 2 * 65_536 + 3 * 256 + 77


def leaf(number):
    return number.to_bytes(32, "big")


@given(st.integers(1, 1500))
@settings(max_examples=25)
def test_growing_tells_of_each_node_that_it_completes(size):
    frontier, nodes = Frontier(), []
    for number in range(size):
        nodes += frontier.grow(leaf(number))
    expected = [
        (1, index, root_of(leaf(n) for n in range(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)))
        for index in range(size // TILE_WIDTH)
    ]
    assert nodes == expected
    assert frontier.root() == root_of(leaf(number) for number in range(size))


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_ranges_of_proofs_fall_into_perfect_subtrees(one, other):
    index, size = sorted((one, other + 1))
    for leaves in (*inclusion_ranges(min(index, size - 1), size), *consistency_ranges(index, size)):
        pieces = perfect_ranges(leaves)
        assert (pieces[0][0], pieces[-1][1]) == leaves
        assert all((end - start).bit_count() == 1 for start, end in pieces)
        assert all(start % (end - start) == 0 for start, end in pieces)


def test_range_that_no_subtree_spans_is_refused():
    with pytest.raises(ValueError, match="no subtree"):
        perfect_ranges((1, 3))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A log of LEAVES hashes without entries, as pruning leaves it, and its roots by size."""
    engine = open_log(tmp_path_factory.mktemp("large") / "log.db")
    frontier, rows, roots = Frontier(), [], {}
    wanted = {0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 100_000, 131_072, LEAVES}
    for number in range(LEAVES):
        if number in wanted:
            roots[number] = frontier.root()
        rows.append((0, number, leaf(number)))
        rows += frontier.grow(leaf(number))
    roots[LEAVES] = frontier.root()
    with store.writing(engine).begin() as connection:
        names = ("level", "idx", "hash")
        store.insert(connection, store.node, [dict(zip(names, row, strict=True)) for row in rows])
    yield engine, roots
    engine.dispose()


def test_frontier_of_any_size_comes_from_the_nodes(large):
    engine, roots = large
    with store.reading(engine) as connection:
        assert tree.complete(connection, LEAVES)
        for size, root in roots.items():
            assert tree.frontier(connection, size).root() == root


def test_proofs_in_a_large_log_hold(large):
    engine, roots = large
    chance = random.Random(7)  # noqa: S311 - Picks entries.
    with store.reading(engine) as connection:
        root = tree.roots(connection)
        for index in (0, LEAVES - 1, *(chance.randrange(LEAVES) for _ in range(20))):
            path = [root(each) for each in inclusion_ranges(index, LEAVES)]
            verify_inclusion(leaf(index), index=index, size=LEAVES, path=path, root=roots[LEAVES])
        for old in roots:
            path = [root(each) for each in consistency_ranges(old, LEAVES)]
            verify_consistency(
                old_size=old, size=LEAVES, path=path, old_root=roots[old], root=roots[LEAVES]
            )


def test_nodes_that_are_gone_are_made_again(large):
    engine, roots = large
    with store.writing(engine).connect() as connection, connection.begin() as transaction:
        connection.execute(store.node.delete().where(store.node.c.level == 1))
        assert not tree.complete(connection, LEAVES)
        with pytest.raises(LogTampered, match="gap"):
            tree.frontier(connection, 65_536 + 256)
        tree.rebuild(connection, LEAVES)
        assert tree.complete(connection, LEAVES)
        assert tree.frontier(connection, LEAVES).root() == roots[LEAVES]
        transaction.rollback()
