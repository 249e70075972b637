"""`sealgate budget`: what each dataset's records may leak in all, and what is left of it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import Session, opened
from privacy.training.replay import Account, Run
from privacy.training.vault import Vault

DIRECTORY = "training"

app = typer.Typer(help="Privacy budgets: list, show, verify, release.", no_args_is_help=True)


@app.command("list")
def list_all(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the budgets and what is left of each."""
    with opened(home) as session, vault(session) as place:
        accounts = place.ledger.accounts()
    if as_json:
        print_json([_account(account) for account in accounts])
        return
    print_table(
        ("budget", "records", "epsilon", "delta", "spent at most", "left"),
        [
            (
                account.name,
                str(account.records),
                f"{account.budget.epsilon:g}",
                f"{account.budget.delta:g}",
                f"{account.spent:.3g}",
                f"{account.left:.0%}",
            )
            for account in accounts
        ],
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="As `sealgate budget list` shows it.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a budget and the runs that used its records."""
    with opened(home) as session, vault(session) as place:
        account = place.ledger.account(name)
        runs = [run for run in place.ledger.runs() if account.id in run.accounts]
    if as_json:
        print_json(_account(account) | {"runs": [_run(run) for run in runs]})
        return
    print_lines(
        f"{account.name}: {account.left:.0%} of ε {account.budget.epsilon:g} at "
        f"δ {account.budget.delta:g} is left, for {account.records} records"
    )
    print_table(
        ("run", "noise", "rate", "steps charged", "planned", "state"),
        [
            (
                run.id,
                f"{run.plan.noise_multiplier:.4g}",
                f"{run.plan.sampling_rate:.4g}",
                str(run.leased),
                str(run.plan.steps),
                "settled" if run.settled else "open",
            )
            for run in runs
        ],
    )


@app.command()
def verify(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check the ledger's whole chain and what it adds up to. Exit code 1 if tampered with."""
    with opened(home) as session, vault(session) as place:
        head = place.ledger.verify()
    if as_json:
        print_json({"verified": True, **head.plain()})
    else:
        print_lines(f"The ledger holds: {head.size} entries, head {head.hash.hex()}")


@app.command()
def release(
    run: Annotated[str, typer.Argument(help="A run whose process is gone for good.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Settle a run that will not go on: steps it never leased are refunded."""
    with opened(home) as session, vault(session) as place:
        expenses = Expenses(session, place)
        place.ledger.release(run)
        session.record("training.released", {"run": run})
        expenses.record()
    if as_json:
        print_json({"run": run, "settled": True})
    else:
        print_lines(f"Settled {run}.")


class Expenses:
    """Records in the log what each budget lost since the last time; what it got back, below 0."""

    def __init__(self, session: Session, place: Vault) -> None:
        self._session = session
        self._place = place
        self._told = {account.id: account.spent for account in place.ledger.accounts()}

    def record(self) -> None:
        """Record the changes; durable on return.

        Raises:
            LogUnavailable: They are not.
        """
        for account in self._place.ledger.accounts():
            changed = account.spent - self._told.get(account.id, 0.0)
            # Rounded up: what was spent may be told as more, never as less.
            if micro := math.ceil(changed * 1e6):
                self._session.record(
                    "budget.spent",
                    {
                        "budget": account.name,
                        "epsilon_micro": micro,
                        "limit_micro": math.floor(account.budget.epsilon * 1e6),
                    },
                )
            self._told[account.id] = account.spent


@contextmanager
def vault(session: Session) -> Iterator[Vault]:
    """Open the home's place for training."""
    place = Vault.open(session.home.path / DIRECTORY, keyring=session.keyring)
    try:
        yield place
    finally:
        place.close()


def _account(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "records": account.records,
        "epsilon": account.budget.epsilon,
        "delta": account.budget.delta,
        "spent_at_most": account.spent,
        "left": account.left,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "dataset": run.dataset,
        "noise_multiplier": run.plan.noise_multiplier,
        "sampling_rate": run.plan.sampling_rate,
        "steps_charged": run.leased,
        "steps_planned": run.plan.steps,
        "settled": run.settled,
    }
