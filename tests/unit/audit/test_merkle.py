"""The tree against Certificate Transparency's published one, and against RFC 6962's definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import ProofInvalid
from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.trees import root_of

# The tree of Certificate Transparency's own tests (merkle_tree_test.cc): leaves, the root after
# each, two audit paths and two consistency proofs.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 8): PATHS[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
MANY = [leaf_hash(bytes([number])) for number in range(130)]

trees = st.integers(min_value=1, max_value=len(MANY))


def roots(ranges, leaves):
    return [root_of(leaves[start:end]) for start, end in ranges]


def mth(leaves):
    """MTH(D[n]) as RFC 6962 section 2.1 defines it, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(2**power for power in range(10) if 2**power < len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def test_published_roots_come_out():
    assert [root_of(LEAVES[:size]).hex() for size in range(1, 9)] == ROOTS
    assert root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_published_audit_paths_come_out(index, size):
    path = roots(inclusion_ranges(index, size), LEAVES)
    assert [each.hex() for each in path] == PATHS[index, size]


@pytest.mark.parametrize(("old_size", "size"), CONSISTENCY)
def test_published_consistency_proofs_come_out(old_size, size):
    path = roots(consistency_ranges(old_size, size), LEAVES)
    assert [each.hex() for each in path] == CONSISTENCY[old_size, size]


@given(trees)
def test_frontier_has_the_root_that_the_rfc_defines(size):
    assert root_of(MANY[:size]) == mth(MANY[:size])


@given(trees, st.data())
def test_every_entry_proves_its_inclusion(size, data):
    index = data.draw(st.integers(0, size - 1))
    path = roots(inclusion_ranges(index, size), MANY)
    root = root_of(MANY[:size])
    verify_inclusion(MANY[index], index=index, size=size, path=path, root=root)


@given(trees, st.data())
def test_every_prefix_proves_its_consistency(size, data):
    old = data.draw(st.integers(0, size))
    path = roots(consistency_ranges(old, size), MANY)
    verify_consistency(
        old_size=old,
        size=size,
        path=path,
        old_root=root_of(MANY[:old]),
        root=root_of(MANY[:size]),
    )


@given(trees, st.data())
def test_proof_of_another_index_fails(size, data):
    index = data.draw(st.integers(0, size - 1))
    claimed = data.draw(st.integers(0, size).filter(lambda other: other != index))
    path = roots(inclusion_ranges(index, size), MANY)
    root = root_of(MANY[:size])
    with pytest.raises(ProofInvalid):
        verify_inclusion(MANY[index], index=claimed, size=size, path=path, root=root)


@given(trees, st.data())
def test_longer_or_shorter_inclusion_proof_fails(size, data):
    index = data.draw(st.integers(0, size - 1))
    path = roots(inclusion_ranges(index, size), MANY)
    root = root_of(MANY[:size])
    wrong = [[*path, bytes(32)], [bytes(32), *path]] + ([path[:-1], path[1:]] if path else [])
    for each in wrong:
        with pytest.raises(ProofInvalid):
            verify_inclusion(MANY[index], index=index, size=size, path=each, root=root)


@given(st.integers(2, len(MANY)), st.data())
def test_changed_consistency_proof_fails(size, data):
    old = data.draw(st.integers(1, size - 1))
    path = roots(consistency_ranges(old, size), MANY)
    trees = {"old_root": root_of(MANY[:old]), "root": root_of(MANY[:size])}
    place = data.draw(st.integers(0, len(path) - 1))
    flipped = [*path[:place], bytes([path[place][0] ^ 1]) + path[place][1:], *path[place + 1 :]]
    for each in (flipped, [*path, bytes(32)], path[:-1]):
        with pytest.raises(ProofInvalid):
            verify_consistency(old_size=old, size=size, path=each, **trees)


@given(st.integers(2, len(MANY)), st.data())
def test_tree_with_one_other_leaf_is_not_consistent(size, data):
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    fork = [*MANY[:changed], leaf_hash(b"other"), *MANY[changed + 1 :]]
    with pytest.raises(ProofInvalid):
        verify_consistency(
            old_size=old,
            size=size,
            path=roots(consistency_ranges(old, size), fork),
            old_root=root_of(MANY[:old]),
            root=root_of(fork[:size]),
        )


def test_trees_of_the_same_size_and_other_roots_are_not_consistent():
    with pytest.raises(ProofInvalid):
        verify_consistency(old_size=3, size=3, path=[], old_root=LEAVES[0], root=LEAVES[1])
    with pytest.raises(ProofInvalid):
        verify_consistency(old_size=4, size=3, path=[], old_root=LEAVES[0], root=LEAVES[0])
    with pytest.raises(ProofInvalid):
        verify_consistency(old_size=0, size=3, path=[], old_root=LEAVES[0], root=LEAVES[0])


def test_node_does_not_pass_as_a_leaf():
    # Who could offer a node's two children as an entry would shorten the tree by a level.
    left, right = node_hash(*MANY[:2]), node_hash(*MANY[2:4])
    with pytest.raises(ProofInvalid):
        verify_inclusion(
            leaf_hash(MANY[0] + MANY[1]), index=0, size=2, path=[right], root=node_hash(left, right)
        )


@given(trees)
def test_frontier_survives_its_encoding(size):
    frontier = Frontier()
    for leaf in MANY[:size]:
        frontier.append(leaf)
    again = Frontier.decode(size, frontier.encode())
    again.append(MANY[0])
    assert again.root() == root_of([*MANY[:size], MANY[0]])
    assert frontier.root() == root_of(MANY[:size])
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.decode(size, frontier.encode() + b"\x00")


def test_index_outside_the_tree_has_no_proof():
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_ranges(index, size)
    with pytest.raises(ValueError, match="no prefix"):
        consistency_ranges(4, 3)
