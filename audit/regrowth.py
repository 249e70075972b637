"""The tree grown again from its leaf hashes, and held against what the log stores of it.

Every inner node is compared as the tree completes it, and every checkpoint as the tree reaches its
size. What the leaves themselves say is for `audit.walk` to check.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, store
from audit.checkpoint import Checkpoint
from audit.errors import CheckpointInvalid, LogTampered
from audit.merkle import TILE_WIDTH, Frontier

# Checkpoints that are read and verified before the tree reaches them, and how many at a time.
AHEAD = 256
SHARE = 16
THREADS_LIMIT = 8
# Size, note, and what the note says or why it does not hold.
_Told = tuple[int, str, Checkpoint | CheckpointInvalid]


@contextmanager
def regrowing(
    connection: sa.Connection, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Iterator["Regrowth"]:
    """Give the empty tree of the log that a connection's transaction sees.

    earlier: keys that checkpoints were signed with before the log's key was rotated.
    """
    table = store.checkpoint.c
    query = sa.select(table.size, table.note).order_by(table.size)
    check = partial(checkpoint.verify, origin=origin, public_key=public_key, earlier=earlier)
    # A log that is rarely busy has a checkpoint for almost every entry, and a signature takes as
    # long as four entries. The library verifies it outside the interpreter's lock.
    threads = min(len(os.sched_getaffinity(0)), THREADS_LIMIT)
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="audit-signatures") as pool,
        connection.execute(query, execution_options={"yield_per": AHEAD}) as rows,
    ):
        yield Regrowth(_nodes(connection), _verified(rows, check, pool))


class Regrowth:
    """A tree that grows by leaf hashes in their order.

    nodes: the stored inner nodes, by level and index; they are taken off as the tree completes
    them. told: the stored checkpoints by size. checkpoints: how many of them held. newest: the
    last that did.
    """

    def __init__(self, nodes: dict[tuple[int, int], bytes], told: Iterator[_Told]) -> None:
        self.frontier = Frontier()
        self.checkpoints = 0
        self.newest = ""
        self._nodes = nodes
        self._told = told
        self._next = next(told, None)
        self._covered = 0

    def grow(self, hashes: Sequence[bytes]) -> None:
        """Add leaf hashes.

        Raises:
            LogTampered: A node that they complete, or a checkpoint that they reach, is wrong.
        """
        frontier = self.frontier
        for hashed in hashes:
            if (frontier.size + 1) % TILE_WIDTH:
                frontier.append(hashed)
            else:
                self._complete(hashed)
            if self._next is not None and self._next[0] <= frontier.size:
                self._check(*self._next)

    def finish(self) -> None:
        """Require that the log stores and signs nothing beyond the last leaf, and that leaf.

        Raises:
            LogTampered: It does, or no checkpoint covers the leaf.
        """
        for level, index in self._nodes:
            raise LogTampered(f"The tree's node {index} at level {level} does not exist.")
        size = self.frontier.size
        if self._next is not None:
            raise LogTampered(
                f"Entry {size} is missing: a checkpoint covers {self._next[0]} entries.",
                index=size,
            )
        if self._covered != size:
            raise LogTampered(
                f"No checkpoint covers the entries from {self._covered} on.", index=self._covered
            )

    def _complete(self, hashed: bytes) -> None:
        """Add the last leaf of a tile."""
        for level, index, node in self.frontier.grow(hashed):
            if self._nodes.pop((level, index), None) != node:
                raise LogTampered(
                    f"The tree's node {index} at level {level} is missing or was changed."
                )

    def _check(self, size: int, note: str, told: Checkpoint | CheckpointInvalid) -> None:
        if isinstance(told, CheckpointInvalid):
            raise LogTampered(
                f"The checkpoint of {size} entries does not hold. {told}", index=self._covered
            ) from told
        if told.size != size or size != self.frontier.size:
            raise LogTampered(
                f"A checkpoint of {told.size} entries is stored as one of {size}.",
                index=self._covered,
            )
        if told.root != self.frontier.root():
            raise LogTampered(
                f"An entry from {self._covered} to {size - 1} is not the one that was signed.",
                index=self._covered,
            )
        self._covered, self.newest = size, note
        self.checkpoints += 1
        self._next = next(self._told, None)


def _nodes(connection: sa.Connection) -> dict[tuple[int, int], bytes]:
    table = store.node.c
    query = sa.select(table.level, table.idx, table.hash).where(table.level != 0)
    return {(level, index): hashed for level, index, hashed in connection.execute(query)}


def _verified(
    rows: sa.CursorResult[Any], check: Callable[[str], Checkpoint], pool: ThreadPoolExecutor
) -> Iterator[_Told]:
    """Yield the checkpoints in their order, some of the next being verified meanwhile."""
    for chunk in rows.partitions(AHEAD):
        notes = [row.note for row in chunk]
        shares = [notes[start : start + SHARE] for start in range(0, len(notes), SHARE)]
        results = pool.map(partial(_outcomes, check), shares)
        told = (each for share in results for each in share)
        yield from ((row.size, row.note, each) for row, each in zip(chunk, told, strict=True))


def _outcomes(
    check: Callable[[str], Checkpoint], notes: Sequence[str]
) -> list[Checkpoint | CheckpointInvalid]:
    return [_outcome(check, note) for note in notes]


def _outcome(check: Callable[[str], Checkpoint], note: str) -> Checkpoint | CheckpointInvalid:
    try:
        return check(note)
    except CheckpointInvalid as error:
        # Told once the tree is there: an entry before may be wrong, and is then named first.
        return error
