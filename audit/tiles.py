"""The log as C2SP tlog-tiles: paths, hash tiles and entry bundles (docs/formats/log-v1.md).

A tile is named by the hashes it holds, so a full one never changes and may be cached for ever.
"""

import re
from dataclasses import dataclass

import sqlalchemy as sa

from audit import store, tree
from audit.errors import LogTampered, TileUnknown
from audit.merkle import TILE_HEIGHT, TILE_WIDTH

CHECKPOINT = "checkpoint"
LENGTH_BYTES = 2
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_HIGHEST_LEVEL = 63
# With the index's groups of three, more than 2^63 entries.
_PATH_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """The first `width` items of a tile of 256: hashes of `level`, or entries at level None."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Return where the tile lies (tlog-tiles, "Merkle Tree" and "Log entries")."""
        level = "entries" if self.level is None else str(self.level)
        partial = f".p/{self.width}" if self.width < TILE_WIDTH else ""
        return f"tile/{level}/{_grouped(self.index)}{partial}"

    @property
    def span(self) -> tuple[int, int]:
        """Return its first item's index in the level, and the one after its last."""
        start = self.index * TILE_WIDTH
        return start, start + self.width


def parse(path: str) -> Tile:
    """Read a tile's path.

    Raises:
        TileUnknown: It is none.
    """
    found = _PATH.fullmatch(path) if len(path) <= _PATH_LIMIT else None
    if found is None:
        raise TileUnknown("This is no tile's path: `tile/LEVEL/INDEX` or `tile/LEVEL/INDEX.p/W`.")
    level = None if found["level"] == "entries" else int(found["level"])
    tile = Tile(
        level, int(re.sub("[x/]", "", found["index"])), int(found["width"] or str(TILE_WIDTH))
    )
    wrong_width = found["width"] is not None and tile.width >= TILE_WIDTH
    # One tile has one path: `x000/001` is not another name of `001`.
    if wrong_width or (level or 0) > _HIGHEST_LEVEL or tile.path != path:
        raise TileUnknown("This is no tile's path: its width, level or index cannot be.")
    return tile


def of_size(size: int, *, since: int = 0) -> list[Tile]:
    """Name every tile of a log of `size` entries that one of `since` entries had not yet.

    Entry bundles first, so that a reader who sees a hash finds its entry.
    """
    tiles = _level(None, size, since)
    level = 0
    while size:
        tiles += _level(level, size, since)
        level, size, since = level + 1, size >> TILE_HEIGHT, since >> TILE_HEIGHT
    return tiles


def content(connection: sa.Connection, tile: Tile) -> bytes:
    """Return a tile's bytes.

    Raises:
        TileUnknown: The newest checkpoint does not cover it, or its entries were pruned.
        LogTampered: The tree has gaps.
    """
    start, end = tile.span
    if end > newest(connection)[0] >> (TILE_HEIGHT * (tile.level or 0)):
        raise TileUnknown(f"The log has no {tile.path} yet.")
    if tile.level is not None:
        return b"".join(tree.hashes(connection, tile.level, start, end))
    if start < tree.pruned_end(connection):
        raise TileUnknown(f"The entries of {tile.path} were pruned; their hashes are still there.")
    return _bundle(connection, start, end)


def newest(connection: sa.Connection) -> tuple[int, str]:
    """Return size and note of the newest checkpoint.

    Raises:
        TileUnknown: The log is empty and has none.
    """
    table = store.checkpoint.c
    query = sa.select(table.size, table.note).order_by(table.size.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise TileUnknown("The log is empty: there is no checkpoint yet.")
    return row.size, row.note


def unbundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        LogTampered: It is cut short.
    """
    entries, place = [], 0
    while place < len(data):
        start = place + LENGTH_BYTES
        place = start + int.from_bytes(data[start - LENGTH_BYTES : start], "big")
        if place > len(data) or start > len(data):
            raise LogTampered("An entry bundle is cut short.")
        entries.append(data[start:place])
    return entries


def _level(level: int | None, size: int, since: int) -> list[Tile]:
    tiles = [Tile(level, n) for n in range(since // TILE_WIDTH, size // TILE_WIDTH)]
    if size % TILE_WIDTH:
        tiles.append(Tile(level, size // TILE_WIDTH, size % TILE_WIDTH))
    return tiles


def _bundle(connection: sa.Connection, start: int, end: int) -> bytes:
    leaf = store.leaf.c
    query = sa.select(leaf.body).where(leaf.idx >= start, leaf.idx < end).order_by(leaf.idx)
    bodies = list(connection.scalars(query))
    if len(bodies) != end - start:
        raise LogTampered(f"An entry from {start} to {end - 1} is missing.", index=start)
    return b"".join(len(body).to_bytes(LENGTH_BYTES, "big") + body for body in bodies)


def _grouped(index: int) -> str:
    """Write an index in groups of three digits, all but the last with an `x` before them."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    return "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
