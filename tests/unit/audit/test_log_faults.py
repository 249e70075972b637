"""Faults that no other test of the log has: torn files, clocks, duplicates, nodes."""

import random
import shutil
import sqlite3

import pytest

from audit import anchoring, exports
from audit.anchors.file import FileAnchor
from audit.errors import AuditError, LogTampered
from audit.evidence import events
from audit.merkle import TILE_WIDTH
from audit.writer import TAIL

HOUR_MS = 3_600_000


@pytest.fixture
def large(log, make):
    """A log longer than what a start reads."""
    for start in range(0, TAIL + 3 * TILE_WIDTH, 250):
        log.record(*(make.system(f"sys_{start + number}") for number in range(250)))
    return log


def test_torn_write_ahead_log_gives_a_shorter_log_that_an_anchor_contradicts(
    log, make, new_log, tmp_path
):
    for number in range(40):
        log.record(make.system(f"sys_{number}"))
    file = FileAnchor(tmp_path / "anchors.jsonl")
    anchoring.anchor(log.engine, [file], now_ms=1)
    whole = log.path.with_name("log.db-wal").read_bytes()
    chance = random.Random(36)  # noqa: S311 - Picks places to tear at.
    shorter = 0
    for number, length in enumerate([0, *(chance.randrange(len(whole)) for _ in range(12))]):
        path = tmp_path / f"torn{number}.db"
        shutil.copy(log.path, path)
        path.with_name(f"{path.name}-wal").write_bytes(whole[:length])
        torn = new_log(path)
        size = torn.verify().size
        if size < 40:
            shorter += 1
            with pytest.raises(LogTampered, match="does not extend"):
                anchoring.check_newest(torn.engine, [file], **log.trust)
    assert shorter > 5


def test_damaged_write_ahead_log_is_never_believed(log, make, new_log, tmp_path):
    for number in range(40):
        log.record(make.system(f"sys_{number}"))
    whole = bytearray(log.path.with_name("log.db-wal").read_bytes())
    chance = random.Random(37)  # noqa: S311 - Picks bits to flip.
    for number in range(12):
        path = tmp_path / f"damaged{number}.db"
        shutil.copy(log.path, path)
        changed = bytearray(whole)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        path.with_name(f"{path.name}-wal").write_bytes(changed)
        try:
            report = new_log(path).verify()
        except AuditError:
            continue
        # SQLite drops the transaction whose checksum is wrong, and those after it.
        assert report.size <= 40


def test_clock_that_jumps_changes_no_order_and_breaks_nothing(log, make):
    times = [5 * HOUR_MS, 9 * HOUR_MS, 0, 253_402_300_799_999, 5 * HOUR_MS]
    log.record(*(make.system(f"sys_{number}", time_ms=time) for number, time in enumerate(times)))
    report = log.verify()
    assert (report.first_ms, report.last_ms) == (0, max(times))
    assert [event["time"] for _, event in events(log.engine)] == times
    for form in (exports.ocsf, exports.table, exports.fhir):
        assert "".join(form(events(log.engine)))
    within = events(log.engine, start_ms=5 * HOUR_MS, end_ms=9 * HOUR_MS)
    assert [index for index, _ in within] == [0, 4]


def test_moment_that_no_calendar_names_is_refused(log, make):
    with pytest.raises(AuditError, match="time"):
        log.sequencer.submit(make.system("sys_1", time_ms=253_402_300_800_000))


DUPLICATE = """
    INSERT INTO leaf
    SELECT 5, {uid}, time_ms, phase, tenant, request_id, operation, leaf_hash, body
    FROM leaf WHERE idx = 3
"""


def test_duplicate_of_an_entry_is_found(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(5)))
    with pytest.raises(sqlite3.IntegrityError):
        log.sql([DUPLICATE.format(uid="uid")])
    log.sql([DUPLICATE.format(uid="'again'")])
    with pytest.raises(LogTampered) as found:
        log.verify()
    assert found.value.index == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND idx = 0",
        "UPDATE node SET hash = (SELECT hash FROM node WHERE idx = 1) WHERE idx = 2",
        "DELETE FROM node WHERE level = 1 AND idx = 2",
        "INSERT INTO node VALUES (1, 99, zeroblob(32))",
        "INSERT INTO node VALUES (2, 0, zeroblob(32))",
        "INSERT INTO node VALUES (-1, 0, zeroblob(32))",
        "INSERT INTO node VALUES (0, 0, zeroblob(32))",
        "INSERT INTO node SELECT 0, idx, leaf_hash FROM leaf WHERE idx = 0",
        "INSERT INTO node SELECT 0, idx, leaf_hash FROM leaf WHERE idx = 5",
    ],
)
def test_changed_node_of_the_tree_is_found(large, statement):
    large.sql([statement])
    with pytest.raises(LogTampered):
        large.verify()


def test_proof_over_a_changed_node_is_no_proof(large):
    large.sql(["UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND idx = 2"])
    with pytest.raises(AuditError):
        large.verify_proof(large.prove("sys_1"))


@pytest.mark.parametrize("newest", [0, TAIL - 1])
def test_start_finds_a_change_among_the_newest_entries(large, new_log, newest):
    size = large.verify().size
    large.close()
    large.sql([f"UPDATE leaf SET body = CAST(body || ' ' AS BLOB) WHERE idx = {size - 1 - newest}"])  # noqa: S608 - Ours.
    with pytest.raises(LogTampered):
        new_log(large.path).start()


def test_start_finds_a_node_that_was_changed_below_its_tail(large, new_log):
    large.close()
    large.sql(["UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND idx = 0"])
    with pytest.raises(LogTampered):
        new_log(large.path).start()


def test_start_beside_lost_nodes_makes_them_again(large, new_log, make):
    root = large.verify().root
    large.close()
    large.sql(["DELETE FROM node"])
    again = new_log(large.path).start()
    assert again.verify().root == root
    again.record(make.system("next"))
    again.verify()


def test_nul_in_what_is_indexed_is_refused_and_in_the_rest_taken(log, make):
    with pytest.raises(AuditError, match="NUL"):
        log.sequencer.submit(make.system("sys_\x00"))
    log.record(make.system("sys_1", detail={"text": "a\x00b"}))
    log.verify()
