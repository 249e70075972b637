"""A real log in a temporary directory, with a key of its own."""

import runpy
import secrets
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.postgres import DRIVER
from audit.sequencer import Sequencer
from audit.store import open_log
from audit.verify import prove, verify_log, verify_proof
from tests.postgres_server import serving

SCRIPT = Path(__file__).with_name("appending.py")
SEED = bytes(range(32))


@dataclass
class Log:
    """One log, its key, and a sequencer over it. path: its file, or its database's URL."""

    path: Path | str
    seed: bytes = SEED
    origin: str = "sealgate.test/log"
    busy_limit_s: float = 0.2
    queue_limit: int = 4096
    sign: Any = None
    engine: Any = field(init=False)
    sequencer: Any = field(init=False)

    def __post_init__(self):
        self.key = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public_key = self.key.public_key().public_bytes_raw()
        self.engine = open_log(self.path, busy_limit_s=self.busy_limit_s)
        self.sequencer = self.fresh_sequencer()

    @property
    def trust(self):
        return {"origin": self.origin, "public_key": self.public_key}

    def fresh_sequencer(self):
        return Sequencer(
            self.engine, sign=self.sign or self.key.sign, queue_limit=self.queue_limit, **self.trust
        )

    def start(self):
        self.sequencer.start()
        return self

    def record(self, *events):
        futures = [self.sequencer.submit(event) for event in events]
        return [future.result(timeout=60) for future in futures]

    def verify(self):
        return verify_log(self.engine, **self.trust)

    def prove(self, request_id):
        return prove(self.engine, request_id)

    def verify_proof(self, document):
        return verify_proof(document, **self.trust)

    def sql(self, *statements):
        """Run statements as whoever can write the database: no sequencer, no key."""
        if isinstance(self.path, str):
            with self.engine.begin() as connection:
                for statement, *values in statements:
                    connection.exec_driver_sql(statement, tuple(values))
            return
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for statement, *values in statements:
                connection.execute(statement, values)
        finally:
            connection.close()

    def close(self):
        self.sequencer.close()
        self.engine.dispose()


@pytest.fixture
def make():
    """Builders of events."""
    return SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="appending"))


@pytest.fixture
def new_log(tmp_path):
    """Opens logs that the test's end closes."""
    logs = []

    def new(path=None, **options):
        log = Log(path or tmp_path / "log.db", **options)
        logs.append(log)
        return log

    yield new
    for log in logs:
        log.close()


@pytest.fixture
def log(new_log):
    """An empty log whose sequencer runs."""
    return new_log().start()


@pytest.fixture(scope="session")
def postgres():
    """URL of a PostgreSQL server that the tests' end stops."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with serving() as url:
        yield url


@pytest.fixture
def database(postgres):
    """URL of a new database of that server."""
    name = f"log_{secrets.token_hex(6)}"
    server = sa.create_engine(
        sa.make_url(postgres).set(drivername=DRIVER), isolation_level="AUTOCOMMIT"
    )
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    server.dispose()
    return sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def append(tmp_path):
    """Starts processes that append to a log file and print what was acknowledged."""
    processes = []

    def start(path, name, *, count=0, threads=4):
        command = [sys.executable, str(SCRIPT), str(path), SEED.hex(), name]
        process = subprocess.Popen(
            [*command, str(count), str(threads)], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
