import multiprocessing
import os
import time

import pytest
import sqlalchemy as sa

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.training import tables
from privacy.training.entries import Head
from privacy.training.errors import (
    AccountUnknown,
    BudgetExhausted,
    LeaseFenced,
    LedgerRolledBack,
    LedgerTampered,
    LedgerUnavailable,
    PlanExhausted,
    PlanInvalid,
    RunSettled,
    RunUnknown,
    TrainingError,
)
from privacy.training.filtering import Budget, capacity
from privacy.training.ledger import Ledger
from privacy.training.mechanism import Plan, rdp_per_step
from tests.postgres_server import serving
from tests.unit.privacy.training.ledger_runs import BUDGET, PLAN, fill, people, reserve

EVERYONE = people(*range(200))
FITTING = 4


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed")
    with serving() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "both.db")
        return
    url = request.getfixturevalue("server")
    yield url
    engine = tables.open_database(url)
    tables.metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def ledger(url, keyring):
    engine = tables.open_database(url)
    yield Ledger(engine, signer=keyring)
    engine.dispose()


def test_a_budget_admits_what_fits_and_then_refuses_by_name(ledger):
    assert fill(ledger, EVERYONE) == FITTING
    with pytest.raises(BudgetExhausted, match=r"'notes'.*\d+% of its ε 2.2 at δ 0.0001 is left"):
        reserve(ledger, EVERYONE)


def test_shuffled_and_renamed_records_have_the_budget_they_had(ledger):
    assert fill(ledger, EVERYONE) == FITTING
    assert fill(ledger, EVERYONE[::-1], name="other") == 0
    assert [account.name for account in ledger.accounts()] == ["notes"]


def test_a_larger_budget_for_known_records_is_not_taken(ledger):
    assert fill(ledger, EVERYONE) == FITTING
    assert fill(ledger, EVERYONE, budget=Budget(100.0, 1e-4)) == 0


def test_one_known_record_among_new_ones_uses_up_its_budget(ledger):
    assert fill(ledger, EVERYONE) == FITTING
    newcomers = people(*range(1000, 1100))
    assert fill(ledger, [*newcomers, EVERYONE[0]], name="newcomers") == 0
    assert fill(ledger, newcomers, name="newcomers") == FITTING


def test_overlapping_datasets_charge_the_records_they_share(ledger):
    first, second = people(*range(100)), people(*range(50, 150))
    reserve(ledger, first, name="first")
    reserve(ledger, second, name="second")
    left = {account.name: account.left for account in ledger.accounts()}
    assert left["first"] < left["second"] < 1
    assert {account.name: account.records for account in ledger.accounts()} == {
        "first": 100,
        "second": 50,
    }


def test_a_refused_run_changes_nothing(ledger):
    fill(ledger, EVERYONE)
    before = ledger.verify()
    with pytest.raises(BudgetExhausted):
        reserve(ledger, [*EVERYONE, *people(777)], name="more")
    assert ledger.verify() == before


def test_steps_never_leased_are_refunded_when_a_run_settles(ledger):
    run = ledger.lease(reserve(ledger, EVERYONE), 25)
    ledger.settle(run)
    account = ledger.account("notes")
    charged = 25 * rdp_per_step(PLAN, account.standing.order)
    assert account.standing.rdp == pytest.approx(charged)


def test_a_first_run_that_needs_all_of_a_budget_closes_it_and_refunds_nothing(ledger):
    plan = Plan(1.0, 0.0256, 400)
    run = reserve(ledger, EVERYONE, plan=plan, budget=Budget(2.8, 1e-4), epsilon=2.711)
    assert ledger.account("notes").left == 0
    ledger.settle(run)
    assert ledger.account("notes").left == 0


def test_no_more_steps_than_planned_are_leased(ledger):
    run = ledger.lease(reserve(ledger, EVERYONE), 90)
    with pytest.raises(PlanExhausted, match="planned 100 steps and 90 are charged"):
        ledger.lease(run, 11)
    assert ledger.lease(run, 10).left == 0


def test_who_takes_a_run_over_fences_the_other_out_and_refunds_nothing(ledger):
    first = ledger.lease(reserve(ledger, EVERYONE), 30)
    second = ledger.resume(first.run_id)
    assert second.leased == 30
    with pytest.raises(LeaseFenced):
        ledger.lease(first, 1)
    assert ledger.lease(second, 70).left == 0


def test_a_released_run_is_over_for_its_holder(ledger):
    run = ledger.lease(reserve(ledger, EVERYONE), 10)
    ledger.release(run.run_id)
    with pytest.raises(LeaseFenced):
        ledger.lease(run, 1)
    with pytest.raises(RunSettled):
        ledger.resume(run.run_id)


@pytest.mark.parametrize(("delta", "count"), [(0.01, 200), (1e-4, 0)])
def test_a_delta_that_allows_publishing_records_is_refused(ledger, delta, count):
    with pytest.raises(PlanInvalid):
        reserve(ledger, EVERYONE[:count], budget=Budget(4.0, delta))


def test_unknown_names_are_refused(ledger):
    with pytest.raises(AccountUnknown, match="nobody"):
        ledger.account("nobody")
    with pytest.raises(RunUnknown, match="run_none"):
        ledger.resume("run_none")


def test_a_ledger_put_back_to_an_older_state_is_noticed_by_what_was_written_with_it(ledger):
    run = reserve(ledger, EVERYONE)
    later = Head(ledger.head().size + 5, bytes(32))
    with pytest.raises(LedgerRolledBack):
        ledger.resume(run.run_id, since=later)
    assert ledger.resume(run.run_id, since=ledger.head()).token == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_account SET rdp = 0",
        "UPDATE ledger_account SET epsilon = 100",
        "UPDATE ledger_account SET closed = true",
        "UPDATE ledger_run SET leased = 0",
        "DELETE FROM ledger_run",
        "DELETE FROM ledger_entry WHERE idx = 2",
        "DELETE FROM ledger_entry WHERE idx = 1",
        "DELETE FROM ledger_record WHERE fingerprint < decode('80', 'hex')",
        "UPDATE ledger_record SET account = 'acct_other'",
        "UPDATE ledger_head SET size = size - 1",
    ],
)
def test_a_change_from_outside_is_found_before_the_next_run(ledger, change):
    run = reserve(ledger, EVERYONE)
    ledger.lease(run, 10)
    with ledger._engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            change = change.replace("decode('80', 'hex')", "x'80'")
        connection.execute(sa.text(change))
    with pytest.raises(LedgerTampered):
        ledger.verify()
    with pytest.raises(LedgerTampered):
        reserve(ledger, EVERYONE)


def test_an_entry_signed_by_another_key_is_found(ledger, keyring, tmp_path):
    reserve(ledger, EVERYONE)
    with ledger._engine.begin() as connection:
        row = connection.execute(sa.select(tables.entry).where(tables.entry.c.idx == 1)).one()
        forged = keyring.sign("report", bytes(row.body))
        connection.execute(
            tables.entry.update().where(tables.entry.c.idx == 1).values(signature=forged)
        )
    with pytest.raises(LedgerTampered, match="entry 1"):
        ledger.verify()


def test_a_database_that_cannot_be_opened_is_said_so(tmp_path):
    with pytest.raises(LedgerUnavailable):
        tables.open_database(str(tmp_path / "nowhere" / "ledger.db"))


def test_a_file_that_is_no_database_is_said_so(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to look" * 50)
    with pytest.raises((LedgerTampered, LedgerUnavailable)):
        tables.open_database(str(tmp_path / "ledger.db"))


def train(url, home, made, run_id, seed):
    """Make steps until killed, each noted once it is made; in a process of its own."""
    # Keys do not survive a fork, on purpose.
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
    ledger = Ledger(tables.open_database(url), signer=keyring)
    try:
        run = ledger.resume(run_id) if run_id else reserve(ledger, EVERYONE)
        while run.left:
            steps = min(3, run.left)
            run = ledger.lease(run, steps)
            for _ in range(steps):
                os.write(made, f"{run.run_id}\n".encode())
                time.sleep(0.0001 * (seed % 7))
        ledger.settle(run)
    except TrainingError:
        pass
    os._exit(0)


def killed(url, kills, tmp_path):
    """Start and kill trainers, and return the steps that each run made."""
    path = tmp_path / "made"
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fork = multiprocessing.get_context("fork")
    run_id = None
    for seed in range(kills):
        process = fork.Process(target=train, args=(url, tmp_path, made, run_id, seed))
        process.start()
        # Some are killed before their first step, most somewhere after it.
        before, late = path.stat().st_size, time.monotonic() + 10 * (seed % 4 > 0)
        while process.is_alive() and path.stat().st_size == before and time.monotonic() < late:
            time.sleep(0.001)
        time.sleep(0.0013 * (seed % 17))
        process.kill()
        process.join()
        lines = path.read_text().split()
        # Half the time the run is gone on with, half the time a new one is tried.
        run_id = lines[-1] if lines and seed % 2 else None
    os.close(made)
    lines = path.read_text().split()
    assert lines
    return {run: lines.count(run) for run in set(lines)}


def require_nothing_overspent(ledger, steps):
    ledger.verify()
    runs = {run.id: run for run in ledger.runs()}
    for run_id, made in steps.items():
        assert made <= runs[run_id].leased <= runs[run_id].plan.steps
    account = ledger.account("notes")
    order = account.standing.order
    spent = sum(made * rdp_per_step(PLAN, order) for made in steps.values())
    assert spent <= account.standing.rdp + 1e-9 <= capacity(BUDGET, order) + 1e-9


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_thirty_kills_overspend_nothing(url, keyring, ledger, tmp_path):
    ledger._engine.dispose()
    steps = killed(url, 30, tmp_path)
    require_nothing_overspent(ledger, steps)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_thousand_kills_overspend_nothing(keyring, tmp_path):
    url = str(tmp_path / "killed.db")
    steps = killed(url, 1000, tmp_path)
    engine = tables.open_database(url)
    require_nothing_overspent(Ledger(engine, signer=keyring), steps)
    engine.dispose()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_eight_runs_at_once_overspend_nothing(url, keyring, ledger, tmp_path):
    ledger._engine.dispose()
    path = tmp_path / "made"
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=train, args=(url, tmp_path, made, None, 0)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    os.close(made)
    lines = path.read_text().split()
    steps = {run: lines.count(run) for run in set(lines)}
    # All eight wanted a whole plan; as many as fit got one.
    assert len(steps) == FITTING
    require_nothing_overspent(ledger, steps)
