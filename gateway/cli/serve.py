"""`sealgate serve`: answer requests until told to stop."""

from typing import Annotated

import typer

from gateway.cli.output import HomeOption, JsonOption
from gateway.cli.standing import Wanted, stand


def serve(
    *,
    home: HomeOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the home's models. Prints one line when ready; SIGTERM or Ctrl-C stops it."""
    stand(Wanted(home, host, port, as_json))
