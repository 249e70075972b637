"""Writers of one process take turns: who waits is next, whatever the others do meanwhile."""

import threading

import pytest
import sqlalchemy as sa

from audit import sqlite
from audit.store import open_log, writing
from audit.turns import Turns
from tests.waiting import until

PATIENCE_S = 60


def test_turns_come_in_the_order_they_were_asked_for():
    turns, order, asked = Turns(), [], []
    assert turns.take(1, limit_s=0)

    def wait(holder):
        assert turns.take(holder, limit_s=PATIENCE_S)
        order.append(holder)
        turns.give_back(holder)

    for holder in (2, 3, 4):
        before = len(turns._waiting)
        asked.append(threading.Thread(target=wait, args=(holder,)))
        asked[-1].start()
        until(lambda before=before: len(turns._waiting) > before)
    turns.give_back(1)
    for each in asked:
        each.join(PATIENCE_S)
    assert order == [2, 3, 4]


def test_who_gives_up_is_not_called():
    turns = Turns()
    assert turns.take(1, limit_s=0)
    assert not turns.take(2, limit_s=0)
    turns.give_back(1)
    assert turns.take(3, limit_s=0)


def test_nobody_ends_a_turn_of_another():
    turns = Turns()
    assert turns.take(1, limit_s=0)
    turns.give_back(2)
    assert not turns.take(3, limit_s=0)


def test_turn_that_was_never_given_back_is_taken_over_by_who_has_the_lock():
    turns = Turns()
    assert turns.take(1, limit_s=0)
    assert not turns.take(2, limit_s=0)
    turns.claim(2)
    turns.give_back(2)
    assert turns.take(3, limit_s=0)


def test_writer_that_begins_again_at_once_lets_who_waits_write_first(tmp_path, monkeypatch):
    turns = Turns()
    monkeypatch.setattr(sqlite, "Turns", lambda: turns)
    log = open_log(tmp_path / "log.db", busy_limit_s=PATIENCE_S)

    def write(who):
        with writing(log).begin() as connection:
            connection.execute(sa.text("INSERT INTO beside VALUES (:who)"), {"who": who})

    with writing(log).begin() as connection:
        connection.execute(sa.text("CREATE TABLE beside (who TEXT)"))
    for _ in range(5):
        waiting = threading.Thread(target=write, args=("waiting",))
        with writing(log).begin() as connection:
            connection.execute(sa.text("DELETE FROM beside"))
            waiting.start()
            until(lambda: turns._waiting)
        write("again")
        waiting.join(PATIENCE_S)
        with log.connect() as connection:
            order = connection.scalars(sa.text("SELECT who FROM beside ORDER BY rowid")).all()
        assert order == ["waiting", "again"]
    log.dispose()


def test_transaction_that_fails_gives_its_turn_back(tmp_path):
    log = open_log(tmp_path / "log.db", busy_limit_s=PATIENCE_S)
    for _ in range(3):
        with pytest.raises(sa.exc.OperationalError), writing(log).begin() as connection:
            connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
    with writing(log).begin() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    log.dispose()


def test_file_that_another_process_holds_costs_no_turn(tmp_path):
    log = open_log(tmp_path / "log.db", busy_limit_s=0.05)
    elsewhere = open_log(tmp_path / "log.db")
    with writing(elsewhere).begin():
        for _ in range(2):
            with pytest.raises(sa.exc.OperationalError, match="locked"):
                writing(log).connect().begin()
    with writing(log).begin() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    log.dispose()
    elsewhere.dispose()
