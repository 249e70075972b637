"""Batches, retries, restarts, and several writers of one log."""

import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import sequencer as sequencing
from audit.errors import EventConflict, EventInvalid, LogTampered, LogUnavailable
from audit.events import encode
from audit.merkle import Frontier, leaf_hash
from audit.sequencer import Recorded

# The head of an empty tree, over a log that is not empty.
EMPTIED = (
    "UPDATE head SET size = 0, frontier = x'', "
    "root = x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'"
)


class Gate:
    """A signer that waits until it may sign."""

    def __init__(self, sign):
        self.sign = sign
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, message):
        self.reached.release()
        assert self.open.wait(60)
        return self.sign(message)


@pytest.fixture
def gated(new_log):
    """A log whose batches stand still before their commit, once `gate.open` is cleared."""

    def build(**options):
        log = new_log(**options)
        gate = Gate(log.key.sign)
        log.sign = gate
        log.sequencer = log.fresh_sequencer()
        log.start()
        return log, gate

    return build


def test_entry_is_on_disk_and_signed_when_its_future_resolves(log, make):
    recorded = log.record(make.intent("req_1"))
    assert recorded == [Recorded(index=0, size=1, uid="req_1/intent")]
    # Another connection sees it, without the sequencer's help.
    report = log.verify()
    assert (report.size, report.checkpoints, report.dangling) == (1, 1, ("req_1",))


def test_future_waits_for_the_commit(gated, make):
    log, gate = gated()
    future = log.sequencer.submit(make.system("sys_1"))
    assert gate.reached.acquire(timeout=60)
    assert not future.done()
    assert log.verify().size == 0
    gate.open.set()
    assert future.result(60).index == 0
    assert log.verify().size == 1


def test_what_arrives_during_a_commit_shares_the_next(gated, make):
    log, gate = gated()
    first = log.sequencer.submit(make.system("sys_first"))
    assert gate.reached.acquire(timeout=60)
    crowd = [log.sequencer.submit(make.system(f"sys_{number}")) for number in range(300)]
    gate.open.set()
    assert first.result(60).size == 1
    assert {future.result(60).size for future in crowd} == {
        1 + sequencing.BATCH_LIMIT,
        301,
    }
    assert [future.result().index for future in crowd] == list(range(1, 301))
    assert log.verify().checkpoints == 3


def test_full_queue_refuses_and_forgets_nothing(gated, make):
    log, gate = gated(queue_limit=2)
    futures = [log.sequencer.submit(make.system("sys_0"))]
    assert gate.reached.acquire(timeout=60)
    futures += [log.sequencer.submit(make.system(f"sys_{number}")) for number in (1, 2)]
    with pytest.raises(LogUnavailable, match="wait"):
        log.sequencer.submit(make.system("sys_3"))
    gate.open.set()
    assert [future.result(60).index for future in futures] == [0, 1, 2]
    assert log.record(make.system("sys_3"))[0].index == 3


def test_retry_of_a_recorded_event_keeps_its_place(log, make):
    (first,) = log.record(make.intent("req_1"))
    log.record(make.system("sys_1"))
    (again,) = log.record(make.intent("req_1"))
    assert (again.index, again.uid) == (first.index, first.uid)
    assert log.verify().size == 2


def test_same_event_twice_in_one_batch_is_one_entry(gated, make):
    log, gate = gated()
    log.sequencer.submit(make.system("sys_0"))
    assert gate.reached.acquire(timeout=60)
    twins = [log.sequencer.submit(make.intent("req_1")) for _ in range(2)]
    rival = log.sequencer.submit(make.intent("req_1", trace_ids=(99,)))
    gate.open.set()
    assert [future.result(60).index for future in twins] == [1, 1]
    with pytest.raises(EventConflict):
        rival.result(60)
    assert log.verify().size == 2


def test_another_event_of_the_same_uid_is_refused_alone(log, make):
    log.record(make.intent("req_1"))
    rival = log.sequencer.submit(make.intent("req_1", trace_ids=(8,)))
    good = log.sequencer.submit(make.intent("req_2"))
    with pytest.raises(EventConflict, match="req_1/intent"):
        rival.result(60)
    assert good.result(60).index == 1
    assert log.sequencer.writable


def test_malformed_event_is_refused_at_once(log, make):
    with pytest.raises(EventInvalid):
        log.sequencer.submit({**make.system("sys_1"), "time": 1.5})
    assert log.verify().size == 0


def test_future_cannot_be_cancelled(gated, make):
    log, gate = gated()
    future = log.sequencer.submit(make.system("sys_1"))
    assert not future.cancel()
    gate.open.set()
    assert future.result(60).index == 0


def test_submitting_outside_its_life_is_refused(new_log, make):
    log = new_log()
    assert not log.sequencer.writable
    with pytest.raises(LogUnavailable):
        log.sequencer.submit(make.system("sys_1"))
    log.start()
    assert log.sequencer.writable
    log.sequencer.close()
    log.sequencer.close()
    assert not log.sequencer.writable
    with pytest.raises(LogUnavailable):
        log.sequencer.submit(make.system("sys_1"))


def test_close_writes_what_waits(gated, make):
    log, gate = gated()
    futures = [log.sequencer.submit(make.system(f"sys_{number}")) for number in range(5)]
    closing = threading.Thread(target=log.sequencer.close)
    closing.start()
    gate.open.set()
    closing.join(60)
    assert [future.result(0).index for future in futures] == list(range(5))


def test_signer_that_fails_leaves_nothing_and_recovers(new_log, make):
    log = new_log()
    broken = threading.Event()

    def sign(message):
        if broken.is_set():
            raise BrokenPipeError("the broker is gone")
        return log.key.sign(message)

    log.sign = sign
    log.sequencer = log.fresh_sequencer()
    log.start()
    log.record(make.system("sys_0"))
    broken.set()
    with pytest.raises(LogUnavailable, match="the broker is gone"):
        log.record(make.system("sys_1"))
    assert not log.sequencer.writable
    assert log.verify().size == 1
    broken.clear()
    assert log.record(make.system("sys_1"))[0].index == 1
    assert log.sequencer.writable
    log.verify()


def test_signer_with_another_key_is_not_believed(new_log, make):
    log = new_log()
    log.sign = Ed25519PrivateKey.generate().sign
    log.sequencer = log.fresh_sequencer()
    log.start()
    with pytest.raises(LogUnavailable, match="cannot be signed"):
        log.record(make.system("sys_1"))
    assert log.verify().size == 0


def test_recovery_closes_each_open_intent_once(new_log, make):
    log = new_log().start()
    log.record(make.intent("req_1"), make.intent("req_2"), make.outcome("req_1"))
    log.close()
    again = new_log(log.path).start()
    assert again.sequencer.recover() == 1
    assert again.sequencer.recover() == 0
    report = again.verify()
    assert report.dangling == ()
    assert report.phases == {"intent": 2, "outcome": 1, "recovered": 1}
    # A late outcome contradicts what the log says already.
    with pytest.raises(EventConflict):
        again.record(make.outcome("req_2"))


def test_recovery_of_more_than_a_batch(new_log, make):
    log = new_log(queue_limit=sequencing.BATCH_LIMIT).start()
    count = sequencing.BATCH_LIMIT + 10
    for number in range(count):
        log.record(make.intent(f"req_{number}"))
    assert log.sequencer.recover() == count
    assert log.verify().dangling == ()


def test_restart_goes_on_where_the_log_ended(new_log, make):
    log = new_log().start()
    log.record(*(make.system(f"sys_{number}") for number in range(21)))
    root = log.verify().root
    log.close()
    again = new_log(log.path).start()
    assert again.verify().root == root
    assert again.record(make.system("sys_next"))[0].index == 21
    again.verify()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leaf SET leaf_hash = zeroblob(32) WHERE idx = 3",
        "UPDATE leaf SET body = CAST(replace(CAST(body AS TEXT), 'Ward', 'Nobo') AS BLOB)",
        "DELETE FROM leaf WHERE idx = 3",
        "DELETE FROM leaf WHERE idx = 9",
        "DELETE FROM checkpoint",
        "DELETE FROM checkpoint WHERE size = 10",
        "DELETE FROM head",
        EMPTIED,
        "DELETE FROM leaf",
        "UPDATE leaf SET idx = idx - 1",
        "UPDATE head SET size = 9",
        "UPDATE head SET size = 11",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET frontier = zeroblob(64)",
        "UPDATE checkpoint SET note = replace(note, '10', '11')",
        "UPDATE checkpoint SET note = replace(note, 'sealgate.test', 'elsewhere.test')",
    ],
)
def test_start_refuses_a_log_that_was_touched(new_log, make, statement):
    log = new_log().start()
    for number in range(10):
        log.record(make.system(f"sys_{number}"))
    log.close()
    log.sql([statement])
    again = new_log(log.path)
    with pytest.raises(LogTampered):
        again.start()
    with pytest.raises(LogUnavailable):
        again.sequencer.submit(make.system("sys_next"))


def test_start_refuses_another_key_or_origin(new_log, make):
    log = new_log().start()
    log.record(make.system("sys_1"))
    log.close()
    with pytest.raises(LogTampered, match="checkpoint"):
        new_log(log.path, seed=bytes(32)).start()
    with pytest.raises(LogTampered, match="of the log"):
        new_log(log.path, origin="other.test/log").start()


FORGE = """
    INSERT INTO leaf
    SELECT 1, 'forged', time_ms, phase, tenant, request_id, operation, ?, ? FROM leaf
"""


def test_rows_slipped_in_beside_a_running_log_never_get_signed(log, make):
    log.record(make.system("sys_0"))
    log.sql([FORGE, leaf_hash(b"forged"), b"forged"])
    with pytest.raises(LogUnavailable, match="head"):
        log.record(make.system("sys_1"))
    assert not log.sequencer.writable


def test_head_that_was_recomputed_without_the_key_never_gets_signed(log, make):
    log.record(make.system("sys_0"))
    frontier = Frontier()
    for body in (encode(make.system("sys_0")).body, b"forged"):
        frontier.append(leaf_hash(body))
    log.sql(
        [FORGE, leaf_hash(b"forged"), b"forged"],
        ["UPDATE head SET size = 2, root = ?, frontier = ?", frontier.root(), frontier.encode()],
    )
    with pytest.raises(LogUnavailable, match="checkpoint"):
        log.record(make.system("sys_1"))
    assert not log.sequencer.writable


def test_two_sequencers_in_one_process_share_a_log(new_log, make):
    one = new_log(busy_limit_s=60).start()
    two = new_log(one.path, busy_limit_s=60).start()
    futures = [
        log.sequencer.submit(make.system(f"{name}_{number}"))
        for number in range(200)
        for name, log in (("one", one), ("two", two))
    ]
    assert sorted(future.result(60).index for future in futures) == list(range(400))
    assert one.verify().size == 400


def test_two_processes_share_a_log(new_log, make, append):
    log = new_log(busy_limit_s=60).start()
    others = [append(log.path, name, count=150) for name in ("one", "two")]
    ours = []
    number = 0
    while any(other.poll() is None for other in others):
        ours += log.record(make.system(f"ours_{number}"))
        number += 1
    places = {done.uid: done.index for done in ours}
    for other in others:
        assert other.wait(60) == 0
        lines = other.stdout.read().splitlines()
        assert len(lines) == 150
        places |= {uid: int(index) for uid, index in map(str.split, lines)}
    assert sorted(places.values()) == list(range(300 + number))
    assert log.verify().size == 300 + number


def test_retry_from_another_process_keeps_the_place(new_log, make, append):
    log = new_log(busy_limit_s=60).start()
    log.record(make.system("other-1"))
    other = append(log.path, "other", count=2, threads=1)
    assert other.communicate(timeout=60)[0] == "other-0 1\nother-1 0\n"
    assert log.verify().size == 2
