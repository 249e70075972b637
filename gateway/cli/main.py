"""`sealgate`: one file a command group, one place for errors."""

import sys

import click
import typer

from gateway.cli import (
    audit,
    budget,
    clients,
    demo,
    doctor,
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
    help="A secure, compliant inference gateway. Start with `sealgate init`, or `sealgate demo`.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(clients.app, name="clients")
app.add_typer(keys.app, name="keys")
app.add_typer(policy.app, name="policy")
app.add_typer(watermark.app, name="watermark")
app.add_typer(receipt.app, name="receipt")
app.add_typer(audit.app, name="audit")
app.add_typer(report.app, name="report")
app.add_typer(incident.app, name="incident")
app.add_typer(route.app, name="route")
app.add_typer(insight.app, name="insight")
app.add_typer(train.app, name="train")
app.add_typer(budget.app, name="budget")


def main() -> None:
    """Run one command; every known failure is one line on standard error and its exit code."""
    # A command may hold an open keyring, a gateway requests: neither is in a core file, nor for
    # the account's other processes to read.
    forbid_dumps()
    try:
        app()
    except KNOWN as error:
        click.echo(f"sealgate: {error}", err=True)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
