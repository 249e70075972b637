"""`sealgate serve` by itself: a process that serves for months imports no other command.

The other commands build models, draw reports and train; what they import takes 25 MB.
"""

import os
import sys
from collections.abc import Sequence

import click
import typer

from gateway.cli import serve
from gateway.cli.errors import KNOWN, exit_code
from sandbox.confinement import forbid_dumps

app = typer.Typer(name="sealgate", add_completion=False, pretty_exceptions_enable=False)
app.command("serve")(serve.serve)


@app.callback()
def root() -> None:
    """A secure, compliant inference gateway."""


def main() -> None:
    """Serve; every known failure is one line on standard error and its exit code."""
    forbid_dumps()
    try:
        app()
    except KNOWN as error:
        click.echo(f"sealgate: {error}", err=True)
        sys.exit(exit_code(error))


def meant(arguments: Sequence[str]) -> bool:
    """Return whether a command line is to serve, and not to be told how."""
    return arguments[:1] == ["serve"] and "--help" not in arguments


def become() -> None:
    """Begin anew as the process that serves alone; it keeps this one's id and terminal."""
    # -P: nothing that happens to lie in the working directory is taken for the package.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "gateway", *sys.argv[1:]])  # noqa: S606 - ourselves.
