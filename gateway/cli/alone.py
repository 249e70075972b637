"""`sealgate serve` by itself: a process that serves for months imports no other command.

The other commands build models, draw reports and train; what they import takes 25 MB.
"""

import os
import sys
from collections.abc import Sequence

from gateway.cli.errors import KNOWN, exit_code
from gateway.cli.standing import plain, stand
from sandbox.confinement import forbid_dumps


def main() -> None:
    """Serve; every known failure is one line on standard error and its exit code."""
    forbid_dumps()
    try:
        wanted = plain(sys.argv[2:])
        if wanted is None:
            _read_by_typer()
        else:
            stand(wanted)
    except KNOWN as error:
        sys.stderr.write(f"sealgate: {error}\n")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        # Before there is anything to stop: what serves hears of it by a signal's handler.
        sys.stderr.write("Aborted.\n")
        sys.exit(1)


def _read_by_typer() -> None:
    """Serve as any command line says, or say what is wrong with it."""
    import typer  # noqa: PLC0415 - as `gateway.cli.standing` says.

    from gateway.cli.serve import serve  # noqa: PLC0415

    app = typer.Typer(name="sealgate", add_completion=False, pretty_exceptions_enable=False)
    app.command("serve")(serve)

    @app.callback()
    def root() -> None:
        """A secure, compliant inference gateway."""

    app()


def meant(arguments: Sequence[str]) -> bool:
    """Return whether a command line is to serve, and not to be told how."""
    return arguments[:1] == ["serve"] and "--help" not in arguments


def become() -> None:
    """Begin anew as the process that serves alone; it keeps this one's id and terminal."""
    # -P: nothing that happens to lie in the working directory is taken for the package.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "gateway", *sys.argv[1:]])  # noqa: S606 - ourselves.
