"""Disks that fill, vanish or refuse, locks that stay, processes that die: nothing is lost.

A killed process shows what the program loses, not what the disk's own cache would at a power cut.
"""

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import time

import pytest

from audit.errors import LogUnavailable
from audit.sequencer import RETRY_S
from tests.waiting import until

SEED = 20260117


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, and how to mount it anew."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        return subprocess.run(
            [
                shutil.which("mount") or "mount",
                "-t",
                "tmpfs",
                "-o",
                options,
                "sealgate-test",
                str(place),
            ],
            check=False,
            capture_output=True,
        )

    if os.geteuid() != 0 or mount("size=2m").returncode != 0:
        pytest.skip("Mounting a small file system needs root.")
    yield place, mount
    subprocess.run([shutil.which("umount") or "umount", "--lazy", str(place)], check=True)


def fill(directory):
    """Leave no byte free."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 512, 1):
            try:
                while file.write(b"\x00" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def assert_refuses(log, event, *, saying="log"):
    with pytest.raises(LogUnavailable, match=saying):
        log.record(event)
    assert not log.sequencer.writable


def test_full_disk_refuses_entries_until_there_is_room(small_disk, new_log, make):
    place, _ = small_disk
    log = new_log(place / "log.db").start()
    log.record(make.system("sys_0"))
    ballast = fill(place)
    # What SQLite reserved before may still take a few small commits.
    taken = 1
    while log.sequencer.writable:
        assert taken < 200
        large = log.sequencer.submit(make.system(f"sys_{taken}", detail={"text": "x" * 20_000}))
        taken += large.exception(60) is None
    lost = make.system("sys_lost", detail={"text": "x" * 20_000})
    assert_refuses(log, lost, saying="See to its disk")
    assert log.verify().size == taken
    ballast.unlink()
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_next"))[0].index == taken
    assert log.verify().size == taken + 1


def test_write_errors_refuse_entries_until_they_end(new_log, make):
    # A limit on file sizes makes the kernel refuse writes, for root too.
    log = new_log().start()
    log.record(make.system("sys_0"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        assert_refuses(log, make.system("sys_1"))
        time.sleep(RETRY_S * 1.5)
        assert not log.sequencer.writable
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_1"))[0].index == 1
    assert log.verify().size == 2


def test_read_only_file_system_stops_the_start(small_disk, new_log, make):
    place, mount = small_disk
    log = new_log(place / "log.db").start()
    log.record(make.system("sys_0"))
    log.close()
    assert mount("remount,ro").returncode == 0
    with pytest.raises(LogUnavailable):
        new_log(place / "log.db").start()
    assert mount("remount,rw").returncode == 0
    assert new_log(place / "log.db").start().record(make.system("sys_1"))[0].index == 1


def test_lock_that_is_not_released_refuses_entries(log, make):
    log.record(make.system("sys_0"))
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert_refuses(log, make.system("sys_1"))
    finally:
        other.close()
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_1"))[0].index == 1


@pytest.mark.parametrize("lost", ["log.db", "log.db-wal", ""], ids=["file", "wal", "directory"])
def test_log_that_was_moved_away_refuses_entries_until_it_is_back(tmp_path, new_log, make, lost):
    home = tmp_path / "home"
    home.mkdir()
    log = new_log(home / "log.db").start()
    log.record(make.system("sys_0"))
    away = tmp_path / "away"
    (home / lost).rename(away)
    # The open file would take commits that nobody could ever read again.
    assert not log.sequencer.writable
    assert_refuses(log, make.system("sys_1"))
    if lost != "log.db-wal":
        assert not (home / "log.db").exists()
    away.rename(home / lost)
    until(lambda: log.sequencer.writable)
    assert log.record(make.system("sys_1"))[0].index == 1
    assert log.verify().size == 2


def test_deleted_log_is_not_replaced_by_an_empty_one(tmp_path, new_log, make):
    home = tmp_path / "home"
    home.mkdir()
    log = new_log(home / "log.db").start()
    log.record(make.system("sys_0"))
    shutil.rmtree(home)
    assert_refuses(log, make.system("sys_1"))
    home.mkdir()
    time.sleep(RETRY_S * 1.5)
    assert_refuses(log, make.system("sys_1"))
    assert list(home.iterdir()) == []


def test_log_restored_from_an_older_copy_is_refused_by_who_remembers(tmp_path, new_log, make):
    log = new_log().start()
    log.record(make.system("sys_0"))
    old = tmp_path / "old.db"
    with sqlite3.connect(log.path) as source, sqlite3.connect(old) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    log.record(make.system("sys_1"))
    for suffix in ("", "-wal", "-shm"):
        log.path.with_name(log.path.name + suffix).unlink()
    shutil.copy(old, log.path)
    assert_refuses(log, make.system("sys_2"))
    with pytest.raises(LogUnavailable, match="had 2"):
        log.record(make.system("sys_2"))


def kill_at_random(log, append, name, chance):
    """Append from another process, kill it within a tenth of a second; return what it was told."""
    process = append(log.path, name, threads=8)
    first = process.stdout.readline()
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    lines = [first, *process.stdout.read().splitlines(keepends=True)]
    return [line.split() for line in lines if line.endswith("\n")]


# Two hundred kills in all under `make test-all`.
KILLS = [
    pytest.param(3, SEED, id="few"),
    *(pytest.param(50, SEED + n, id=f"many{n}", marks=pytest.mark.slow) for n in range(1, 5)),
]


@pytest.mark.parametrize(("runs", "seed"), KILLS)
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(new_log, append, make, runs, seed):
    chance = random.Random(seed)  # noqa: S311 - Picks moments to kill at.
    log = new_log(busy_limit_s=10)
    acknowledged = {}
    for run in range(runs):
        told = kill_at_random(log, append, f"run{run}", chance)
        acknowledged |= {uid: int(index) for uid, index in told}
    # The next start finds a log that holds together, and goes on with it.
    log.start()
    report = log.verify()
    with log.engine.connect() as connection:
        places = dict(connection.exec_driver_sql("SELECT uid, idx FROM leaf").all())
    # Each was killed after it had told of one entry at least.
    assert len(acknowledged) >= runs
    assert {uid: places.get(uid) for uid in acknowledged} == acknowledged
    assert log.record(make.system("after"))[0].index == report.size
    log.verify()


def test_answer_that_was_lost_with_its_process_is_closed_as_unknown(new_log, make):
    log = new_log().start()
    log.record(make.intent("req_1"))
    # The process dies here; its sequencer never closes.
    again = new_log(log.path).start()
    again.sequencer.recover()
    assert again.verify().phases == {"intent": 1, "recovered": 1}
