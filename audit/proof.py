"""Evidence that leaves the house: documents a stranger checks with the verifier key alone.

Two kinds, in docs/formats/log-v1.md: the entries of one request with their inclusion proofs, and
the proof that the log only grew since an earlier checkpoint.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit import checkpoint, events, merkle, store, tree
from audit.canonical import decode as decode_canonical
from audit.checkpoint import Checkpoint
from audit.errors import (
    CheckpointInvalid,
    EventInvalid,
    LogTampered,
    ProofInvalid,
    RequestUnknown,
)
from audit.merkle import HASH_BYTES

PROOF_FORMAT = "sealgate-proof-v1"
CONSISTENCY_FORMAT = "sealgate-consistency-v1"
TLOG_PROOF = "c2sp.org/tlog-proof@v1"
DOCUMENT_LIMIT_BYTES = 16 << 20


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
            entries.append({"event": _base64(body), "proof": _tlog_proof(index, path, note)})
    return _json({"format": PROOF_FORMAT, "request_id": request_id, "entries": entries})


def verify_proof(
    document: str | bytes, *, origin: str, public_key: bytes, earlier: Sequence[bytes] = ()
) -> Proved:
    """Check a proof document offline and return what it proves.

    earlier: keys that the log was signed with before its key was rotated.

    Raises:
        ProofInvalid: It is malformed, or an entry is not in the log that the key signs.
    """
    # 1. The document's form.
    fields = _fields(document, PROOF_FORMAT, {"request_id": str, "entries": list})
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
    document = _json(
        {
            "format": CONSISTENCY_FORMAT,
            "old": old_note,
            "new": note,
            "hashes": [_base64(each) for each in path],
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
    fields = _fields(document, CONSISTENCY_FORMAT, {"old": str, "new": str, "hashes": list})
    trust = _Trust(origin, public_key, earlier)
    old, new = trust.proved_checkpoint(fields["old"]), trust.proved_checkpoint(fields["new"])
    merkle.verify_consistency(
        old_size=old.size,
        size=new.size,
        path=[_hash(each) for each in fields["hashes"]],
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
    lines = [TLOG_PROOF, f"index {index}", *(_base64(each) for each in path)]
    return "\n".join(lines) + "\n\n" + note


def _verify_entry(fields: Any, request_id: str, trust: _Trust) -> tuple[ProvedEntry, str]:
    if not isinstance(fields, dict) or set(fields) != {"event", "proof"}:
        raise ProofInvalid("An entry of the proof has an event and a proof, and nothing else.")
    # a. The event's bytes have one reading, and are of this request.
    body = _unbase64(fields["event"])
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
    return int(index), [_hash(line) for line in lines[1:]], note


def _fields(document: str | bytes, form: str, members: dict[str, type]) -> dict[str, Any]:
    """Read a document that has exactly these members beside its format."""
    if len(document) > DOCUMENT_LIMIT_BYTES:
        raise ProofInvalid("The document is too long.")
    try:
        fields = json.loads(document, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ProofInvalid("The document is not JSON.") from None
    if not isinstance(fields, dict) or fields.get("format") != form:
        raise ProofInvalid(f"The document is not a {form}.")
    right = set(fields) == {"format", *members}
    if not right or any(not isinstance(fields[name], kind) for name, kind in members.items()):
        raise ProofInvalid(f"The document has other members than a {form}.")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice: readers differ on which one counts."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ProofInvalid("A name comes twice in the document.")
    return dict(pairs)


def _hash(text: Any) -> bytes:
    data = _unbase64(text)
    if len(data) != HASH_BYTES:
        raise ProofInvalid("A hash of the proof is malformed.")
    return data


def _unbase64(text: Any) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        data = b""
    if _base64(data) != text:
        raise ProofInvalid("The document holds malformed base64.")
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
