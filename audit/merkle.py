"""The Merkle tree of RFC 6962 section 2.1: hashing, frontier, proofs and their verification.

Pure: nothing here reads a database. Proofs are made from ranges of leaves, and whoever calls
supplies each range's root. Hashes are 32 bytes (SHA-256).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from audit.errors import ProofInvalid

HASH_BYTES = 32
# C2SP tlog-tiles: a tile holds the hashes of 256 neighbours, eight heights below the next tile's.
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()

Range = tuple[int, int]
# Level, index within the level, hash; level n stands at height 8n, the leaves at level 0.
Node = tuple[int, int, bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry; the prefix keeps a leaf from ever passing as a node (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees that a tree of `size` leaves falls into, largest first.

    All that appending needs: one hash for every 1 in the binary form of `size`.
    """

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)

    @classmethod
    def decode(cls, size: int, data: bytes) -> Self:
        """Read what `encode` wrote for a tree of `size` leaves.

        Raises:
            ValueError: The length is not that of such a tree.
        """
        if size < 0 or len(data) != HASH_BYTES * size.bit_count():
            raise ValueError(f"{len(data)} bytes are no frontier of {size} leaves")
        return cls(size, (data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)))

    def encode(self) -> bytes:
        """Concatenate the subtrees' roots, largest subtree first."""
        return b"".join(self._roots)

    def copy(self) -> "Frontier":
        """Return a frontier that grows apart from this one."""
        return Frontier(self.size, self._roots)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash, merging subtrees as they become perfect."""
        roots, size, root = self._roots, self.size, leaf
        while size & 1:
            root = node_hash(roots.pop(), root)
            size >>= 1
        roots.append(root)
        self.size += 1

    def grow(self, leaf: bytes) -> list[Node]:
        """Add one leaf hash and return the nodes of tiles' levels that it completes, lowest first.

        Level 0, the leaf itself, is not among them.
        """
        if (self.size + 1) % TILE_WIDTH:
            self.append(leaf)
            return []
        nodes, roots, size, root, height = [], self._roots, self.size, leaf, 0
        while size & 1:
            root = node_hash(roots.pop(), root)
            size, height = size >> 1, height + 1
            if height % TILE_HEIGHT == 0:
                nodes.append((height // TILE_HEIGHT, self.size >> height, root))
        roots.append(root)
        self.size += 1
        return nodes

    def root(self) -> bytes:
        """Return the tree's root, MTH(D[n]) of RFC 6962 section 2.1."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def perfect_ranges(leaves: Range) -> list[Range]:
    """Split a range that starts where a subtree of its length could into perfect subtrees.

    Largest first; every range that the functions below name starts so.
    """
    start, end = leaves
    ranges = []
    while start < end:
        length = 1 << ((end - start).bit_length() - 1)
        if start % length:
            raise ValueError(f"no subtree spans the leaves from {start} to {end - 1}")
        ranges.append((start, start + length))
        start += length
    return ranges


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Name the leaf ranges whose roots make an audit path, the leaf's sibling first.

    PATH(m, D[n]) of RFC 6962 section 2.1.1, with ranges in place of hashes.
    """
    if not 0 <= index < size:
        raise ValueError(f"entry {index} is not in a tree of {size}")
    ranges = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[Range]:
    """Name the leaf ranges of the proof that a tree of `old_size` is a prefix of one of `size`.

    PROOF(m, D[n]) and SUBPROOF of RFC 6962 section 2.1.2.
    """
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {old_size} is no prefix of one of {size}")
    if old_size in (0, size):
        return []
    ranges = []
    start, end = 0, size
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:
        # SUBPROOF(m, D[m], false) = {MTH(D[m])}: the old root is not a node that both know.
        ranges.append((start, end))
    return ranges[::-1]


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` is entry `index` of the tree of `size` leaves with that root.

    Follows RFC 9162 section 2.1.3.2, whose steps are numbered in the code.

    Raises:
        ProofInvalid: It is not, or the path is too long or too short.
    """
    # 1. The index lies inside the tree.
    if not 0 <= index < size:
        raise ProofInvalid(f"Entry {index} is not in a tree of {size} entries.")
    # 2-4. Climb from the entry, the sibling on the side that the index's bits say.
    computed = leaf
    for sibling, is_left in _climb(path, position=index, last=size - 1):
        computed = node_hash(sibling, computed) if is_left else node_hash(computed, sibling)
    # 5. The top is the root.
    if computed != root:
        raise ProofInvalid(f"Entry {index} is not under the checkpoint's root.")


def verify_consistency(
    *, old_size: int, size: int, path: Sequence[bytes], old_root: bytes, root: bytes
) -> None:
    """Check that the tree of `old_size` with `old_root` is a prefix of that of `size` with `root`.

    Follows RFC 9162 section 2.1.4.2, whose steps are numbered in the code.

    Raises:
        ProofInvalid: It is not.
    """
    if not 0 <= old_size <= size:
        raise ProofInvalid(f"A tree of {size} entries cannot extend one of {old_size}.")
    if old_size in (0, size):
        expected = EMPTY_ROOT if old_size == 0 else root
        if path or old_root != expected:
            raise ProofInvalid(f"The two trees of {old_size} entries differ.")
        return
    # 1. A proof between different trees has hashes.
    if not path:
        raise ProofInvalid("The consistency proof is empty.")
    # 2. A perfect old tree is itself the first node.
    perfect = old_size & (old_size - 1) == 0
    first, *rest = [old_root, *path] if perfect else path
    # 3, 4. Skip the levels on which the old tree's edge is a right child.
    level = _trailing_ones(old_size - 1)
    # 5, 6. Climb to both roots at once; what lies to the right is not in the old tree.
    computed_old = computed = first
    for node, is_left in _climb(rest, position=(old_size - 1) >> level, last=(size - 1) >> level):
        if is_left:
            computed_old = node_hash(node, computed_old)
        computed = node_hash(node, computed) if is_left else node_hash(computed, node)
    # 7. Both climbs arrived.
    if computed_old != old_root or computed != root:
        raise ProofInvalid(f"The tree of {size} entries does not extend the one of {old_size}.")


def _climb(path: Iterable[bytes], *, position: int, last: int) -> Iterator[tuple[bytes, bool]]:
    """Yield each sibling and whether it lies to the left (RFC 9162 section 2.1.3.2 step 4).

    position: of the node whose siblings these are, in its level. last: the level's last position.
    """
    for sibling in path:
        if last == 0:
            raise ProofInvalid("The proof is longer than its tree is high.")
        is_left = position & 1 == 1 or position == last
        yield sibling, is_left
        # A last node without a sibling rises until it is a right child (step 4.1.2).
        while is_left and position and not position & 1:
            position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("The proof is shorter than its tree is high.")


def _trailing_ones(number: int) -> int:
    return (~number & (number + 1)).bit_length() - 1


def _split(leaves: int) -> int:
    """Return the largest power of two below `leaves` (k of RFC 6962 section 2.1)."""
    return 1 << ((leaves - 1).bit_length() - 1)
