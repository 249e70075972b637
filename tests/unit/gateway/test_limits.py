from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from gateway.budgets import Budgets
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from gateway.limits import Allowance, RequestLimits, Subject

ANNA = Principal("cred_a", "clinic", "anna", Role.CLIENT)
BERT = Principal("cred_b", "clinic", "bert", Role.CLIENT)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(tmp_path):
    made = sa.create_engine(f"sqlite:///{tmp_path / 'budget.db'}")
    yield made
    made.dispose()


@pytest.fixture
def limit(clock, engine):
    def make(*, key=None, tenant=None):
        def subjects(principal):
            return (
                Subject(f"tenant:{principal.tenant}", "This tenant", tenant or Allowance()),
                Subject(f"key:{principal.credential_id}", "This credential", key or Allowance()),
            )

        budgets = Budgets(engine, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        return RequestLimits(subjects=subjects, budgets=budgets, clock=clock)

    return make


def enter(limits, principal=ANNA, tokens=0):
    with limits.entered(principal) as headers, limits.reserved(principal, tokens=tokens) as lease:
        lease.settle(tokens)
    return dict(headers)


def refused(limits, principal=ANNA, tokens=0):
    with pytest.raises(RequestRefused) as error:
        enter(limits, principal, tokens)
    assert error.value.status == 429
    return error.value


def test_without_an_allowance_nothing_is_limited_or_remembered(limit):
    limits = limit()
    for _ in range(100):
        enter(limits, tokens=10**9)
    assert limits._states == {}


def test_requests_a_minute_fill_evenly(limit, clock):
    limits = limit(key=Allowance(requests_per_minute=2))
    assert enter(limits)[b"x-ratelimit-remaining-requests"] == b"1"
    enter(limits)
    error = refused(limits)
    assert (error.code, error.retry_after_s) == ("rate_limit_exceeded", 30)
    clock.now += 30
    enter(limits)
    refused(limits)


def test_key_that_asks_too_much_leaves_others_alone(limit):
    limits = limit(key=Allowance(requests_per_minute=1))
    enter(limits)
    refused(limits)
    enter(limits, BERT)


def test_tenants_keys_share_its_allowance(limit):
    limits = limit(tenant=Allowance(requests_per_minute=1))
    enter(limits)
    assert "tenant" in refused(limits, BERT).message


def test_requests_at_once_are_bounded_and_let_go(limit):
    limits = limit(key=Allowance(concurrent_requests=1))
    with limits.entered(ANNA):
        assert refused(limits).code == "rate_limit_exceeded"
    enter(limits)


def test_request_that_failed_is_let_go(limit):
    limits = limit(key=Allowance(concurrent_requests=1))
    with pytest.raises(ZeroDivisionError), limits.entered(ANNA):
        raise ZeroDivisionError
    enter(limits)


def test_unused_tokens_come_back(limit):
    limits = limit(key=Allowance(tokens_per_minute=100))
    with limits.reserved(ANNA, tokens=90) as lease:
        refused(limits, tokens=20)
        lease.settle(10)
    enter(limits, tokens=90)
    refused(limits, tokens=1)


def test_refused_or_failed_request_uses_no_tokens(limit):
    limits = limit(key=Allowance(tokens_per_minute=100, tokens_per_day=100))
    with pytest.raises(ZeroDivisionError), limits.reserved(ANNA, tokens=90):
        raise ZeroDivisionError
    enter(limits, tokens=100)


def test_request_that_can_never_fit_is_not_to_be_retried(limit):
    error = refused(limit(key=Allowance(tokens_per_minute=100)), tokens=101)
    assert (error.should_retry, error.retry_after_s) == (False, None)


def test_spent_day_is_a_quota(limit):
    limits = limit(tenant=Allowance(tokens_per_day=100))
    enter(limits, tokens=80)
    error = refused(limits, BERT, tokens=21)
    assert (error.code, error.should_retry) == ("insufficient_quota", False)
    enter(limits, BERT, tokens=20)


def test_spending_outlives_the_process_and_ends_with_the_day(engine):
    moment = [datetime(2026, 1, 1, 23, tzinfo=UTC)]
    budgets = Budgets(engine, now=lambda: moment[0])
    budgets.spend("key:a", 30)
    budgets.flush()
    assert Budgets(engine, now=lambda: moment[0]).spent("key:a") == 30
    moment[0] += timedelta(hours=2)
    assert budgets.spent("key:a") == 0
    assert Budgets(engine, now=lambda: moment[0]).spent("key:a") == 0


def test_gateways_over_one_database_see_each_others_spending(engine):
    first, second = (Budgets(engine, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)) for _ in "ab")
    first.spend("key:a", 30)
    second.spend("key:a", 5)
    first.flush()
    second.flush()
    first.flush()
    assert first.spent("key:a") == second.spent("key:a") == 35


def test_failed_flush_forgets_nothing(engine):
    budgets = Budgets(engine, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    budgets.spend("key:a", 30)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE spending"))
    with pytest.raises(sa.exc.OperationalError):
        budgets.flush()
    assert budgets.spent("key:a") == 30
    assert budgets._unwritten["key:a"] == 30
