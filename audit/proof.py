"""Evidence that leaves the house: documents a stranger checks with the verifier key alone.

Two kinds, in docs/formats/log-v1.md: the entries of one request with their inclusion proofs, and
the proof that the log only grew since an earlier checkpoint.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, events, merkle, store, tree
from audit.canonical import decode as decode_canonical
from audit.checkpoint import Checkpoint
from audit.documents import base64_of, bytes_of, fields_of, hash_of, text_of
from audit.errors import (
    CheckpointInvalid,
    EventInvalid,
    LogTampered,
    ProofInvalid,
    RequestUnknown,
)

PROOF_FORMAT = "sealgate-proof-v1"
CONSISTENCY_FORMAT = "sealgate-consistency-v1"
TLOG_PROOF = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class _Trust:
    """Whose checkpoints count. earlier: keys from before the log's key was rotated."""

    origin: str
    public_key: bytes
    earlier: Sequence[bytes]

    def checkpoint(self, note: str) -> Checkpoint:
        return checkpoint.verify(
            note, origin=self.origin, public_key=self.public_key, earlier=self.earlier
        )

    def proved_checkpoint(self, note: str) -> Checkpoint:
        try:
            return self.checkpoint(note)
        except CheckpointInvalid as error:
            raise ProofInvalid(f"The proof's checkpoint does not hold. {error}") from error


@dataclass(frozen=True, slots=True)
class ProvedEntry:
    """An event that is in the log at `index`."""

    index: int
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proved:
    """What a verified proof document shows. That no other entry exists, it does not show."""

    request_id: str
    checkpoint: Checkpoint
    entries: tuple[ProvedEntry, ...]


@dataclass(frozen=True, slots=True)
class Consistency:
    """The tree of `old` is a prefix of the tree of `new`."""

    old: Checkpoint
    new: Checkpoint


def prove(engine: sa.Engine, request_id: str) -> str:
    """Return the proof document of a request: its entries under the newest checkpoint.

    Raises:
        RequestUnknown: The log holds no entry of it.
        LogTampered: The stored tree has gaps.
        LogUnavailable: The log cannot be read.
    """
    leaf = store.leaf.c
    query = sa.select(leaf.idx, leaf.body).where(leaf.request_id == request_id).order_by(leaf.idx)
    with store.reading(engine) as connection:
        rows = connection.execute(query).all()
        if not rows:
            raise RequestUnknown(f"The log holds no entry of the request {request_id!r}.")
        size, note = _newest(connection)
        root = tree.roots(connection)
        entries = []
        for index, body in rows:
            path = [root(each) for each in merkle.inclusion_ranges(index, size)]
            entries.append({"event": base64_of(body), "proof": _tlog_proof(index, path, note)})
    return text_of({"format": PROOF_FORMAT, "request_id": request_id, "entries": entries})


def verify_proof(
    document: str | bytes, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Proved:
    """Check a proof document offline and return what it proves.

    earlier: keys that the log was signed with before its key was rotated.

    Raises:
        ProofInvalid: It is malformed, or an entry is not in the log that the key signs.
    """
    # 1. The document's form.
    fields = fields_of(document, PROOF_FORMAT, {"request_id": str, "entries": list})
    if not fields["entries"]:
        raise ProofInvalid("The proof holds no entry.")
    # 2. Every entry, under one and the same checkpoint.
    trust = _Trust(origin, public_key, earlier)
    proved, notes = [], set()
    for each in fields["entries"]:
        entry, note = _verify_entry(each, fields["request_id"], trust)
        proved.append(entry)
        notes.add(note)
    indices = [entry.index for entry in proved]
    if len(notes) != 1 or indices != sorted(set(indices)):
        raise ProofInvalid("The entries are out of order or under different checkpoints.")
    return Proved(
        fields["request_id"],
        trust.proved_checkpoint(notes.pop()),
        tuple(proved),
    )


def consistency(
    engine: sa.Engine,
    old_note: str,
    *,
    origin: str,
    public_key: bytes,
    earlier: Sequence[bytes] = (),
) -> str:
    """Check that the log only grew since `old_note`, and return the document that proves it.

    earlier: keys that the log was signed with before its key was rotated.

    Raises:
        CheckpointInvalid: `old_note` is not a checkpoint of this log.
        LogTampered: The log does not hold what was signed then: it was cut, restored from an
            older copy, or rewritten, be it by who has the key.
        LogUnavailable: The log cannot be read.
    """
    old = _Trust(origin, public_key, earlier).checkpoint(old_note)
    with store.reading(engine) as connection:
        size, note = _newest(connection)
        if size < old.size:
            raise LogTampered(
                f"The log has {size} entries; {old.size} were signed before.", index=size
            )
        root = tree.roots(connection)
        path = [root(each) for each in merkle.consistency_ranges(old.size, size)]
    document = text_of(
        {
            "format": CONSISTENCY_FORMAT,
            "old": old_note,
            "new": note,
            "hashes": [base64_of(each) for each in path],
        }
    )
    try:
        verify_consistency(document, origin=origin, public_key=public_key, earlier=earlier)
    except ProofInvalid as error:
        raise LogTampered(
            f"The first {old.size} entries are not those that were signed then. {error}"
        ) from error
    return document


def verify_consistency(
    document: str | bytes, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Consistency:
    """Check a consistency document offline.

    earlier: keys that the log was signed with before its key was rotated.

    Raises:
        ProofInvalid: It is malformed, or the newer tree does not extend the older one.
    """
    fields = fields_of(document, CONSISTENCY_FORMAT, {"old": str, "new": str, "hashes": list})
    trust = _Trust(origin, public_key, earlier)
    old, new = trust.proved_checkpoint(fields["old"]), trust.proved_checkpoint(fields["new"])
    merkle.verify_consistency(
        old_size=old.size,
        size=new.size,
        path=[hash_of(each) for each in fields["hashes"]],
        old_root=old.root,
        root=new.root,
    )
    return Consistency(old, new)


def is_consistency(document: str | bytes) -> bool:
    """Whether a document says that it is of consistency; it is not verified."""
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.get("format") == CONSISTENCY_FORMAT


def _newest(connection: sa.Connection) -> tuple[int, str]:
    table = store.checkpoint
    query = sa.select(table.c.size, table.c.note).order_by(table.c.size.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise LogTampered("The log has no checkpoint.")
    return row.size, row.note


def _tlog_proof(index: int, path: list[bytes], note: str) -> str:
    lines = [TLOG_PROOF, f"index {index}", *(base64_of(each) for each in path)]
    return "\n".join(lines) + "\n\n" + note


def _verify_entry(fields: Any, request_id: str, trust: _Trust) -> tuple[ProvedEntry, str]:
    if not isinstance(fields, dict) or set(fields) != {"event", "proof"}:
        raise ProofInvalid("An entry of the proof has an event and a proof, and nothing else.")
    # a. The event's bytes have one reading, and are of this request.
    body = bytes_of(fields["event"])
    try:
        entry = events.decode(body)
    except EventInvalid as error:
        raise ProofInvalid(f"The proof's event is none. {error}") from error
    if entry.request_id != request_id:
        raise ProofInvalid("The proof holds an entry of another request.")
    # b. The key signed the checkpoint. c. The entry is under its root.
    index, path, note = _parse_tlog_proof(fields["proof"])
    head = trust.proved_checkpoint(note)
    merkle.verify_inclusion(
        merkle.leaf_hash(body), index=index, size=head.size, path=path, root=head.root
    )
    return ProvedEntry(index, decode_canonical(body)), note


def _parse_tlog_proof(text: Any) -> tuple[int, list[bytes], str]:
    """Read a C2SP tlog-proof without extra data."""
    top, separator, note = text.partition("\n\n") if isinstance(text, str) else ("", "", "")
    header, *lines = top.split("\n")
    index = lines[0].removeprefix("index ") if lines else ""
    if not separator or header != TLOG_PROOF or not checkpoint.SIZE_PATTERN.fullmatch(index):
        raise ProofInvalid(f"An entry's proof is not a {TLOG_PROOF}.")
    if not lines[0].startswith("index "):
        raise ProofInvalid("An entry's proof does not name its index.")
    return int(index), [hash_of(line) for line in lines[1:]], note
