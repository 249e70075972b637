"""The stored tree: hashes by level, roots over ranges of leaves, frontiers of any size.

Nodes are kept at every eighth height, so that a proof in a log of a million entries reads some
hundred hashes. Nothing here decides whether they are the right ones: a proof made with a wrong
node does not verify, and verification recomputes them all.
"""

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from audit.errors import LogTampered
from audit.merkle import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    Node,
    Range,
    perfect_ranges,
)
from audit.schema import leaf, node

_ADD_NODES = node.insert()


def hashes(connection: sa.Connection, level: int, start: int, end: int) -> list[bytes]:
    """Return the hashes `start` to `end` of a level; level 0 holds the leaves.

    Raises:
        LogTampered: One of them is missing.
    """
    stored = sa.select(node.c.idx, node.c.hash).where(
        node.c.level == level, node.c.idx >= start, node.c.idx < end
    )
    rows = list(connection.execute(stored).all())
    if level == 0:
        leaves = sa.select(leaf.c.idx, leaf.c.leaf_hash)
        rows += connection.execute(leaves.where(leaf.c.idx >= start, leaf.c.idx < end)).all()
    rows.sort()
    if [index for index, _ in rows] != list(range(start, end)):
        first = start << (TILE_HEIGHT * level)
        raise LogTampered(
            f"The tree has a gap at its level {level}, above entry {first}.", index=first
        )
    return [hashed for _, hashed in rows]


def frontier(connection: sa.Connection, size: int) -> Frontier:
    """Return the frontier of the tree's first `size` leaves.

    Raises:
        LogTampered: The tree has gaps.
    """
    return _frontier(connection, (0, size))


def roots(connection: sa.Connection) -> Callable[[Range], bytes]:
    """Return how to get the root over a range of leaves; neighbours' proofs share most."""
    known: dict[Range, bytes] = {}

    def root(leaves: Range) -> bytes:
        if leaves not in known:
            known[leaves] = _frontier(connection, leaves).root()
        return known[leaves]

    return root


def add(connection: sa.Connection, nodes: Iterable[Node]) -> None:
    """Store nodes that new leaves completed."""
    rows = [{"level": level, "idx": index, "hash": hashed} for level, index, hashed in nodes]
    if rows:
        connection.execute(_ADD_NODES, rows)


def pruned_end(connection: sa.Connection) -> int:
    """Return the first index whose entry was not pruned."""
    newest = sa.select(sa.func.max(node.c.idx)).where(node.c.level == 0)
    found: int | None = connection.execute(newest).scalar_one()
    return 0 if found is None else found + 1


def complete(connection: sa.Connection, size: int) -> bool:
    """Return whether as many nodes are stored above the leaves as `size` leaves have."""
    query = sa.select(sa.func.count()).select_from(node).where(node.c.level > 0)
    stored: int = connection.execute(query).scalar_one()
    expected = 0
    while size := size >> TILE_HEIGHT:
        expected += size
    return stored == expected


def rebuild(connection: sa.Connection, size: int) -> None:
    """Make all nodes above the leaves anew, for a log written before they were kept."""
    connection.execute(node.delete().where(node.c.level > 0))
    tree = Frontier()
    while tree.size < size:
        chunk = hashes(connection, 0, tree.size, min(size, tree.size + TILE_WIDTH))
        add(connection, [each for hashed in chunk for each in tree.grow(hashed)])


def _frontier(connection: sa.Connection, leaves: Range) -> Frontier:
    start, end = leaves
    return Frontier(
        end - start, [_perfect(connection, each) for each in perfect_ranges((start, end))]
    )


def _perfect(connection: sa.Connection, leaves: Range) -> bytes:
    """Return the root of a perfect subtree, from the nearest stored level below it."""
    start, end = leaves
    level = ((end - start).bit_length() - 1) // TILE_HEIGHT
    shift = TILE_HEIGHT * level
    tree = Frontier()
    for hashed in hashes(connection, level, start >> shift, end >> shift):
        tree.append(hashed)
    return tree.root()
