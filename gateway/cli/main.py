"""`sealgate`: one file a command group, one place for errors."""

import sys
from importlib.metadata import version
from typing import Annotated

import click
import typer

from gateway.cli import (
    alone,
    audit,
    budget,
    clients,
    demo,
    doctor,
    examples,
    incident,
    init,
    insight,
    keys,
    models,
    policy,
    receipt,
    report,
    route,
    serve,
    train,
    watermark,
)
from gateway.cli.errors import KNOWN, exit_code
from sandbox.confinement import forbid_dumps

app = typer.Typer(
    name="sealgate",
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
RUNNING, EVIDENCE, KEEPING = "Run it", "Show what it did", "Keep keys, models and budgets"


@app.callback()
def root(
    *,
    shown: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A secure, compliant inference gateway. Start with `sealgate init`, or `sealgate demo`."""
    if shown:
        typer.echo(f"sealgate {version('sealgate')}")
        raise typer.Exit


app.command("init", rich_help_panel=RUNNING)(init.init)
app.command("serve", rich_help_panel=RUNNING)(serve.serve)
app.command("demo", rich_help_panel=RUNNING)(demo.demo)
app.command("doctor", rich_help_panel=RUNNING)(doctor.doctor)
app.add_typer(models.app, name="models", rich_help_panel=KEEPING)
app.add_typer(clients.app, name="clients", rich_help_panel=KEEPING)
app.add_typer(keys.app, name="keys", rich_help_panel=KEEPING)
app.add_typer(policy.app, name="policy", rich_help_panel=RUNNING)
app.add_typer(watermark.app, name="watermark", rich_help_panel=EVIDENCE)
app.add_typer(receipt.app, name="receipt", rich_help_panel=EVIDENCE)
app.add_typer(audit.app, name="audit", rich_help_panel=EVIDENCE)
app.add_typer(report.app, name="report", rich_help_panel=EVIDENCE)
app.add_typer(incident.app, name="incident", rich_help_panel=EVIDENCE)
app.add_typer(route.app, name="route", rich_help_panel=RUNNING)
app.add_typer(insight.app, name="insight", rich_help_panel=RUNNING)
app.add_typer(train.app, name="train", rich_help_panel=KEEPING)
app.add_typer(budget.app, name="budget", rich_help_panel=KEEPING)


def main() -> None:
    """Run one command; every known failure is one line on standard error and its exit code."""
    if alone.meant(sys.argv[1:]):
        alone.become()
    # A command may hold an open keyring, a gateway requests: neither is in a core file, nor for
    # the account's other processes to read.
    forbid_dumps()
    command = typer.main.get_command(app)
    examples.show(command)
    try:
        command()
    except KNOWN as error:
        click.echo(f"sealgate: {error}", err=True)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
