"""A real PostgreSQL that is set up otherwise, or stands still: refused, or the log holds."""

import os
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit import exchange, pipelined
from audit.errors import LogUnavailable
from audit.store import open_log, writing
from tests.waiting import until

psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")


@pytest.fixture
def ask(database):
    """Runs a statement on the database, beside the log, and returns its rows."""

    def run(statement):
        with psycopg.connect(database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def set_default(ask, database):
    """Sets what every new connection to the database begins with."""
    return lambda setting: ask(f"ALTER DATABASE {sa.make_url(database).database} SET {setting}")


@pytest.fixture(params=["pipelined", "plain"])
def way(request, monkeypatch):
    """Each of the two ways that batches go in."""
    if request.param == "plain":
        monkeypatch.setattr(pipelined, "_pipelined", lambda _: False)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_that_does_not_keep_utf8_is_refused(ask, database, encoding):
    name = f"{sa.make_url(database).database}_other"
    ask(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    url = sa.make_url(database).set(database=name).render_as_string(hide_password=False)
    with pytest.raises(LogUnavailable, match=f"encoded in {encoding}.*CREATE DATABASE"):
        open_log(url)


@pytest.mark.usefixtures("way")
def test_encoding_that_clients_are_given_changes_no_entry(set_default, new_log, database, make):
    set_default("client_encoding = 'latin1'")
    log = new_log(database).start()
    log.record(make.intent("req_1", trace_ids=(7,)), make.system("sys_1", detail={"t": "\u00e9"}))
    assert log.verify().size == 2
    assert len(log.verify_proof(log.prove("req_1")).entries) == 1


def test_encoding_of_the_url_or_the_environment_changes_no_entry(
    new_log, database, make, monkeypatch
):
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    log = new_log(f"{database}&client_encoding=latin1").start()
    log.record(make.system("sys_1"))
    assert log.verify().size == 1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_batch_that_waited_for_its_turn_goes_in_whatever_the_default_isolation(
    set_default, new_log, database, make, ask, isolation
):
    set_default(f"default_transaction_isolation = '{isolation}'")
    log = new_log(database, busy_limit_s=60).start()
    log.record(make.system("sys_0"))
    other = open_log(database)
    with writing(other).begin() as connection:
        waiting = log.sequencer.submit(make.system("sys_1"))
        until(lambda: ask("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        # Another writer changes the head, and commits while the batch waits.
        connection.exec_driver_sql("UPDATE head SET size = size")
    assert waiting.result(60).index == 1
    assert log.verify().size == 2
    other.dispose()


def test_server_that_stands_still_refuses_the_batch_and_is_left(
    new_log, database, make, ask, monkeypatch
):
    log = new_log(database).start()
    log.record(make.system("sys_0"))
    (backend,) = (
        pid
        for (pid,) in ask(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND query = 'COMMIT'"
        )
    )
    os.kill(backend, signal.SIGSTOP)
    try:
        until(lambda: Path(f"/proc/{backend}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        with monkeypatch.context() as patch:
            patch.setattr(exchange, "SILENCE_LIMIT_S", 0.1)
            with pytest.raises(LogUnavailable, match="did not answer"):
                log.record(make.system("sys_1"))
        # Over another connection; the same entry again settles whether it was written.
        until(lambda: log.sequencer.writable)
        assert log.record(make.system("sys_1"))[0].index == 1
    finally:
        os.kill(backend, signal.SIGCONT)
    until(lambda: not Path(f"/proc/{backend}").exists())
    assert log.verify().size == 2


def test_connection_tells_a_peer_that_is_gone(new_log, database):
    with new_log(database).engine.connect() as connection:
        set_up = connection.connection.driver_connection.info.get_parameters()
    assert set_up["tcp_user_timeout"] == "30000"
    assert {"keepalives_idle", "keepalives_interval", "keepalives_count"} <= set(set_up)


def test_missing_driver_is_told_with_the_command_that_brings_it(database, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("psycopg")

    monkeypatch.setattr(sa, "create_engine", missing)
    with pytest.raises(LogUnavailable, match=r"pip install 'sealgate\[postgres\]'"):
        open_log(database)
