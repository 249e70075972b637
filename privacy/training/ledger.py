"""The budget ledger: who used which records, how much that may have leaked, and what is left.

Reserve the whole plan before step 0, lease steps before they are made, settle at the end. What is
leased is charged, whether or not the step was made: a crash or a restored checkpoint refunds
nothing. The rules are in docs/formats/ledger-v1.md; the arithmetic is filtering.py's.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from privacy.training import belonging, entries, replay, tables
from privacy.training.entries import Head, Signer
from privacy.training.errors import (
    AccountUnknown,
    BudgetExhausted,
    LeaseFenced,
    LedgerRolledBack,
    PlanExhausted,
    PlanInvalid,
    RunSettled,
    RunUnknown,
)
from privacy.training.filtering import Admission, Budget, admit
from privacy.training.fingerprints import Membership
from privacy.training.mechanism import Plan, rdp_per_step
from privacy.training.replay import Account, Run, Stored


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to make a run's steps. token: of this holder; a later holder fences it out."""

    run_id: str
    token: int
    plan: Plan
    leased: int
    dataset: str

    @property
    def left(self) -> int:
        """How many steps can still be leased."""
        return self.plan.steps - self.leased


class Ledger:
    """One ledger in a database. Every method is one transaction; safe between processes."""

    def __init__(
        self, engine: sa.Engine, *, signer: Signer, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._signer = signer
        self._clock = clock

    def close(self) -> None:
        """Let go of the database's connections."""
        self._engine.dispose()

    def reserve(
        self,
        plan: Plan,
        *,
        members: Membership,
        name: str,
        budget: Budget,
        epsilon: float,
        delta: float,
    ) -> Reservation:
        """Charge a whole plan to every account whose records it uses, and open the run.

        name, budget: for records that no account holds yet; known records keep theirs.
        epsilon, delta: the plan's certified cost.

        Raises:
            PlanInvalid: Delta is not below one over the number of records.
            BudgetExhausted: An account does not cover it; the message shows what is left.
            LedgerTampered: The ledger does not verify.
        """
        _require_delta(max(delta, budget.delta), members.records)
        # 1. Nobody else writes. 2. What the ledger says is what was signed.
        with tables.writing(self._engine) as connection:
            replay.verified(connection, signer=self._signer)
            # 3. Every record belongs to one account; new ones get an account of this name.
            ids, opened = belonging.accounts(connection, members, name=name, budget=budget)
            for entry in opened:
                self._write(connection, entry)
            accounts = [Stored(connection).account(account_id) for account_id in ids]
            # 4. Every account must admit the whole plan, or nothing of this happened.
            admitted = {a.id: _admitted(a, plan, epsilon=epsilon, delta=delta) for a in accounts}
            # 5. Charge and open.
            entry = {
                "kind": "reserve",
                "run": f"run_{secrets.token_hex(8)}",
                "dataset": members.root,
                "plan": asdict(plan),
                "event": plan.event(),
                "epsilon": epsilon,
                "delta": delta,
                "charges": [{"account": key, **asdict(how)} for key, how in admitted.items()],
            }
            self._write(connection, entry)
            return _reservation(Stored(connection).run(str(entry["run"])))

    def resume(self, run_id: str, *, since: Head | None = None) -> Reservation:
        """Take a run over: whoever held it is fenced out. Nothing is refunded.

        since: a head that was read before; the ledger must still contain it.

        Raises:
            RunUnknown, RunSettled: There is nothing to resume.
            LedgerRolledBack: The ledger lost what it had said by `since`.
        """
        with tables.writing(self._engine) as connection:
            replay.verified(connection, signer=self._signer)
            if since is not None and entries.hash_at(connection, since.size) != since.hash:
                raise LedgerRolledBack(
                    "The ledger lost entries that the checkpoint was written after. Restore it."
                )
            run = _open_run(connection, run_id)
            self._write(connection, {"kind": "resume", "run": run.id, "token": run.token + 1})
            return _reservation(Stored(connection).run(run.id))

    def lease(self, reservation: Reservation, steps: int) -> Reservation:
        """Charge the next steps, durably, before they are made.

        Raises:
            LeaseFenced: Another process holds the run.
            PlanExhausted: The plan has fewer steps left.
        """
        with tables.writing(self._engine) as connection:
            run = _held_run(connection, reservation)
            leased = run.leased + steps
            if steps < 1 or leased > run.plan.steps:
                raise PlanExhausted(
                    f"{run.id} planned {run.plan.steps} steps and {run.leased} are charged. "
                    "Reserve a new run for more."
                )
            entry = {"kind": "lease", "run": run.id, "token": run.token, "leased": leased}
            self._write(connection, entry)
            return _reservation(Stored(connection).run(run.id))

    def settle(self, reservation: Reservation) -> Head:
        """Close a run: steps never leased are refunded, and no more will be made."""
        with tables.writing(self._engine) as connection:
            return self._settle(connection, _held_run(connection, reservation))

    def release(self, run_id: str) -> Head:
        """Settle a run whose holder is gone; if it is not, it is fenced out."""
        with tables.writing(self._engine) as connection:
            return self._settle(connection, _open_run(connection, run_id))

    def note(self, about: str, content: Mapping[str, Any]) -> Head:
        """Append an entry that charges nothing, such as a certificate's digest."""
        with tables.writing(self._engine) as connection:
            return self._write(
                connection, {"kind": "note", "about": about, "content": dict(content)}
            )

    def head(self) -> Head:
        """Return how far the ledger goes."""
        with tables.told(), self._engine.begin() as connection:
            return entries.head(connection)

    def contains(self, head: Head) -> bool:
        """Say whether the ledger once ended at `head`."""
        with tables.told(), self._engine.begin() as connection:
            return entries.hash_at(connection, head.size) == head.hash

    def verify(self) -> Head:
        """Check the whole chain and everything that is derived from it.

        Raises:
            LedgerTampered: Something was changed from outside; the message names it.
        """
        with tables.told(), self._engine.begin() as connection:
            replay.verified(connection, signer=self._signer)
            return entries.head(connection)

    def accounts(self) -> list[Account]:
        """List every budget."""
        with tables.told(), self._engine.begin() as connection:
            return replay.accounts(connection)

    def account(self, name: str) -> Account:
        """Return the budget of that name or id.

        Raises:
            AccountUnknown: There is none.
        """
        for account in self.accounts():
            if name in (account.id, account.name):
                return account
        raise AccountUnknown(f"No budget is called {name!r}. See `sealgate budget list`.")

    def runs(self) -> list[Run]:
        """List every run."""
        with tables.told(), self._engine.begin() as connection:
            return replay.runs(connection)

    def _settle(self, connection: sa.Connection, run: Run) -> Head:
        accounts = [Stored(connection).account(account_id) for account_id in run.accounts]
        refunds = [
            {"account": a.id, "rdp": _unleased(run, a)} for a in accounts if not a.standing.closed
        ]
        # The token moves, so that a holder that still runs is fenced out.
        entry = {"kind": "settle", "run": run.id, "token": run.token + 1, "refunds": refunds}
        return self._write(connection, entry)

    def _write(self, connection: sa.Connection, content: Mapping[str, Any]) -> Head:
        """Append an entry and let it have its effect."""
        stamped = {**content, "time_s": int(self._clock())}
        head = entries.append(connection, stamped, signer=self._signer)
        replay.apply(stamped, Stored(connection))
        return head


def _require_delta(delta: float, records: int) -> None:
    if records < 1:
        raise PlanInvalid("The dataset has no records.")
    if delta >= 1 / records:
        raise PlanInvalid(
            f"Delta {delta:g} is not below 1/{records}: such a run may publish whole records. "
            "Choose a smaller delta."
        )


def _admitted(account: Account, plan: Plan, *, epsilon: float, delta: float) -> Admission:
    found = admit(
        plan, budget=account.budget, standing=account.standing, epsilon=epsilon, delta=delta
    )
    if found is None:
        raise BudgetExhausted(
            f"The budget {account.name!r} does not cover this run of ε {epsilon:.3g} at "
            f"δ {delta:g}: {account.left:.0%} of its ε {account.budget.epsilon:g} at "
            f"δ {account.budget.delta:g} is left. Plan a smaller run, or use other records."
        )
    return found


def _unleased(run: Run, account: Account) -> float:
    order = account.standing.order or 0
    return (run.plan.steps - run.leased) * rdp_per_step(run.plan, order)


def _held_run(connection: sa.Connection, reservation: Reservation) -> Run:
    # The token first: a run that was settled for a holder who was thought gone fences it too.
    run = _run(connection, reservation.run_id)
    if run.token != reservation.token:
        raise LeaseFenced(f"Another process took {run.id} over. This one must stop.")
    return _open_run(connection, reservation.run_id)


def _open_run(connection: sa.Connection, run_id: str) -> Run:
    run = _run(connection, run_id)
    if run.settled:
        raise RunSettled(f"{run_id} is settled. Start a new run.")
    return run


def _run(connection: sa.Connection, run_id: str) -> Run:
    for run in replay.runs(connection):
        if run.id == run_id:
            return run
    raise RunUnknown(f"The ledger knows no run {run_id!r}. See `sealgate budget show`.")


def _reservation(run: Run) -> Reservation:
    return Reservation(run.id, run.token, run.plan, run.leased, run.dataset)
