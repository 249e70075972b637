import pytest
import sqlalchemy as sa

from privacy.training import entries, tables
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
)
from privacy.training.filtering import Budget
from privacy.training.ledger import Ledger
from privacy.training.mechanism import Plan, rdp_per_step
from tests.postgres_server import serving
from tests.unit.privacy.training.ledger_runs import PLAN, fill, people, reserve

EVERYONE = people(*range(200))
FITTING = 4


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


def test_a_budget_is_found_by_its_name_and_by_its_id(ledger):
    reserve(ledger, EVERYONE)
    reserve(ledger, people(*range(1000, 1200)), name="letters")
    for name in ("notes", "letters"):
        found = ledger.account(name)
        assert (found.name, found.records) == (name, 200)
        assert ledger.account(found.id) == found


def test_a_ledger_contains_its_beginning_and_every_head_it_had(ledger):
    heads = [Head(0, tables.GENESIS), ledger.head()]
    reserve(ledger, EVERYONE)
    heads.append(ledger.head())
    assert all(ledger.contains(head) for head in heads)
    assert not ledger.contains(Head(0, bytes([1]) * 32))
    assert not ledger.contains(Head(heads[-1].size, tables.GENESIS))


def test_an_entry_of_an_unknown_kind_stops_the_ledger_though_it_is_signed(ledger, keyring):
    reserve(ledger, EVERYONE)
    with tables.writing(ledger._engine) as connection:
        entries.append(connection, {"kind": "refund", "time_s": 1}, signer=keyring)
    with pytest.raises(LedgerTampered, match="unknown kind 'refund'"):
        ledger.verify()
    with pytest.raises(LedgerTampered):
        reserve(ledger, EVERYONE)


def test_a_session_that_may_forget_what_it_acknowledged_is_refused(server):
    with pytest.raises(LedgerUnavailable, match="synchronous_commit"):
        tables.open_database(f"{server}&options=-csynchronous_commit%3Doff")


def test_a_server_that_may_forget_what_it_acknowledged_is_refused():
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed")
    with serving("fsync=off") as url, pytest.raises(LedgerUnavailable, match="fsync"):
        tables.open_database(url)
