"""`sealgate insight` at a real home: hours stored, thresholds proposed, applied, rolled back."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.store import existing_log
from gateway.cli.session import opened
from gateway.insight import rollups
from gateway.insight.history import HOUR_MS
from gateway.tiers import TUNED, RoutingTable, load
from tests.unit.audit.appending import outcome

BEGIN = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
TIERS = """
[[remote]]
name = "cloud-1"
tier = "cloud"
profile = "sealgate"
origin = "http://127.0.0.1:1"
model = "m"
serves = "large"
boundary = "rack"
classes = ["public"]
context_length = 8192
slots = 4
tenants = ["ward-a"]

[[remote]]
name = "edge-1"
tier = "edge"
profile = "sealgate"
origin = "http://127.0.0.1:2"
model = "m"
serves = "small"
boundary = "rack"
classes = ["public"]
context_length = 8192
slots = 24
tenants = ["ward-a"]
"""


@pytest.fixture
def home(home, tmp_path, monkeypatch):
    (tmp_path / "tiers.toml").write_text(TIERS)
    monkeypatch.setenv("SEALGATE_TIERS_FILE", str(tmp_path / "tiers.toml"))
    return home


def ended(index, *, at_ms, tier="edge", **own):
    event = outcome(f"req_{index}", time_ms=at_ms)
    # Graded so that all of it is the cloud's, though the edge would be good enough.
    route = {"pin": "auto", "grade": 62, "task": "reasoning", "hedged": False, "failed": []}
    route |= {"endpoint": f"{tier}-1", "floor": tier, "floor_lowered": False, "considered": []}
    event["sealgate"] |= {"tier": tier, "route": route, "completion_tokens": 60, **own}
    return event


def record(home, events):
    with opened(home) as session:
        for done in [session.sequencer.submit(event) for event in events]:
            done.result(30)


@pytest.fixture
def crowded(sealgate, home):
    record(home, [ended(i, at_ms=BEGIN + 120 * i) for i in range(200)])
    return sealgate


def operations(sealgate):
    code, out, err = sealgate("audit", "search", "--limit", "1000", "--json")
    assert code == 0, err
    return [each["event"]["api"]["operation"] for each in json.loads(out)["data"]]


def test_a_report_is_drawn_from_the_log_and_is_an_entry(crowded, home):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    code, out, err = crowded("insight", "report", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert sum(hour["requests"] for hour in told["hours"]) == 200
    page = home / "reports" / "insight.html"
    assert told["path"] == str(page)
    assert "2026-03-01 12:00Z" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "insight.report" in operations(crowded)


def test_tuning_is_proposed_replayed_applied_and_rolled_back_with_entries(crowded, home):
    pytest.importorskip("simpy")
    code, out, err = crowded("insight", "tune", "--json")
    assert code == 0, err
    proposed = json.loads(out)
    assert proposed["after_s"] < proposed["before_s"]
    assert not (home / TUNED).exists()
    assert "routing.tuned" not in operations(crowded)

    assert crowded("insight", "tune", "--apply")[0] == 0
    assert load(None, tuned=home / TUNED).routing == RoutingTable(**proposed["routing"])
    assert operations(crowded).count("routing.tuned") == 1
    # What is applied is what is replayed against from now on: a second step must gain again.
    assert crowded("insight", "tune")[0] in (0, 2)

    assert crowded("insight", "tune", "--roll-back")[0] == 0
    assert load(None, tuned=home / TUNED).routing == RoutingTable()
    assert operations(crowded).count("routing.rolled_back") == 1
    code, _, err = crowded("insight", "tune", "--roll-back")
    assert (code, "nothing can be rolled back" in err) == (2, True)


@pytest.fixture
def log(sealgate, home):
    engine = existing_log(home / "sealgate.db")
    yield engine
    engine.dispose()


def test_hours_are_stored_once_they_are_settled_and_only_once(log, home):
    record(home, [ended(1, at_ms=BEGIN + 1000, latency_ms=2000), ended(2, at_ms=BEGIN + 9000)])
    record(home, [ended(3, at_ms=BEGIN + HOUR_MS + 5, tier="cloud", ending="failed")])
    before = rollups.read(log)
    assert [(h.begins_ms, h.tier, h.requests) for h in before] == [
        (BEGIN - HOUR_MS, "edge", 1), (BEGIN, "cloud", 1), (BEGIN, "edge", 1),
    ]  # fmt: skip
    # An hour is waited for as long as an answer that began in it may take.
    assert rollups.roll_up(log, now_ms=BEGIN + 2 * HOUR_MS - 1) == 1
    assert rollups.roll_up(log, now_ms=BEGIN + 2 * HOUR_MS) == 2
    assert rollups.roll_up(log, now_ms=BEGIN + 2 * HOUR_MS) == 0
    assert rollups.read(log) == before


def test_what_is_stored_outlives_the_entries_and_what_is_new_is_added(log, home):
    record(home, [ended(1, at_ms=BEGIN + 9000)])
    rollups.roll_up(log, now_ms=BEGIN + 5 * HOUR_MS)
    stored = rollups.read(log)
    record(home, [ended(2, at_ms=BEGIN + 6 * HOUR_MS)])
    with log.begin() as connection:
        connection.exec_driver_sql("DELETE FROM leaf WHERE request_id = 'req_1'")
    told = rollups.read(log)
    assert told[:1] == stored
    assert [h.begins_ms for h in told[1:]] == [BEGIN + 5 * HOUR_MS]


def test_a_log_without_answers_has_no_hours(log):
    assert rollups.roll_up(log, now_ms=BEGIN) == 0
    assert rollups.read(log) == []


def test_a_long_silence_is_caught_up_with_in_steps(log, home):
    record(home, [ended(1, at_ms=BEGIN + 9000)])
    later = BEGIN + 3 * rollups.MOST_HOURS * HOUR_MS
    record(home, [ended(2, at_ms=later)])
    made = [rollups.roll_up(log, now_ms=later + 4 * HOUR_MS) for _ in range(5)]
    assert (sum(made), made[0]) == (2, 1)


def test_of_two_that_roll_up_at_once_one_stores(log, home):
    record(home, [ended(1, at_ms=BEGIN + 9000)])
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: rollups.roll_up(log, now_ms=BEGIN + 5 * HOUR_MS), range(4)))
    assert sorted(made) == [0, 0, 0, 1]
    assert [hour.requests for hour in rollups.read(log)] == [1]


def test_the_migration_makes_the_tables_that_the_code_expects(home, sealgate):
    command = pytest.importorskip("alembic.command", reason="alembic is not installed")
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - an extra
    from alembic.config import Config  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415

    ini = Path(__file__).parents[3] / "deploy" / "migrations" / "alembic.ini"
    config = Config(str(ini))
    config.attributes["url"] = str(home / "sealgate.db")
    command.upgrade(config, "head")
    names = set(rollups.metadata.tables)
    engine = existing_log(home / "sealgate.db")
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or name in names}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, rollups.metadata) == []
    engine.dispose()
