"""One batch into the log: leaves, marks, head and signed checkpoint in a single transaction.

For one thread of one process; other processes may write the same file. Queueing and futures are
the sequencer's. Nothing is signed or acknowledged on top of a head that was not checked.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from audit import checkpoint, store, tree
from audit.checkpoint import Checkpoint
from audit.errors import CheckpointInvalid, EventConflict, LogTampered, LogUnavailable
from audit.events import Entry
from audit.merkle import TILE_WIDTH, Frontier, Node, leaf_hash
from audit.pipelined import batch, connect
from audit.rows import BELOW_ALL, Head, Rows, rows

# How many of the newest entries a start reads; whole tiles of them, or some more.
TAIL = 4 * TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry is on disk and under a signed checkpoint. size: of the tree that covers it."""

    index: int
    size: int
    uid: str


class Writer:
    """Appends batches.

    origin: the log's name. public_keys: gives the key that signs now, raw Ed25519, 32 bytes, then
    earlier ones that are trusted. sign: makes its signature; whatever it raises leaves the log as
    it was.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        origin: str,
        public_keys: Callable[[], Sequence[bytes]],
        sign: Callable[[bytes], bytes],
    ) -> None:
        self._engine = engine
        self._origin = origin
        self._public_keys = public_keys
        self._sign = sign
        self._connection: sa.Connection | None = None
        self._place: Hashable = None
        self._frontier = Frontier()
        # The key that signed last: to ask for it is a call to the key broker.
        self._key: bytes | None = None

    def open(self) -> None:
        """Replay the newest entries against the tree, its head and the newest checkpoint.

        Raises:
            LogTampered: They disagree.
            LogUnavailable: The log cannot be read.
        """
        with store.told(), store.writing(self._engine).begin() as connection:
            self._frontier = _start(connection)
            frontier = self._caught_up(rows(connection))
            self._check_checkpoint(rows(connection), frontier)
            _check_tail(connection, frontier.size)
        self._frontier = frontier

    def write(self, entries: Sequence[Entry]) -> list[Recorded | EventConflict]:
        """Make `entries` durable; an empty batch proves that the log can be written.

        Returns for each entry where it is; one that was there already keeps its place, and one
        whose uid holds another event is refused alone.

        Raises:
            LogUnavailable: Nothing of the batch is acknowledged. Some may be on disk if the
                commit's own answer was lost; writing the same entries again settles it.
        """
        try:
            with store.told():
                with batch(self._connected()) as log:
                    self._place = self._place or store.identity(self._engine)
                    self._require_in_place()
                    frontier, results = self._append(log, entries)
                # A file that was unlinked meanwhile takes commits that nobody will ever read.
                self._require_in_place()
        except LogTampered as error:
            self.disconnect()
            raise LogUnavailable(f"The log takes no entries: {error}") from error
        except BaseException:
            self.disconnect()
            raise
        self._frontier = frontier
        return results

    def in_place(self) -> bool:
        """Return whether what is written to still lies where it was opened."""
        try:
            return self._place is None or self._place == store.identity(self._engine)
        except LogUnavailable:
            return False

    def disconnect(self) -> None:
        """Forget the connection; the next batch opens its own and reads the head afresh."""
        connection, self._connection, self._place = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()
            self._engine.dispose()

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = connect(self._engine)
        return self._connection

    def _require_in_place(self) -> None:
        if self._place != store.identity(self._engine):
            raise LogUnavailable("The log's file was replaced while it was open.")

    def _append(
        self, log: Rows, entries: Sequence[Entry]
    ) -> tuple[Frontier, list[Recorded | EventConflict]]:
        # 1. The write lock is held: take in what other processes appended. The checkpoint over it
        # must carry the key's signature: with write access to the file alone, nobody gets their
        # rows signed by the next batch.
        uids = [entry.uid for entry in entries]
        log.look(self._frontier.size or BELOW_ALL, uids)
        frontier = self._caught_up(log)
        if frontier.size > self._frontier.size:
            self._check_checkpoint(log, frontier)
        # 2. Leave out what is in the log already.
        places = log.places(uids)
        fresh: list[Entry] = []
        for entry in entries:
            if entry.uid not in places:
                places[entry.uid] = (frontier.size + len(fresh), entry.body)
                fresh.append(entry)
        # 3. Leaves and marks. 4. Signed checkpoint. 5. Head.
        if fresh:
            _insert(log, fresh, frontier)
            note = {"size": frontier.size, "note": self._note(frontier)}
            log.insert(store.checkpoint, [note])
        # Also without fresh entries: a transaction that writes nothing would prove nothing.
        log.set_head(_head(frontier))
        return frontier, [_result(entry, places[entry.uid], frontier.size) for entry in entries]

    def _caught_up(self, log: Rows) -> Frontier:
        """Return the stored tree's frontier, having replayed all that is new since ours."""
        head = log.head()
        if head is None:
            raise LogTampered("The log has lost its head.")
        ours = self._frontier
        if head.size < ours.size:
            raise LogTampered(
                f"The log holds {head.size} entries and had {ours.size}. Restore the newest copy.",
                index=head.size,
            )
        frontier = ours.copy()
        _replay(log, frontier)
        if _head(frontier) != head:
            raise LogTampered(f"The log's entries do not make its head of {head.size} entries.")
        return frontier

    def _check_checkpoint(self, log: Rows, frontier: Frontier) -> None:
        newest = log.newest_checkpoint()
        if newest is None and frontier.size == 0:
            return
        if newest is None:
            raise LogTampered("The log has entries and no checkpoint.")
        try:
            key, *earlier = self._public_keys()
            told = checkpoint.verify(newest, origin=self._origin, public_key=key, earlier=earlier)
        except CheckpointInvalid as error:
            raise LogTampered(f"The newest checkpoint does not hold. {error}") from error
        if (told.size, told.root) != (frontier.size, frontier.root()):
            raise LogTampered(
                f"The newest checkpoint is of {told.size} entries; the log's {frontier.size} "
                "entries have another root."
            )

    def _note(self, frontier: Frontier) -> str:
        head = Checkpoint(self._origin, frontier.size, frontier.root())
        try:
            self._key = self._key or self._public_keys()[0]
            try:
                return checkpoint.sign(head, public_key=self._key, signer=self._sign)
            except CheckpointInvalid:
                # The key was rotated since it was asked for; asked again, they agree.
                self._key = self._public_keys()[0]
                return checkpoint.sign(head, public_key=self._key, signer=self._sign)
        except Exception as error:
            # Whatever keeps the key from signing keeps the log from growing.
            raise LogUnavailable(f"The log's checkpoint cannot be signed: {error}") from error


def _start(connection: sa.Connection) -> Frontier:
    """Return the frontier that a start replays from, after making nodes that were never kept."""
    size: int = connection.execute(sa.select(store.head.c.size)).scalar_one_or_none() or 0
    if not tree.complete(connection, size):
        tree.rebuild(connection, size)
    whole_tiles = max(size - TAIL, 0) // TILE_WIDTH * TILE_WIDTH
    return tree.frontier(connection, max(whole_tiles, min(tree.pruned_end(connection), size)))


def _replay(log: Rows, frontier: Frontier) -> None:
    """Add what lies beyond the frontier; from nothing, below the first index as well."""
    for index, stored_hash in log.leaves(frontier.size or BELOW_ALL):
        if index != frontier.size:
            raise LogTampered(f"Entry {frontier.size} is missing.", index=frontier.size)
        frontier.append(stored_hash)


def _head(frontier: Frontier) -> Head:
    return Head(frontier.size, frontier.root(), frontier.encode())


def _check_tail(connection: sa.Connection, size: int) -> None:
    leaf = store.leaf.c
    query = sa.select(leaf.idx, leaf.leaf_hash, leaf.body).where(leaf.idx >= size - TAIL)
    for index, stored_hash, body in connection.execute(query):
        if leaf_hash(body) != stored_hash:
            raise LogTampered(f"Entry {index} was changed: see `audit verify`.", index=index)


def _insert(log: Rows, entries: list[Entry], frontier: Frontier) -> None:
    leaves, marks, subjects = [], [], []
    nodes: list[Node] = []
    for entry in entries:
        index, hashed = frontier.size, leaf_hash(entry.body)
        nodes += frontier.grow(hashed)
        leaves.append(
            {
                "idx": index,
                "uid": entry.uid,
                "time_ms": entry.time_ms,
                "phase": entry.phase,
                "tenant": entry.tenant,
                "request_id": entry.request_id,
                "operation": entry.operation,
                "leaf_hash": hashed,
                "body": entry.body,
            }
        )
        marks.extend(_mark_rows(entry, index))
        if entry.pseudonym is not None:
            subjects.append({"pseudonym": entry.pseudonym, "leaf_idx": index})
    log.insert(store.leaf, leaves)
    log.insert(store.mark, marks)
    log.insert(store.subject, subjects)
    log.insert(store.node, [{"level": n, "idx": i, "hash": h} for n, i, h in nodes])


def _mark_rows(entry: Entry, index: int) -> list[dict[str, object]]:
    if entry.mark is None:
        return []
    return [
        {
            "leaf_idx": index,
            "trace_id": trace_id,
            "tenant": entry.tenant,
            "epoch": entry.mark.epoch,
            "request_id": entry.request_id,
        }
        for trace_id in entry.mark.trace_ids
    ]


def _result(entry: Entry, place: tuple[int, bytes], size: int) -> Recorded | EventConflict:
    index, body = place
    if body != entry.body:
        return EventConflict(f"Entry {index} has the uid {entry.uid} and is another event.")
    return Recorded(index, size, entry.uid)
