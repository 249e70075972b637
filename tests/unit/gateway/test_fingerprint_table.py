"""The table of fingerprints where the log is a PostgreSQL database, whoever made it."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.postgres import DRIVER
from audit.store import existing_log, open_log
from gateway import fingerprints
from gateway.fingerprints import Fingerprints
from tests import postgres_server
from tests.unit.gateway.test_fingerprints import ANSWERS, Keys, found

command = pytest.importorskip("alembic.command", reason="alembic is not installed")
compare_metadata = pytest.importorskip("alembic.autogenerate").compare_metadata
Config = pytest.importorskip("alembic.config").Config
MigrationContext = pytest.importorskip("alembic.migration").MigrationContext

INI = Path(__file__).parents[3] / "deploy" / "migrations" / "alembic.ini"


@pytest.fixture(scope="module")
def postgres():
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with postgres_server.serving() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """A log without the table: a file, and a database."""
    place = tmp_path / "log.db"
    if request.param == "postgresql":
        url = sa.make_url(request.getfixturevalue("postgres"))
        name = f"log_{secrets.token_hex(6)}"
        server = sa.create_engine(url.set(drivername=DRIVER), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        server.dispose()
        place = url.set(database=name).render_as_string(hide_password=False)
    open_log(place).dispose()
    return place


@pytest.fixture
def engine(location):
    made = existing_log(location)
    yield made
    made.dispose()


def migrate(location):
    config = Config(str(INI))
    config.attributes["url"] = str(location)
    command.upgrade(config, "head")


def differences(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name == "fingerprint"},
        )
        return compare_metadata(context, fingerprints.metadata)


def test_migration_makes_the_table_that_the_code_expects(location, engine):
    assert differences(engine) != []
    migrate(location)
    assert differences(engine) == []
    used = Fingerprints(engine, Keys())
    used.remember("clinic", "req_1", {0: ANSWERS[0]}, epoch=1)
    assert found(used, ANSWERS[0]) == ["req_1"]


def test_migration_leaves_a_table_and_its_rows_that_a_gateway_made(location, engine):
    Fingerprints(engine, Keys()).remember("clinic", "req_1", {0: ANSWERS[0]}, epoch=1)
    migrate(location)
    migrate(location)
    assert differences(engine) == []
    assert found(Fingerprints(engine, Keys()), ANSWERS[0].upper()) == ["req_1"]


def test_gateways_that_start_at_once_make_one_table(location):
    engines = [existing_log(location) for _ in range(6)]
    try:
        with ThreadPoolExecutor(len(engines)) as pool:
            made = list(pool.map(lambda engine: Fingerprints(engine, Keys()), engines))
        for number, each in enumerate(made):
            each.remember("clinic", f"req_{number}", {0: ANSWERS[1], 1: ANSWERS[2]}, epoch=2)
        assert sorted(found(made[0], ANSWERS[1])) == [f"req_{n}" for n in range(len(engines))]
        assert found(made[1], ANSWERS[1], tenants=["other"]) == []
    finally:
        for engine in engines:
            engine.dispose()
