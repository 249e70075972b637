"""Writers of one process take turns: who waits is next, whatever the others do meanwhile."""

import threading

import pytest
import sqlalchemy as sa

from audit import sqlite
from audit.store import open_log, writing
from audit.turns import Turns

PATIENCE_S = 60


def test_turns_come_in_the_order_they_were_asked_for():
    turns, order, asked = Turns(), [], []
    assert turns.take("first", limit_s=0)

    def wait(name):
        assert turns.take(name, limit_s=PATIENCE_S)
        order.append(name)
        turns.give_back(name)

    for name in ("second", "third", "fourth"):
        before = len(turns._waiting)
        asked.append(threading.Thread(target=wait, args=(name,)))
        asked[-1].start()
        while len(turns._waiting) == before:
            pass
    turns.give_back("first")
    for each in asked:
        each.join(PATIENCE_S)
    assert order == ["second", "third", "fourth"]


def test_who_gives_up_is_not_called():
    turns = Turns()
    assert turns.take("first", limit_s=0)
    assert not turns.take("second", limit_s=0)
    turns.give_back("first")
    assert turns.take("third", limit_s=0)


def test_nobody_ends_a_turn_of_another():
    turns = Turns()
    assert turns.take("first", limit_s=0)
    turns.give_back("second")
    assert not turns.take("third", limit_s=0)


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
            while not turns._waiting:
                pass
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
