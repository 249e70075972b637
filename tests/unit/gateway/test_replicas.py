"""Minute limits of two gateways over one real PostgreSQL."""

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from audit.postgres import DRIVER
from audit.store import open_log
from gateway.budgets import Budgets
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from gateway.limits import Allowance, RequestLimits, Subject
from gateway.replicas import Learned, Replicas, Told
from gateway.upkeep import exchanged
from tests.postgres_server import serving

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
ANNA = Principal("cred_a", "clinic", "anna", Role.CLIENT)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def server():
    with serving() as url:
        yield url.replace("postgresql://", f"{DRIVER}://", 1)


@pytest.fixture
def engine(server):
    made = sa.create_engine(server)
    with made.begin() as connection:
        for table in ("pace", "running_requests", "spending"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    yield made
    made.dispose()


@pytest.fixture
def gateways(engine):
    """Two gateways' limits and their shares in the exchange; clocks that stand still."""

    def make(allowance):
        def one():
            budgets = Budgets(engine, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
            limits = RequestLimits(
                subjects=lambda p: (Subject(f"tenant:{p.tenant}", "This tenant", allowance),),
                budgets=budgets,
                clock=Clock(),
            )
            return SimpleNamespace(limits=limits, replicas=Replicas(engine), budgets=budgets)

        return one(), one()

    return make


def exchange(*gateways):
    for gateway in gateways:
        gateway.limits.learn(gateway.replicas.exchange(gateway.limits.told()))


def admitted(gateway, *, tokens=0, most=1000):
    """Send requests until one is refused; return how many were let in."""
    for count in range(most):
        try:
            with gateway.limits.entered(ANNA), gateway.limits.reserved(ANNA, tokens=tokens) as held:
                held.settle(tokens)
        except RequestRefused:
            return count
    return most


def test_what_one_gateway_let_in_is_gone_for_the_other(gateways):
    first, second = gateways(Allowance(requests_per_minute=10))
    assert admitted(second, most=1) == 1
    exchange(first, second)
    assert admitted(first) in {10, 9}
    exchange(first, second)
    assert admitted(second) == 0


def test_tokens_are_shared_as_requests_are(gateways):
    first, second = gateways(Allowance(tokens_per_minute=1000))
    assert admitted(second, tokens=100, most=1) == 1
    assert admitted(first, tokens=300, most=2) == 2
    exchange(first, second, first)
    # 700 are gone, and at most a few come back meanwhile.
    assert admitted(second, tokens=290, most=2) == 1
    exchange(second, first)
    assert admitted(first, tokens=100, most=1) == 0


def test_what_both_let_in_too_much_is_owed(gateways):
    first, second = gateways(Allowance(requests_per_minute=60))
    # Neither has heard of the other: each lets a whole minute in, and no more.
    assert admitted(first) == admitted(second) == 60
    exchange(first, second, first)
    assert admitted(first) == admitted(second) == 0
    with pytest.raises(RequestRefused) as refused, first.limits.entered(ANNA):
        pass
    # 60 too many: a minute until the next.
    assert 50 < refused.value.retry_after_s < 62


def test_requests_at_once_count_over_both(gateways):
    first, second = gateways(Allowance(concurrent_requests=2))
    with first.limits.entered(ANNA), first.limits.entered(ANNA):
        exchange(first, second)
        with pytest.raises(RequestRefused, match="at once"), second.limits.entered(ANNA):
            pass
    exchange(first, second)
    with second.limits.entered(ANNA), second.limits.entered(ANNA):
        pass


def test_gateway_that_left_holds_nothing(gateways):
    first, second = gateways(Allowance(concurrent_requests=1))
    with first.limits.entered(ANNA):
        exchange(first)
        exchange(second)
        assert admitted(second, most=1) == 0
        first.replicas.leave()
    exchange(second)
    assert admitted(second, most=1) == 1


def test_gateway_that_died_is_forgotten(gateways, engine):
    first, second = gateways(Allowance(concurrent_requests=1))
    with first.limits.entered(ANNA):
        exchange(first)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE running_requests SET at = at - 60"))
    exchange(second)
    assert admitted(second, most=1) == 1


def test_days_are_shared_by_what_is_flushed(gateways):
    first, second = gateways(Allowance(tokens_per_day=1000))
    assert admitted(first, tokens=400, most=2) == 2
    first.budgets.flush()
    second.budgets.flush()
    assert admitted(second, tokens=400, most=1) == 0
    assert admitted(second, tokens=200, most=2) == 1


def test_subject_at_rest_is_forgotten_here_and_full_there(gateways):
    first, _ = gateways(Allowance(requests_per_minute=10))
    assert admitted(first, most=1) == 1
    exchange(first)
    assert [told.requests for told in first.limits.told()] == [0]
    first.limits._clock.now += 3600
    first.limits.learn(Learned())
    assert first.limits.told() == []


def test_gateways_that_start_together_make_the_tables_once(engine, server):
    # The log's own engines: their writers take turns, whichever gateway's they are.
    engines = [open_log(server.replace(DRIVER, "postgresql")) for _ in range(4)]

    async def together():
        return await asyncio.gather(*(asyncio.to_thread(Replicas, each) for each in engines))

    for replicas in asyncio.run(together()):
        replicas.exchange([])
    for each in engines:
        each.dispose()


def test_crowd_of_exchanges_loses_no_request(engine):
    told = [Told(f"tenant:{n}", 1, 5, 10_000, 100_000, 1) for n in range(5)]
    replicas = [Replicas(engine) for _ in range(6)]

    async def all_at_once():
        await asyncio.gather(
            *(
                asyncio.to_thread(each.exchange, told[::direction])
                for each in replicas
                for direction in (1, -1)
            )
        )

    asyncio.run(all_at_once())
    learned = replicas[0].exchange([Told("tenant:0", 0, 0, 10_000, 100_000, 0)])
    assert learned.elsewhere["tenant:0"] == 5
    # 12 were let in, and the minute refills at 167 a second.
    assert learned.left[0].requests <= 10_000
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM pace")).scalar_one() == 5


def test_database_that_is_gone_keeps_the_limit_of_this_gateway(gateways, engine, caplog):
    first, second = gateways(Allowance(requests_per_minute=5))

    class Gone:
        def exchange(self, _):
            raise sa.exc.OperationalError("", {}, Exception())

        leave = exchange

    async def serve():
        async with exchanged(first.limits, SimpleNamespace(exchange=Gone().exchange, leave=list)):
            count = admitted(first)
            await asyncio.sleep(0.05)
            return count + admitted(first)

    assert asyncio.run(serve()) == 5
    assert "not exchanged" in caplog.text
    # What could not be told is told once it can be.
    exchange(first)
    assert admitted(second, most=1) == 1
    exchange(second)
    assert admitted(second) == 0


async def test_serving_gateways_hear_of_each_other_in_time(gateways):
    first, second = gateways(Allowance(requests_per_minute=5))
    async with exchanged(first.limits, first.replicas), exchanged(second.limits, second.replicas):
        assert admitted(second, most=1) == 1
        assert admitted(first) == 5
        deadline = time.monotonic() + 60
        while admitted(second, most=1) and time.monotonic() < deadline:  # noqa: ASYNC110 - theirs
            await asyncio.sleep(0.6)
        assert admitted(second) == 0
