"""`sealgate serve`: answer requests until told to stop."""

from typing import Annotated

import typer

from gateway import home as homes
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines
from gateway.custody import secret
from gateway.lines import configure
from gateway.server import serve as serve_until_stopped
from gateway.settings import load


def serve(
    *,
    home: HomeOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the home's models. Prints one line when ready; SIGTERM or Ctrl-C stops it."""
    settings = load(home=home, host=host, port=port)
    configure(settings.log_format)
    # Nobody is asked for the passphrase of a home that is not there.
    homes.existing(settings.home)

    def ready(url: str) -> None:
        if as_json:
            print_json({"ready": True, "url": url})
        else:
            print_lines(f"Sealgate is ready at {url}")

    serve_until_stopped(settings, secret(settings), ready=ready)
