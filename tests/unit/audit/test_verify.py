"""Every way to change the log that a holder of the file has, and what verification says of it."""

import random
import shutil
import sqlite3

import pytest

from audit.checkpoint import Checkpoint, sign
from audit.errors import AuditError, CheckpointInvalid, LogTampered
from audit.events import decode, encode
from audit.merkle import Frontier, leaf_hash
from audit.regrowth import AHEAD
from audit.store import open_log
from audit.verify import consistency, verify_consistency, verify_log

REQUESTS = 10
SIZE = 2 * REQUESTS
# The request of entry 7 is req_3; its intent, entry 6, was issued the trace id 103.
CHANGED = 7


def fill(log, make, start=0, end=REQUESTS, **changes):
    for number in range(start, end):
        trace_ids = (100 + number,)
        log.record(make.intent(f"req_{number}", trace_ids=trace_ids, **changes))
        log.record(make.outcome(f"req_{number}", trace_ids=trace_ids, **changes))
    return log


@pytest.fixture
def closed(log, make):
    """A log of SIZE entries, one checkpoint each, that nobody writes any more."""
    fill(log, make)
    assert log.verify().size == SIZE
    log.sequencer.close()
    return log


def body(log, index):
    connection = sqlite3.connect(log.path)
    try:
        query = "SELECT body FROM leaf WHERE idx = ?"
        return connection.execute(query, [index]).fetchone()[0]
    finally:
        connection.close()


def rewrite(log, bodies):
    """Put other entries in place, with every hash, the head and its frontier to match."""
    frontier = Frontier()
    statements = [["DELETE FROM leaf"]]
    for index, each in enumerate(bodies):
        entry = decode(each)
        frontier.append(leaf_hash(each))
        statements.append(
            [
                "INSERT INTO leaf VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(index, entry.uid, entry.time_ms, entry.phase, entry.tenant),
                *(entry.request_id, entry.operation, leaf_hash(each), each),
            ]
        )
    statements.append(
        [
            "UPDATE head SET size = ?, root = ?, frontier = ?",
            *(frontier.size, frontier.root(), frontier.encode()),
        ]
    )
    log.sql(*statements)
    return frontier


def assert_found(log, index):
    with pytest.raises(LogTampered) as found:
        log.verify()
    assert found.value.index == index


def test_untouched_log_tells_what_it_holds(closed):
    report = closed.verify()
    assert report.size == report.events == report.checkpoints == SIZE
    assert report.phases == {"intent": REQUESTS, "outcome": REQUESTS}
    assert report.dangling == ()
    assert report.note.split("\n")[1] == str(SIZE)
    assert len(bytes.fromhex(report.root)) == 32


def test_empty_log_verifies_and_says_it_is_empty(log):
    report = log.verify()
    assert (report.size, report.checkpoints, report.note, report.first_ms) == (0, 0, "", None)


def test_open_request_is_named(closed, new_log, make):
    again = new_log(closed.path).start()
    again.record(make.intent("req_open"))
    assert again.verify().dangling == ("req_open",)


def test_log_that_is_being_written_verifies(log, make):
    for number in range(5):
        futures = [log.sequencer.submit(make.system(f"{number}_{each}")) for each in range(300)]
        log.verify()
        for future in futures:
            future.result(60)
    assert log.verify().size == 1500


@pytest.mark.parametrize("place", [0, 100, -2])
def test_changed_byte_of_an_entry_is_found(closed, place):
    changed = bytearray(body(closed, CHANGED))
    changed[place] ^= 1
    closed.sql(["UPDATE leaf SET body = ? WHERE idx = ?", bytes(changed), CHANGED])
    assert_found(closed, CHANGED)


@pytest.mark.parametrize(
    "assignment",
    [
        "uid = 'req_3/other'",
        "time_ms = time_ms + 1",
        "phase = 'system'",
        "tenant = 'ward-b'",
        "request_id = 'req_4'",
        "request_id = NULL",
        "operation = 'nothing'",
        "leaf_hash = zeroblob(32)",
    ],
)
def test_changed_column_is_found_though_the_entry_is_whole(closed, assignment):
    closed.sql([f"UPDATE leaf SET {assignment} WHERE idx = {CHANGED}"])  # noqa: S608 - Ours.
    assert_found(closed, CHANGED)


def test_changed_entry_with_its_hash_is_found(closed):
    changed = body(closed, CHANGED).replace(b'"latency_ms":812', b'"latency_ms":813')
    closed.sql(
        [
            "UPDATE leaf SET body = ?, leaf_hash = ? WHERE idx = ?",
            *(changed, leaf_hash(changed), CHANGED),
        ]
    )
    assert_found(closed, CHANGED)


def test_changed_entry_with_all_hashes_and_the_head_is_found(closed):
    bodies = [body(closed, index) for index in range(SIZE)]
    bodies[CHANGED] = bodies[CHANGED].replace(b'"latency_ms":812', b'"latency_ms":813')
    rewrite(closed, bodies)
    assert_found(closed, CHANGED)


def test_entry_that_is_no_canonical_event_is_found(closed):
    changed = body(closed, CHANGED).replace(b'"activity_id":1', b'"activity_id":1,"activity_id":1')
    closed.sql(
        [
            "UPDATE leaf SET body = ?, leaf_hash = ? WHERE idx = ?",
            *(changed, leaf_hash(changed), CHANGED),
        ]
    )
    with pytest.raises(LogTampered, match="no event") as found:
        closed.verify()
    assert found.value.index == CHANGED


def test_first_of_two_faults_is_named_whichever_step_finds_it(closed):
    # Entry 7 shows in the tree alone, entry 11 by its own bytes, both in what is read at once.
    changed = body(closed, CHANGED).replace(b'"latency_ms":812', b'"latency_ms":813')
    closed.sql(
        [
            "UPDATE leaf SET body = ?, leaf_hash = ? WHERE idx = ?",
            *(changed, leaf_hash(changed), CHANGED),
        ],
        [f"UPDATE leaf SET body = x'00' WHERE idx = {CHANGED + 4}"],  # noqa: S608 - Ours.
    )
    assert_found(closed, CHANGED)


def test_checkpoint_that_does_not_hold_is_found_among_hundreds(log, make):
    for number in range(2 * AHEAD + 40):
        log.record(make.system(f"sys_{number}"))
    log.sequencer.close()
    assert log.verify().checkpoints == 2 * AHEAD + 40
    size = AHEAD + 33
    forged = sign(
        Checkpoint(log.origin, size, bytes(32)), public_key=log.public_key, signer=log.key.sign
    ).replace("AAAA", "AAAB", 1)
    log.sql(["UPDATE checkpoint SET note = ? WHERE size = ?", forged, size])
    with pytest.raises(LogTampered, match=f"checkpoint of {size} entries does not hold") as found:
        log.verify()
    assert found.value.index == size - 1


def test_deleted_entry_is_found(closed):
    closed.sql([f"DELETE FROM leaf WHERE idx = {CHANGED}"])  # noqa: S608 - Ours.
    assert_found(closed, CHANGED)


def test_deleted_entry_is_found_though_the_rest_moved_up(closed):
    bodies = [body(closed, index) for index in range(SIZE) if index != CHANGED]
    rewrite(closed, bodies)
    with pytest.raises(LogTampered):
        closed.verify()


@pytest.mark.parametrize("also", [[], ["DELETE FROM checkpoint WHERE size > 18"]], ids=str)
def test_deleted_tail_is_found(closed, also):
    closed.sql(["DELETE FROM leaf WHERE idx >= 18"], *([each] for each in also))
    with pytest.raises(LogTampered):
        closed.verify()


def test_deleted_tail_with_head_is_found_by_the_checkpoints_beyond(closed):
    rewrite(closed, [body(closed, index) for index in range(18)])
    assert_found(closed, 18)


def test_inserted_entry_is_found(closed, make):
    bodies = [body(closed, index) for index in range(SIZE)]
    forged = encode(make.outcome("req_forged")).body
    rewrite(closed, [*bodies[:CHANGED], forged, *bodies[CHANGED:]])
    assert_found(closed, CHANGED)


def test_appended_entry_without_a_checkpoint_is_found(closed, make):
    bodies = [body(closed, index) for index in range(SIZE)]
    rewrite(closed, [*bodies, encode(make.system("sys_forged")).body])
    assert_found(closed, SIZE)


def test_swapped_entries_are_found(closed):
    bodies = [body(closed, index) for index in range(SIZE)]
    bodies[CHANGED], bodies[CHANGED + 2] = bodies[CHANGED + 2], bodies[CHANGED]
    rewrite(closed, bodies)
    assert_found(closed, CHANGED)


def test_entry_of_another_tenant_replayed_is_found(closed, make):
    bodies = [body(closed, index) for index in range(SIZE)]
    bodies[CHANGED] = encode(make.outcome("req_3", trace_ids=(103,), tenant="ward-b")).body
    rewrite(closed, bodies)
    assert_found(closed, CHANGED)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("DELETE FROM mark WHERE leaf_idx = 6", 6),
        ("UPDATE mark SET trace_id = 999 WHERE leaf_idx = 6", 6),
        ("UPDATE mark SET tenant = 'ward-b' WHERE leaf_idx = 6", 6),
        ("UPDATE mark SET epoch = 2 WHERE leaf_idx = 6", 6),
        ("UPDATE mark SET request_id = 'req_9' WHERE leaf_idx = 6", 6),
        ("INSERT INTO mark VALUES (6, 999, 'ward-a', 1, 'req_3')", 6),
        ("INSERT INTO mark VALUES (7, 999, 'ward-a', 1, 'req_3')", 7),
        ("INSERT INTO mark VALUES (20, 999, 'ward-a', 1, 'req_3')", 20),
        ("INSERT INTO mark VALUES (-1, 999, 'ward-a', 1, 'req_3')", -1),
    ],
)
def test_mark_that_would_blame_another_request_is_found(closed, statement, index):
    closed.sql([statement])
    assert_found(closed, index)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM head",
        "UPDATE head SET size = 19",
        "UPDATE head SET size = 21",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET frontier = zeroblob(64)",
        "DELETE FROM checkpoint",
        "DELETE FROM checkpoint WHERE size = 20",
        "UPDATE checkpoint SET size = 21 WHERE size = 20",
        "INSERT INTO checkpoint SELECT 0, note FROM checkpoint WHERE size = 20",
        "INSERT INTO checkpoint SELECT -1, note FROM checkpoint WHERE size = 20",
        "UPDATE checkpoint SET note = replace(note, '20', '21') WHERE size = 20",
        "UPDATE checkpoint SET note = replace(note, 'sealgate.test', 'elsewhere.test')",
        "UPDATE checkpoint SET note = substr(note, 1, instr(note, '—') - 1) WHERE size = 8",
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 7) WHERE size = 8",
    ],
)
def test_changed_head_or_checkpoint_is_found(closed, statement):
    closed.sql([statement])
    with pytest.raises(LogTampered):
        closed.verify()


def test_missing_checkpoint_in_the_middle_changes_nothing_that_is_claimed(closed):
    closed.sql(["DELETE FROM checkpoint WHERE size = 8"])
    assert closed.verify().checkpoints == SIZE - 1


def test_other_key_or_origin_does_not_verify(closed):
    with pytest.raises(LogTampered, match="does not hold"):
        verify_log(closed.engine, origin=closed.origin, public_key=bytes(32))
    with pytest.raises(LogTampered, match="of the log"):
        verify_log(closed.engine, origin="other.test/log", public_key=closed.public_key)


def test_flipped_bit_anywhere_in_the_file_is_found_or_without_effect(closed, tmp_path):
    # 150 flips: entries, indexes, free space, the schema; a crash would be neither.
    expected = closed.verify()
    closed.close()
    data = closed.path.read_bytes()
    chance = random.Random(20260117)  # noqa: S311 - Picks bits to flip.
    found = 0
    for number in range(150):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"flipped{number}.db"
        path.write_bytes(changed)
        try:
            assert report_of(path, closed) == expected
        except AuditError:
            found += 1
    assert found > 30


def report_of(path, log):
    engine = open_log(path)
    try:
        return verify_log(engine, **log.trust)
    finally:
        engine.dispose()


class Witness:
    """Somebody elsewhere who kept a checkpoint."""

    def __init__(self, log):
        self.note = log.verify().note
        self.log = log

    def check(self, log=None):
        log = log or self.log
        return consistency(log.engine, self.note, **log.trust)


def copy_of(log, path):
    log.close()
    shutil.copy(log.path, path)
    return path


def test_log_that_only_grew_is_consistent_with_what_was_kept(log, make):
    fill(log, make, 0, 3)
    witness = Witness(log)
    fill(log, make, 3, 8)
    proved = verify_consistency(witness.check(), **log.trust)
    assert (proved.old.size, proved.new.size) == (6, 16)
    assert verify_consistency(Witness(log).check(), **log.trust).old.size == 16


def test_log_restored_from_an_older_copy_contradicts_what_was_kept(log, make, new_log, tmp_path):
    fill(log, make, 0, 3)
    with sqlite3.connect(log.path) as source, sqlite3.connect(tmp_path / "old.db") as copy:
        source.backup(copy)
    source.close()
    copy.close()
    fill(log, make, 3, 5)
    witness = Witness(log)
    restored = new_log(tmp_path / "old.db").start()
    restored.verify()
    with pytest.raises(LogTampered, match="6 entries; 10 were signed"):
        witness.check(restored)


def test_fork_of_the_same_size_contradicts_what_was_kept(log, make, new_log, tmp_path):
    fill(log, make, 0, 3)
    log.close()
    twins = [new_log(copy_of(log, tmp_path / f"{name}.db")).start() for name in ("one", "two")]
    fill(twins[0], make, 3, 5)
    fill(twins[1], make, 3, 5, tenant="ward-b")
    for twin in twins:
        assert twin.verify().size == 10
    with pytest.raises(LogTampered, match="not those that were signed"):
        Witness(twins[0]).check(twins[1])


def test_rewrite_that_was_signed_again_contradicts_what_was_kept(log, make, new_log, tmp_path):
    # The operator's own attack: the key is at hand, so the log verifies by itself.
    fill(log, make, 0, 4)
    witness = Witness(log)
    rewritten = new_log(tmp_path / "rewritten.db").start()
    fill(rewritten, make, 0, 3)
    fill(rewritten, make, 3, 9, tenant="ward-b")
    rewritten.verify()
    with pytest.raises(LogTampered, match="not those that were signed"):
        witness.check(rewritten)


def test_kept_checkpoint_of_another_log_or_key_is_no_witness(log, make, new_log, tmp_path):
    fill(log, make, 0, 1)
    other = new_log(tmp_path / "other.db", seed=bytes(32)).start()
    fill(other, make, 0, 1)
    with pytest.raises(CheckpointInvalid):
        consistency(log.engine, other.verify().note, **log.trust)


def test_kept_checkpoint_of_an_empty_log_fits_any(log, make):
    frontier = Frontier()
    head = Checkpoint(log.origin, 0, frontier.root())
    empty = sign(head, public_key=log.public_key, signer=log.key.sign)
    fill(log, make, 0, 1)
    document = consistency(log.engine, empty, **log.trust)
    assert verify_consistency(document, **log.trust).old.size == 0
