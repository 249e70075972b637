"""Tiles: their paths, what they hold, and a directory of them in hostile hands."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import store, tiles
from audit.errors import LogTampered, TileUnknown
from audit.merkle import leaf_hash
from audit.publication import publish, verify_tiles
from audit.tiles import Tile
from tests.trees import root_of

# One full tile of leaves, and a part of the next.
SIZE = 300


@pytest.fixture
def filled(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(SIZE)))
    return log


@pytest.fixture
def published(filled, tmp_path):
    """The log as a directory, with all of its tiles."""
    publish(filled.engine, tmp_path / "tiles")
    return tmp_path / "tiles"


def content(log, path):
    with store.reading(log.engine) as connection:
        return tiles.content(connection, tiles.parse(path))


def bodies(log):
    with log.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT body FROM leaf ORDER BY idx").scalars())


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(3, 1234067), "tile/3/x001/x234/067"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(None, 1000, 1), "tile/entries/x001/000.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(tile, path):
    assert tile.path == path
    assert tiles.parse(path) == tile


@given(
    st.one_of(st.none(), st.integers(0, 63)),
    st.integers(0, 2**55),
    st.integers(1, 256),
)
def test_every_tile_has_one_path(level, index, width):
    tile = Tile(level, index, width)
    assert tiles.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/../001",
        "tile/0/001/",
        "tile/0/001\n",
        "tile/0/\u0660\u0660\u0661",
        "tile/entries/x001/1",
        "tile/0/" + "x001/" * 20 + "001",
    ],
)
def test_what_is_no_path_of_a_tile_is_refused(path):
    with pytest.raises(TileUnknown):
        tiles.parse(path)


def test_tiles_hold_the_tree_and_the_entries(filled):
    entries = bodies(filled)
    leaves = [leaf_hash(body) for body in entries]
    assert content(filled, "tile/0/000") == b"".join(leaves[:256])
    assert content(filled, "tile/0/001.p/44") == b"".join(leaves[256:])
    assert content(filled, "tile/0/001.p/7") == b"".join(leaves[256:263])
    assert content(filled, "tile/1/000.p/1") == root_of(leaves[:256])
    assert tiles.unbundle(content(filled, "tile/entries/000")) == entries[:256]
    assert tiles.unbundle(content(filled, "tile/entries/001.p/44")) == entries[256:]


@pytest.mark.parametrize(
    "path", ["tile/0/001", "tile/0/001.p/45", "tile/1/000", "tile/2/000.p/1", "tile/entries/001"]
)
def test_tile_that_the_log_has_not_grown_to_is_unknown(filled, path):
    with pytest.raises(TileUnknown, match="yet"):
        content(filled, path)


def test_empty_log_has_no_tile_and_no_checkpoint(log, tmp_path):
    with pytest.raises(TileUnknown):
        content(log, "tile/0/000.p/1")
    with pytest.raises(TileUnknown, match="empty"):
        publish(log.engine, tmp_path / "tiles")


def test_directory_verifies_and_follows_the_log(filled, published, make):
    first = verify_tiles(published, **filled.trust)
    assert (first.checkpoint.size, first.pruned) == (SIZE, 0)
    filled.record(*(make.system(f"more_{number}") for number in range(512 - SIZE)))
    assert publish(filled.engine, published) == 512
    assert verify_tiles(published, **filled.trust).checkpoint.size == 512
    # The partial tile that a full one replaced is gone; what never changes was left alone.
    assert not (published / "tile/0/001.p").exists()
    assert publish(filled.engine, published) == 512


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


TILES = ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "checkpoint"]


@pytest.mark.parametrize("path", TILES)
def test_edited_tile_is_found(filled, published, path):
    flip(published / path)
    with pytest.raises(LogTampered):
        verify_tiles(published, **filled.trust)


@pytest.mark.parametrize("path", TILES)
def test_missing_tile_is_found(filled, published, path):
    (published / path).unlink()
    with pytest.raises(LogTampered, match="missing"):
        verify_tiles(published, **filled.trust)


def test_partial_tile_in_the_place_of_a_full_one_is_found(filled, published):
    full = published / "tile/0/000"
    full.write_bytes(full.read_bytes()[: 32 * 255])
    with pytest.raises(LogTampered, match="no tile of 256"):
        verify_tiles(published, **filled.trust)


def test_entry_that_is_not_the_one_in_its_tile_is_found(filled, published):
    bundle = published / "tile/entries/001.p/44"
    entries = tiles.unbundle(bundle.read_bytes())
    entries[3], entries[4] = entries[4], entries[3]
    bundle.write_bytes(b"".join(len(e).to_bytes(2, "big") + e for e in entries))
    with pytest.raises(LogTampered, match="Entry 259") as found:
        verify_tiles(published, **filled.trust)
    assert found.value.index == 259


def test_bundle_that_is_cut_short_is_found(filled, published):
    bundle = published / "tile/entries/001.p/44"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    with pytest.raises(LogTampered, match="cut short"):
        verify_tiles(published, **filled.trust)


def test_entries_that_are_gone_without_the_logs_word_are_found(filled, published):
    (published / "tile/entries/000").unlink()
    with pytest.raises(LogTampered, match="missing"):
        verify_tiles(published, **filled.trust)


def test_checkpoint_of_another_log_does_not_make_the_directory_true(
    filled, published, new_log, make, tmp_path
):
    other = new_log(tmp_path / "other.db").start()
    other.record(*(make.system(f"else_{number}") for number in range(SIZE)))
    publish(other.engine, tmp_path / "others")
    shutil.copy(tmp_path / "others" / "checkpoint", published / "checkpoint")
    with pytest.raises(LogTampered, match="root"):
        verify_tiles(published, **filled.trust)


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"])
def test_file_without_end_is_found_and_not_read_to_it(filled, published, path):
    # A hole: gigabytes that take no space.
    with (published / path).open("r+b") as file:
        file.truncate(1 << 32)
    with pytest.raises(LogTampered, match="longer than it can be"):
        verify_tiles(published, **filled.trust)
