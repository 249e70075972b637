"""The log's tiles as files: written for others to copy, and read back believing nothing.

A directory holds exactly what `/audit/` serves, so that a static file server can take its place.
"""

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from audit import checkpoint, events, files, store, tiles, tree
from audit.checkpoint import Checkpoint
from audit.errors import CheckpointInvalid, EventInvalid, LogTampered, LogUnavailable
from audit.merkle import HASH_BYTES, TILE_WIDTH, Frontier, leaf_hash
from audit.tiles import CHECKPOINT, Tile
from audit.verify import PRUNED

_TILE_LIMIT_BYTES = HASH_BYTES * TILE_WIDTH
_BUNDLE_LIMIT_BYTES = (tiles.LENGTH_BYTES + events.BODY_LIMIT_BYTES) * TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Published:
    """A directory that verified. pruned: how many first entries are there as hashes only."""

    checkpoint: Checkpoint
    pruned: int


def publish(engine: sa.Engine, directory: Path) -> int:
    """Write what the directory lacks of the log's tiles, the checkpoint last; return its size.

    Raises:
        TileUnknown: The log is empty.
        LogTampered: The tree has gaps.
        LogUnavailable: The log cannot be read, or the directory not be written.
    """
    try:
        with store.reading(engine) as connection:
            size, note = tiles.newest(connection)
            pruned = tree.pruned_end(connection)
            since = _size_of(directory)
            for tile in tiles.of_size(size, since=min(since, size)):
                if tile.level is None and tile.span[0] < pruned:
                    continue
                files.write(directory / tile.path, [tiles.content(connection, tile)])
        files.write(directory / CHECKPOINT, [note.encode()])
        _drop_outgrown(directory, since, size)
    except OSError as error:
        raise LogUnavailable(f"{directory} cannot be written: {error.strerror}.") from None
    return size


def verify_tiles(
    directory: Path, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Published:
    """Verify a directory of tiles: every entry, every hash of every level, the checkpoint.

    Raises:
        LogTampered: The first tile that is wrong or missing.
        LogUnavailable: The directory cannot be read.
    """
    # 1. The checkpoint. 2. Each bundle against its tile of leaves, and every level as they grow.
    # 3. The root. 4. What is not there, the log says is pruned.
    try:
        note = _read(directory / CHECKPOINT, checkpoint.NOTE_LIMIT_BYTES).decode()
        head = checkpoint.verify(note, origin=origin, public_key=public_key, earlier=earlier)
        found = _Grown(directory, head.size)
        for tile in tiles.of_size(head.size):
            if tile.level == 0:
                found.take(tile)
        found.finish()
    except FileNotFoundError as error:
        raise LogTampered(f"{error.filename} is missing.") from None
    except (CheckpointInvalid, UnicodeDecodeError) as error:
        raise LogTampered(f"The checkpoint does not hold. {error}") from None
    except OSError as error:
        raise LogUnavailable(f"{directory} cannot be read: {error.strerror}.") from None
    if found.tree.root() != head.root:
        raise LogTampered("The tiles do not make the checkpoint's root.")
    if found.pruned > found.may_be_pruned:
        raise LogTampered(f"The entries before {found.pruned} are missing.", index=0)
    return Published(head, found.pruned)


class _Grown:
    """The tree as the directory's leaves make it, and the hashes that its tiles must hold."""

    def __init__(self, directory: Path, size: int) -> None:
        self.tree = Frontier()
        self.pruned = 0
        self.may_be_pruned = 0
        self._directory = directory
        self._size = size
        self._levels: dict[int, list[bytes]] = {}

    def take(self, tile: Tile) -> None:
        """Read a tile of leaves and its bundle, and grow the tree by them."""
        start, _ = tile.span
        data = _read(self._directory / tile.path, _TILE_LIMIT_BYTES)
        if len(data) != HASH_BYTES * tile.width:
            raise LogTampered(f"{tile.path} is no tile of {tile.width} hashes.", index=start)
        leaves = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
        self._check_entries(Tile(None, tile.index, tile.width), leaves)
        for leaf in leaves:
            for level, _, node in self.tree.grow(leaf):
                self._levels.setdefault(level, []).append(node)

    def finish(self) -> None:
        """Compare every tile above the leaves with what the leaves made."""
        for tile in tiles.of_size(self._size):
            if tile.level:
                start, end = tile.span
                expected = b"".join(self._levels[tile.level][start:end])
                if _read(self._directory / tile.path, _TILE_LIMIT_BYTES) != expected:
                    raise LogTampered(f"{tile.path} is not the tile that the entries make.")

    def _check_entries(self, bundle: Tile, leaves: list[bytes]) -> None:
        start, end = bundle.span
        try:
            entries = tiles.unbundle(_read(self._directory / bundle.path, _BUNDLE_LIMIT_BYTES))
        except FileNotFoundError:
            # Only the log's first entries can be pruned.
            if start != self.pruned:
                raise
            self.pruned = end
            return
        if len(entries) != len(leaves):
            raise LogTampered(f"{bundle.path} holds {len(entries)} entries.", index=start)
        for index, (entry, leaf) in enumerate(zip(entries, leaves, strict=True), start):
            if leaf_hash(entry) != leaf:
                raise LogTampered(f"Entry {index} is not the one in its tile.", index=index)
            self._look_for_pruning(index, entry)

    def _look_for_pruning(self, index: int, body: bytes) -> None:
        try:
            entry = events.decode(body)
        except EventInvalid as error:
            raise LogTampered(f"Entry {index} is no event. {error}", index=index) from error
        if (entry.operation, entry.phase) == (PRUNED, "system"):
            end = json.loads(body)["sealgate"]["detail"].get("end")
            self.may_be_pruned = max(self.may_be_pruned, end if isinstance(end, int) else 0)


def _read(path: Path, limit_bytes: int) -> bytes:
    """Return a file's content: whoever copied it may have been handed a file without end.

    Raises:
        LogTampered: It is longer than what belongs there can be.
    """
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise LogTampered(f"{path} is longer than it can be.")
    return data


def _size_of(directory: Path) -> int:
    """Return the size that the directory's checkpoint names; it is a hint, not evidence."""
    try:
        return int((directory / CHECKPOINT).read_text(encoding="utf-8").split("\n")[1])
    except (OSError, ValueError, IndexError):
        return 0


def _drop_outgrown(directory: Path, since: int, size: int) -> None:
    """Remove partial tiles whose full tile is there now (tlog-tiles, "Partial Tiles")."""
    for tile in tiles.of_size(since):
        full = tile.width < TILE_WIDTH and (tile.index + 1) * TILE_WIDTH
        if full and full <= size >> (8 * (tile.level or 0)):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory / Tile(tile.level, tile.index, 1).path.rpartition("/")[0])
