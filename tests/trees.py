"""The log's tree as tests need it: over leaves that lie in memory."""

from collections.abc import Iterable

from audit.merkle import Frontier


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
