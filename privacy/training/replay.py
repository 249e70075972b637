"""What the ledger's entries mean: the accounts and runs that they add up to.

Every entry has one effect, the same whether it was just written or is replayed to verify. It uses
only numbers that stand in entries, so another machine's arithmetic comes to the same state.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import sqlalchemy as sa

from privacy.training import entries, tables
from privacy.training.entries import Signer
from privacy.training.errors import LedgerTampered
from privacy.training.filtering import BY_PLD, Budget, Standing, epsilon_spent, share_left
from privacy.training.fingerprints import root
from privacy.training.mechanism import Plan


@dataclass(frozen=True, slots=True)
class Account:
    """A budget and the records it is for. Each record belongs to exactly one account."""

    id: str
    name: str
    budget: Budget
    records: int
    standing: Standing

    @property
    def spent(self) -> float:
        """An upper bound on the ε, at the budget's δ, that is charged so far."""
        return epsilon_spent(self.standing, self.budget)

    @property
    def left(self) -> float:
        """Share of the budget that is left, from 0 to 1."""
        return share_left(self.standing, self.budget)


@dataclass(frozen=True, slots=True)
class Run:
    """A run. leased: steps charged. token: of whoever may make them."""

    id: str
    accounts: tuple[str, ...]
    dataset: str
    plan: Plan
    leased: int
    token: int
    settled: bool


class State(Protocol):
    """Where accounts and runs are kept: the database, or memory while replaying."""

    def account(self, account_id: str) -> Account:
        """Return an account."""
        ...

    def run(self, run_id: str) -> Run:
        """Return a run."""
        ...

    def put_account(self, account: Account) -> None:
        """Keep an account, new or changed."""
        ...

    def put_run(self, run: Run) -> None:
        """Keep a run, new or changed."""
        ...


def apply(content: Mapping[str, Any], state: State) -> None:
    """Let one entry have its effect."""
    kind = content["kind"]
    if kind == "account":
        budget = Budget(content["epsilon"], content["delta"])
        standing = Standing(order=None, rdp=0.0, closed=False)
        state.put_account(
            Account(content["account"], content["name"], budget, content["records"], standing)
        )
    elif kind == "reserve":
        _reserve(content, state)
    elif kind in ("resume", "lease"):
        run = state.run(content["run"])
        leased = content.get("leased", run.leased)
        state.put_run(replace(run, token=content["token"], leased=leased))
    elif kind == "settle":
        run = state.run(content["run"])
        state.put_run(replace(run, token=content["token"], settled=True))
        for refund in content["refunds"]:
            _charge(state, refund["account"], -refund["rdp"])
    elif kind != "note":
        raise LedgerTampered(f"The ledger has an entry of unknown kind {kind!r}.")


def _reserve(content: Mapping[str, Any], state: State) -> None:
    plan = Plan(**content["plan"])
    charges = content["charges"]
    ids = tuple(charge["account"] for charge in charges)
    state.put_run(
        Run(content["run"], ids, content["dataset"], plan, leased=0, token=1, settled=False)
    )
    for charge in charges:
        account = state.account(charge["account"])
        standing = replace(
            account.standing,
            order=charge["order"],
            rdp=account.standing.rdp + charge["rdp"],
            closed=account.standing.closed or charge["basis"] == BY_PLD,
        )
        state.put_account(replace(account, standing=standing))


def _charge(state: State, account_id: str, rdp: float) -> None:
    account = state.account(account_id)
    standing = replace(account.standing, rdp=max(account.standing.rdp + rdp, 0.0))
    state.put_account(replace(account, standing=standing))


@dataclass(frozen=True, slots=True)
class Memory:
    """State in memory, for replaying."""

    accounts: dict[str, Account] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def account(self, account_id: str) -> Account:
        """Return an account."""
        return self.accounts[account_id]

    def run(self, run_id: str) -> Run:
        """Return a run."""
        return self.runs[run_id]

    def put_account(self, account: Account) -> None:
        """Keep an account, new or changed."""
        self.accounts[account.id] = account

    def put_run(self, run: Run) -> None:
        """Keep a run, new or changed."""
        self.runs[run.id] = run


@dataclass(frozen=True, slots=True)
class Stored:
    """State in the database, inside one transaction."""

    connection: sa.Connection

    def account(self, account_id: str) -> Account:
        """Return an account."""
        wanted = sa.select(tables.account).where(tables.account.c.id == account_id)
        return _account(self.connection.execute(wanted).one())

    def run(self, run_id: str) -> Run:
        """Return a run."""
        wanted = sa.select(tables.run).where(tables.run.c.id == run_id)
        return _run(self.connection.execute(wanted).one())

    def put_account(self, account: Account) -> None:
        """Keep an account, new or changed."""
        values = {
            "name": account.name,
            "epsilon": account.budget.epsilon,
            "delta": account.budget.delta,
            "records": account.records,
            "rdp_order": account.standing.order,
            "rdp": account.standing.rdp,
            "closed": account.standing.closed,
        }
        _put(self.connection, tables.account, account.id, values)

    def put_run(self, run: Run) -> None:
        """Keep a run, new or changed."""
        values = {
            "accounts": json.dumps(run.accounts),
            "dataset": run.dataset,
            "noise_multiplier": run.plan.noise_multiplier,
            "sampling_rate": run.plan.sampling_rate,
            "planned": run.plan.steps,
            "leased": run.leased,
            "token": run.token,
            "settled": run.settled,
        }
        _put(self.connection, tables.run, run.id, values)


def accounts(connection: sa.Connection) -> list[Account]:
    """Return all accounts by name."""
    rows = connection.execute(sa.select(tables.account).order_by(tables.account.c.name))
    return [_account(row) for row in rows]


def runs(connection: sa.Connection) -> list[Run]:
    """Return all runs."""
    rows = connection.execute(sa.select(tables.run).order_by(tables.run.c.id))
    return [_run(row) for row in rows]


def verified(connection: sa.Connection, *, signer: Signer) -> None:
    """Replay the chain and hold the tables against it.

    Raises:
        LedgerTampered: An entry does not verify, or a table says something else.
    """
    memory, roots = Memory(), {}
    for at, content in entries.chain(connection, signer=signer):
        try:
            apply(content, memory)
        except (KeyError, TypeError):
            raise LedgerTampered(f"Entry {at.size - 1} of the ledger makes no sense.") from None
        if content["kind"] == "account":
            roots[content["account"]] = content["root"]
    if {a.id: a for a in accounts(connection)} != memory.accounts:
        raise LedgerTampered("The ledger's budgets are not what its entries add up to.")
    if {r.id: r for r in runs(connection)} != memory.runs:
        raise LedgerTampered("The ledger's runs are not what its entries add up to.")
    if _roots(connection) != roots:
        raise LedgerTampered("The ledger's records are not those that its entries name.")


def _roots(connection: sa.Connection) -> dict[str, str]:
    """Return the root over each account's records."""
    found: dict[str, list[bytes]] = {}
    for row in connection.execute(sa.select(tables.record)):
        found.setdefault(row.account, []).append(bytes(row.fingerprint))
    return {account: records_root(prints) for account, prints in found.items()}


def records_root(fingerprints: Sequence[bytes]) -> str:
    """Return the root over an account's distinct records."""
    return root(sorted(fingerprints), records=len(fingerprints))


def _put(connection: sa.Connection, table: sa.Table, key: str, values: Mapping[str, Any]) -> None:
    changed = connection.execute(table.update().where(table.c.id == key).values(**values))
    if changed.rowcount == 0:
        connection.execute(table.insert().values(id=key, **values))


def _account(row: sa.Row[Any]) -> Account:
    return Account(
        row.id,
        row.name,
        Budget(row.epsilon, row.delta),
        row.records,
        Standing(row.rdp_order, row.rdp, bool(row.closed)),
    )


def _run(row: sa.Row[Any]) -> Run:
    return Run(
        id=row.id,
        accounts=tuple(json.loads(row.accounts)),
        dataset=row.dataset,
        plan=Plan(row.noise_multiplier, row.sampling_rate, row.planned),
        leased=row.leased,
        token=row.token,
        settled=bool(row.settled),
    )
