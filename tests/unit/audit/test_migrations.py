"""deploy/migrations brings an earlier database to the tables that the code expects."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.merkle import EMPTY_ROOT
from audit.postgres import DRIVER
from audit.schema import metadata
from audit.store import open_log

command = pytest.importorskip("alembic.command", reason="alembic is not installed")
compare_metadata = pytest.importorskip("alembic.autogenerate").compare_metadata
Config = pytest.importorskip("alembic.config").Config
MigrationContext = pytest.importorskip("alembic.migration").MigrationContext

INI = Path(__file__).parents[3] / "deploy" / "migrations" / "alembic.ini"
FIRST = ("leaf", "head", "checkpoint", "mark")


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """Where a log is to lie: a file, and a database."""
    if request.param == "sqlite":
        return tmp_path / "log.db"
    return request.getfixturevalue("database")


def migrate(location, revision="head"):
    config = Config(str(INI))
    config.attributes["url"] = str(location)
    command.upgrade(config, revision)


def plain(location):
    """Return an engine that makes nothing by itself."""
    if isinstance(location, Path):
        return sa.create_engine(f"sqlite:///{location}")
    return sa.create_engine(sa.make_url(location).set(drivername=DRIVER))


def differences(location):
    engine = plain(location)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables
                },
            )
            return compare_metadata(context, metadata)
    finally:
        engine.dispose()


def first_version(location):
    """Make a database as version 0.1 left it, without its later tables and index."""
    open_log(location).dispose()
    engine = plain(location)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name not in FIRST:
                table.drop(connection)
        connection.exec_driver_sql("DROP INDEX ix_leaf_time_ms")
    engine.dispose()


def test_database_of_the_first_version_becomes_todays(location):
    first_version(location)
    assert differences(location) != []
    migrate(location)
    assert differences(location) == []


def test_database_that_the_code_made_is_left_as_it_is(location):
    open_log(location).dispose()
    migrate(location)
    migrate(location)
    assert differences(location) == []


def test_log_of_the_first_version_goes_on(new_log, make, tmp_path):
    log = new_log(tmp_path / "log.db").start()
    log.record(*(make.system(f"sys_{number}") for number in range(600)))
    root = log.verify().root
    log.close()
    for table in ("node", "subject", "anchor"):
        log.sql([f"DROP TABLE {table}"])
    again = new_log(log.path).start()
    assert again.verify().root == root
    again.verify_proof(again.prove("sys_7"))
    with sqlite3.connect(log.path) as connection:
        assert connection.execute("SELECT count(*) FROM node").fetchone() == (2,)
    connection.close()


def test_database_without_a_log_is_not_migrated(tmp_path):
    path = tmp_path / "other.db"
    sqlite3.connect(path).close()
    with pytest.raises(Exception, match="is empty"):
        migrate(path)
    assert EMPTY_ROOT not in path.read_bytes()
