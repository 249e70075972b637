"""What a log tells of keys to who puts a backup of them back, and how far it can be relied on.

The log may be a copy of another day than the backup. It cannot tell what happened after its own
last entry, and nothing here guesses it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, evidence, store
from audit.errors import CheckpointInvalid, LogTampered
from audit.verify import verify_log
from gateway import instants
from privacy import signatures
from privacy.aftermath import Aftermath, Happening
from privacy.references import Reference
from privacy.snapshot import Snapshot

_STATES = {"key.revoked": "compromised", "key.destroyed": "destroyed", "key.created": "lost"}


class Standing(Enum):
    """How a log stands to a backup in time."""

    ABSENT = "absent"
    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """What a log that verifies tells.

    happenings: of keys, oldest first. ended_ms: the time of its last entry, Unix milliseconds.
    knows_backup: whether it has the entry of the backup.
    """

    happenings: list[Happening]
    ended_ms: int | None
    knows_backup: bool


def read(engine: sa.Engine, snapshot: Snapshot, backup_id: str, *, origin: str) -> KeyHistory:
    """Return what a log tells of keys, once it verifies.

    Checkpoint keys that the backup does not know are taken from entries that a key known before
    them signed, so that nobody can slip in a key of their own.

    Raises:
        LogTampered: The log does not verify from the backup's keys on.
    """
    found: list[tuple[int, Happening]] = []
    ended_ms, knows_backup = None, False
    for index, event in evidence.events(engine):
        ended_ms = event["time"]
        operation, detail = event["api"]["operation"], event["sealgate"].get("detail", {})
        if operation in _STATES and "key" in detail:
            found.append((index, _happening(event)))
        elif operation == "key.backed_up" and detail.get("backup") == backup_id:
            knows_backup = True
    _verify(engine, snapshot, found, origin=origin)
    return KeyHistory([each for _, each in found], ended_ms, knows_backup)


def standing(history: KeyHistory | None, *, made_s: int) -> Standing:
    """Say whether the log reaches to the backup. made_s: when that was made, Unix seconds."""
    if history is None:
        return Standing.ABSENT
    # A backup of before entries named theirs is judged by the clock; a log that ends within the
    # second in which it was made may end before it.
    if history.knows_backup or (history.ended_ms or 0) // 1000 > made_s:
        return Standing.NEWER
    return Standing.OLDER


def sentences(history: KeyHistory | None, found: Aftermath, *, made_s: int) -> Iterator[str]:
    """Say it to the person who restores. made_s: when the backup was made, Unix seconds."""
    made = instants.written(made_s * 1000)
    if history is None:
        yield (
            f"Warning: without its log nothing tells what became of keys after {made}, when the "
            "backup was made. One that was destroyed works again: destroy it once more."
        )
        return
    ended = instants.written(history.ended_ms) if history.ended_ms is not None else "its beginning"
    if standing(history, made_s=made_s) is Standing.OLDER:
        yield (
            f"Warning: the log is older than the backup: it ends {ended}, and the backup is of "
            f"{made}. Entries since are lost, and what was proved by them has no proof here."
        )
    else:
        yield f"The log goes on after the backup of {made}, and ends {ended}."
    if found.repeated:
        done = ", ".join(f"{each.key} ({each.state})" for each in found.repeated)
        yield f"Done again, as the log tells: {done}."
    if found.lost:
        yield (
            f"Lost, since made after the backup: {', '.join(map(str, found.lost))}. Import models "
            "of lost keys again, and issue API keys of a lost credential epoch again."
        )
    yield (
        f"What became of keys after the log's end, {ended}, is not known here: one that was "
        "destroyed after it works again. Compare the log with a checkpoint that was kept elsewhere "
        "(sealgate audit consistency)."
    )


def _verify(
    engine: sa.Engine, snapshot: Snapshot, found: list[tuple[int, Happening]], *, origin: str
) -> None:
    known = [key.public for key in snapshot.signing_keys("checkpoint", signatures.ED25519)]
    successors = [
        (index, bytes.fromhex(each.public[signatures.ED25519]))
        for index, each in found
        if each.key.name == "checkpoint" and signatures.ED25519 in each.public
    ]
    for size, signed in _notes(engine):
        try:
            checkpoint.verify(signed, origin=origin, public_key=known[0], earlier=known[1:])
        except CheckpointInvalid as error:
            raise LogTampered(
                f"The checkpoint of {size} entries is by no key of the backup, nor by one that "
                f"follows from them. {error}"
            ) from None
        known += [key for index, key in successors if index < size and key not in known]
    verify_log(engine, origin=origin, public_key=known[0], earlier=known[1:])


def _notes(engine: sa.Engine) -> Iterable[tuple[int, str]]:
    table = store.checkpoint
    query = sa.select(table.c.size, table.c.note).order_by(table.c.size)
    with store.reading(engine) as connection:
        return [(row.size, row.note) for row in connection.execute(query)]


def _happening(event: Any) -> Happening:
    detail = event["sealgate"]["detail"]
    return Happening(
        Reference.parse(detail["key"]),
        _STATES[event["api"]["operation"]],
        event["time"] // 1000,
        detail.get("public", {}),
    )
