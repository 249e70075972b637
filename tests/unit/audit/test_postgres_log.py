"""The log on a real PostgreSQL: several writers, killed writers, a lost server, a hostile owner."""

import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit import events, exchange, pipelined
from audit import sequencer as sequencing
from audit.errors import EventConflict, LogTampered, LogUnavailable
from audit.merkle import leaf_hash
from audit.postgres import DRIVER
from audit.store import existing_log, open_log
from audit.verify import consistency, verify_consistency
from tests.postgres_server import serving
from tests.waiting import until

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")


@pytest.fixture
def log(new_log, database):
    return new_log(database, busy_limit_s=60).start()


def test_entries_are_in_the_log_and_prove_themselves(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(600)))
    log.record(make.intent("req_1", trace_ids=(7, 2**32 - 1)), make.outcome("req_1"))
    report = log.verify()
    assert (report.size, report.phases["intent"]) == (602, 1)
    assert len(log.verify_proof(log.prove("req_1")).entries) == 2


def test_file_and_database_make_the_same_tree(log, make, new_log, tmp_path):
    file = new_log(tmp_path / "log.db").start()
    events = [make.intent(f"req_{number}") for number in range(300)]
    for each in (log, file):
        each.record(*events)
    assert log.verify().root == file.verify().root


def test_retry_keeps_its_place_and_a_rival_is_refused(log, make):
    first = log.record(make.intent("req_1"))
    assert log.record(make.intent("req_1")) == first
    with pytest.raises(EventConflict):
        log.record(make.intent("req_1", trace_ids=(8,)))
    assert log.record(make.system("sys_1"))[0].index == 1


def test_restart_goes_on_and_closes_what_was_open(log, make, new_log):
    log.record(make.intent("req_1"), *(make.system(f"sys_{number}") for number in range(1500)))
    log.close()
    again = new_log(log.path).start()
    assert again.sequencer.recover() == 1
    assert again.verify().phases == {"intent": 1, "system": 1500, "recovered": 1}


def test_several_processes_and_threads_share_a_log(log, make, append):
    others = [append(log.path, name, count=150) for name in ("one", "two")]
    ours, number = [], 0
    while any(other.poll() is None for other in others):
        ours += log.record(make.system(f"ours_{number}"))
        number += 1
    places = {done.uid: done.index for done in ours}
    for other in others:
        assert other.wait(60) == 0
        places |= {
            uid: int(index) for uid, index in map(str.split, other.stdout.read().splitlines())
        }
    assert sorted(places.values()) == list(range(300 + number))
    assert log.verify().size == 300 + number


def test_verification_beside_writers_sees_one_moment(log, make):
    for number in range(4):
        futures = [log.sequencer.submit(make.system(f"{number}_{each}")) for each in range(300)]
        log.verify()
        for future in futures:
            future.result(60)
    assert log.verify().size == 1200


def test_nothing_acknowledged_is_lost_when_writers_are_killed(log, append, make):
    acknowledged = {}
    for run in range(3):
        process = append(log.path, f"run{run}", threads=8)
        first = process.stdout.readline()
        time.sleep(0.03 * run)
        process.kill()
        lines = [first, *process.stdout.read().splitlines(keepends=True)]
        told = [line.split() for line in lines if line.endswith("\n")]
        acknowledged |= {uid: int(index) for uid, index in told}
    # The server may still be busy with what a dead writer had sent.
    log.record(make.system("after"))
    log.verify()
    with log.engine.connect() as connection:
        places = dict(connection.exec_driver_sql("SELECT uid, idx FROM leaf").all())
    # Each was killed after it had told of one entry at least.
    assert len(acknowledged) >= 3
    assert {uid: places.get(uid) for uid in acknowledged} == acknowledged


def test_lock_that_is_not_released_refuses_entries(new_log, database, make):
    log = new_log(database, busy_limit_s=0.2).start()
    other = open_log(database)
    with other.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_lock(1587636862)")
        with pytest.raises(LogUnavailable, match="lock timeout"):
            log.record(make.system("sys_1"))
        assert not log.sequencer.writable
    other.dispose()
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_1"))[0].index == 0


def test_connection_that_the_server_cuts_refuses_one_batch(log, make):
    log.record(make.system("sys_0"))
    with log.engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(LogUnavailable):
        log.record(make.system("sys_1"))
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_1"))[0].index == 1
    log.verify()


def recorded_until_refused(log, make, name):
    """Record until the server's end shows, a moment after its cause; return how many were."""
    return next(n for n in itertools.count() if not _writes(log, make, f"{name}_{n}"))


def test_server_that_crashes_loses_nothing_acknowledged(new_log, make, tmp_path):
    with serving() as url:
        log = new_log(url).start()
        log.record(*(make.system(f"sys_{number}") for number in range(50)))
        directory = Path(sa.make_url(url).query["host"])
        postmaster = int((directory / "data" / "postmaster.pid").read_text().split("\n")[0])
        with log.engine.connect() as connection:
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            # The server takes the death of one of its processes as a crash and recovers from WAL.
            os.kill(backend, signal.SIGKILL)
            connection.invalidate()
        kept = 51 + recorded_until_refused(log, make, "during")
        until(lambda: log.sequencer.writable)
        log.record(make.system("after"))
        # What was refused may have come in all the same, and nothing else.
        assert kept <= log.verify().size <= kept + 1
        os.kill(postmaster, signal.SIGQUIT)
        recorded_until_refused(log, make, "gone")
        assert not log.sequencer.writable
        with pytest.raises(LogUnavailable):
            log.verify()
        log.close()


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync", "full_page_writes"])
def test_server_that_may_lose_what_it_acknowledged_is_refused(setting):
    with (
        serving(f"{setting}=off") as url,
        pytest.raises(LogUnavailable, match=f"{setting}=off"),
    ):
        open_log(url)


def test_role_that_turned_durability_off_is_refused(database, new_log):
    new_log(database)
    server = sa.create_engine(sa.make_url(database).set(drivername=DRIVER))
    name = sa.make_url(database).database
    with server.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    server.dispose()
    with pytest.raises(LogUnavailable, match="synchronous_commit=off"):
        open_log(database)


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://sealgate@/nothing?host=/nowhere"])
def test_database_that_is_not_there_is_refused(url):
    with pytest.raises(LogUnavailable):
        open_log(url)


def test_existing_log_is_never_made(database, new_log, make):
    with pytest.raises(LogTampered, match="holds no log"):
        existing_log(database)
    new_log(database).start().record(make.system("sys_0"))
    existing_log(database).dispose()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("UPDATE leaf SET body = overlay(body placing 'x' from 9) WHERE idx = 7", 7),
        ("UPDATE leaf SET tenant = 'ward-b' WHERE idx = 7", 7),
        ("DELETE FROM leaf WHERE idx = 7", 7),
        ("DELETE FROM mark WHERE leaf_idx = 6", 6),
        ("UPDATE node SET hash = leaf_hash FROM leaf WHERE leaf.idx = 7", None),
        ("DELETE FROM node", None),
        ("INSERT INTO node SELECT 2, 0, leaf_hash FROM leaf WHERE idx = 7", None),
        ("UPDATE head SET size = size - 1", None),
        ("DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)", None),
    ],
)
def test_change_by_the_databases_owner_is_found(log, make, statement, index):
    log.record(
        *(
            event
            for number in range(130)
            for event in (make.intent(f"req_{number}"), make.outcome(f"req_{number}"))
        )
    )
    log.verify()
    log.sql([statement])
    with pytest.raises(LogTampered) as found:
        log.verify()
    if index is not None:
        assert found.value.index == index


FORGE = """
    INSERT INTO leaf
    SELECT 1, 'forged', time_ms, phase, tenant, request_id, operation, %s, %s FROM leaf
"""


def test_rows_slipped_in_beside_a_running_log_never_get_signed(log, make):
    log.record(make.system("sys_0"))
    log.sql(
        [
            FORGE,
            leaf_hash(b"forged"),
            b"forged",
        ]
    )
    with pytest.raises(LogUnavailable, match="head"):
        log.record(make.system("sys_1"))
    assert not log.sequencer.writable


def test_database_restored_from_an_older_copy_is_refused_by_who_remembers(log, make):
    log.record(make.system("sys_0"))
    old = log.verify().note
    log.sql(["CREATE TABLE kept AS SELECT * FROM head"])
    log.record(make.system("sys_1"))
    document = consistency(log.engine, old, **log.trust)
    assert verify_consistency(document, **log.trust).new.size == 2
    log.sql(
        ["DELETE FROM leaf WHERE idx = 1"],
        ["DELETE FROM checkpoint WHERE size = 2"],
        ["UPDATE head SET size = k.size, root = k.root, frontier = k.frontier FROM kept k"],
    )
    log.verify()
    with pytest.raises(LogUnavailable, match="had 2"):
        log.record(make.system("sys_2"))


def test_crowd_of_callers_meets_full_batches_and_a_bounded_queue(new_log, database, make):
    log = new_log(database, queue_limit=sequencing.BATCH_LIMIT).start()
    refused, done = [], []

    def submit(name):
        for number in range(200):
            try:
                done.append(log.sequencer.submit(make.system(f"{name}_{number}")))
            except LogUnavailable as error:
                refused.append(error)

    crowd = [threading.Thread(target=submit, args=(name,)) for name in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    places = sorted(future.result(60).index for future in done)
    assert places == list(range(1600 - len(refused)))
    assert log.verify().size == len(done)


def test_many_entries_of_another_writer_are_taken_in(log, make, new_log, database, monkeypatch):
    monkeypatch.setattr(pipelined, "AT_ONCE", 4)
    other = new_log(database, busy_limit_s=60).start()
    log.record(make.system("first"))
    other.record(*(make.system(f"other_{number}") for number in range(20)))
    log.record(make.system("last"))
    assert log.verify().size == 22


def test_rows_go_in_by_the_driver_and_come_back_the_same(log, make):
    event = make.intent("req_1", trace_ids=(0, 2**32 - 1), pseudonym="ps_1")
    log.record(event, make.system("sys_1", detail={"text": '\u00e9\U0001f600 \\ " {} ,'}))
    with log.engine.connect() as connection:
        query = "SELECT request_id, tenant, body FROM leaf ORDER BY idx"
        stored = connection.exec_driver_sql(query).all()
    assert [bytes(row.body) for row in stored] == [
        events.encode(each).body
        for each in (event, make.system("sys_1", detail={"text": '\u00e9\U0001f600 \\ " {} ,'}))
    ]
    assert log.verify().size == 2


def test_batch_takes_two_exchanges_with_the_server(log, make, monkeypatch):
    taken = []
    answers = exchange.Exchange.answers
    monkeypatch.setattr(
        exchange.Exchange, "answers", lambda each: taken.append(each) or answers(each)
    )
    log.record(make.system("sys_1"))
    assert len(taken) == 2


def test_signature_that_fails_leaves_nothing_of_its_batch(new_log, database, make):
    failing = []

    def sign(data):
        if failing:
            raise failing.pop()
        return log.key.sign(data)

    log = new_log(database, busy_limit_s=60, sign=sign).start()
    log.record(make.system("sys_1"))
    failing.append(OSError("the key broker is gone"))
    with pytest.raises(LogUnavailable, match="cannot be signed"):
        log.record(make.system("sys_2"))
    assert log.verify().size == 1
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_2"))[0].index == 1


def test_failed_batch_leaves_nothing_and_the_next_goes_in(log, make):
    log.record(make.system("sys_1"))
    log.sql(["ALTER TABLE checkpoint ADD CONSTRAINT no_third CHECK (size < 2)"])
    with pytest.raises(LogUnavailable):
        log.record(make.system("sys_2"))
    assert log.verify().size == 1
    log.sql(["ALTER TABLE checkpoint DROP CONSTRAINT no_third"])
    until(lambda: log.sequencer.writable or _writes(log, make, "sys_2"))
    log.record(make.system("sys_3"))
    assert log.verify().size >= 2


def _writes(log, make, uid):
    try:
        log.record(make.system(uid))
    except LogUnavailable:
        return False
    return True
