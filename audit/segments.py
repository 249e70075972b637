"""Months sealed into files that verify alone (docs/formats/log-v1.md, "A month, sealed")."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from audit import checkpoint, files, schema, store, tree
from audit.checkpoint import Checkpoint
from audit.errors import (
    CheckpointInvalid,
    LogTampered,
    LogUnavailable,
    PeriodUnsealable,
)
from audit.merkle import HASH_BYTES, Frontier, leaf_hash

FORMAT = "sealgate-segment-v1"
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])", re.ASCII)
_leaf, _segment = store.leaf, schema.segment


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed month: entries `start` to `end`. pruned: they are in its files alone."""

    month: str
    start: int
    end: int
    sha256: str
    pruned: bool


def seal(
    engine: sa.Engine,
    month: str,
    *,
    directory: Path,
    origin: str,
    public_key: bytes,
    sign: Callable[[bytes], bytes],
    now_ms: int,
) -> Segment:
    """Write a month's entries and manifest into `directory`, and remember that they are sealed.

    month: `YYYY-MM`, over by `now_ms`. Record it in the log afterwards.

    Raises:
        PeriodUnsealable: It is not over, sealed before, or without entries.
        LogTampered: The stored tree has gaps.
        LogUnavailable: The log or the directory cannot be used.
    """
    after_ms = end_of(month)
    if after_ms > now_ms:
        raise PeriodUnsealable(f"{month} is not over yet.")
    # Read without the write lock: what is sealed never changes, and gateways go on meanwhile.
    with store.reading(engine) as connection:
        start, end = _span(connection, month, after_ms)
        before = tree.frontier(connection, start)
        grown, digest = before.copy(), hashlib.sha256()
        files.write(
            directory / f"{month}.ndjson",
            _lines(connection, start, end, digest=digest, grown=grown),
        )
        if grown.root() != tree.frontier(connection, end).root():
            raise LogTampered(f"The entries of {month} do not make the log's tree.", index=start)
        head = Checkpoint(origin, end, grown.root())
        note = checkpoint.sign(head, public_key=public_key, signer=sign)
        segment = Segment(month, start, end, digest.hexdigest(), pruned=False)
        manifest = _manifest(segment, before.encode(), note)
        files.write(directory / f"{month}.json", [manifest])
    values = {"start": start, "end": end, "sha256": segment.sha256, "manifest": manifest.decode()}
    with store.told(), store.writing(engine).begin() as connection:
        connection.execute(_segment.insert().values(month=month, **values))
    return segment


def sealed(engine: sa.Engine) -> list[Segment]:
    """Return the sealed months, oldest first.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    query = sa.select(_segment).order_by(_segment.c.start)
    with store.reading(engine) as connection:
        return [
            Segment(row.month, row.start, row.end, row.sha256, pruned=row.pruned_ms is not None)
            for row in connection.execute(query)
        ]


def verify_segment(
    directory: Path,
    month: str,
    *,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
) -> Segment:
    """Verify a sealed month from its two files and the log's key alone.

    earlier: keys that the log was signed with before its key was rotated.

    Raises:
        LogTampered: They are not what was sealed.
        LogUnavailable: They cannot be read.
    """
    try:
        fields = json.loads((directory / f"{month}.json").read_bytes())
        head = checkpoint.verify(
            fields["checkpoint"], origin=origin, public_key=public_key, earlier=earlier
        )
        left = b"".join(base64.b64decode(each, validate=True) for each in fields["left"])
        grown, digest = Frontier.decode(fields["start"], left), hashlib.sha256()
        with (directory / f"{month}.ndjson").open("rb") as file:
            for line in file:
                digest.update(line)
                grown.append(leaf_hash(line.removesuffix(b"\n")))
    except OSError as error:
        raise LogUnavailable(f"{error.filename} cannot be read: {error.strerror}.") from None
    except (CheckpointInvalid, ValueError, KeyError, TypeError) as error:
        raise LogTampered(f"The manifest of {month} is none: {error}.") from None
    found = (fields["format"], fields["month"], fields["end"], fields["sha256"])
    if found != (FORMAT, month, grown.size, digest.hexdigest()):
        raise LogTampered(f"The files of {month} do not belong together.")
    if (head.size, head.root) != (grown.size, grown.root()):
        raise LogTampered(f"The entries of {month} are not those that were signed.")
    return Segment(month, fields["start"], grown.size, fields["sha256"], pruned=False)


def end_of(month: str) -> int:
    """Return the first millisecond after a month, `YYYY-MM`.

    Raises:
        PeriodUnsealable: It is none.
    """
    if not _MONTH.fullmatch(month):
        raise PeriodUnsealable(f"{month!r} is no month. Write it as 2026-01.")
    year, number = (int(part) for part in month.split("-"))
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(after.timestamp() * 1000)


def _span(connection: sa.Connection, month: str, after_ms: int) -> tuple[int, int]:
    row = connection.execute(
        sa.select(_segment.c.month, _segment.c.end).order_by(_segment.c.end.desc()).limit(1)
    ).one_or_none()
    newest, start = (row.month, row.end) if row else ("", 0)
    if newest >= month:
        raise PeriodUnsealable(f"{newest} is sealed already; months are sealed in their order.")
    last = sa.select(sa.func.max(_leaf.c.idx)).where(_leaf.c.time_ms < after_ms)
    found: int | None = connection.execute(last).scalar_one()
    if found is None or found < start:
        raise PeriodUnsealable(f"{month} has no entry that is not sealed yet.")
    return start, found + 1


def _lines(
    connection: sa.Connection, start: int, end: int, *, digest: "hashlib._Hash", grown: Frontier
) -> Iterator[bytes]:
    """Yield the entries a line each; hash what was yielded, and grow the tree by it."""
    query = sa.select(_leaf.c.body).where(_leaf.c.idx >= start, _leaf.c.idx < end)
    ordered = query.order_by(_leaf.c.idx)
    with connection.execute(ordered, execution_options={"yield_per": 1024}) as rows:
        for body in rows.scalars():
            line = body + b"\n"
            digest.update(line)
            grown.append(leaf_hash(body))
            yield line


def _manifest(segment: Segment, left: bytes, note: str) -> bytes:
    hashes = [left[at : at + HASH_BYTES] for at in range(0, len(left), HASH_BYTES)]
    fields = {
        "format": FORMAT,
        "month": segment.month,
        "start": segment.start,
        "end": segment.end,
        "sha256": segment.sha256,
        "left": [base64.b64encode(each).decode() for each in hashes],
        "checkpoint": note,
    }
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()
