"""What `sealgate serve` does, and its plain command lines: without what reads any command line.

That takes 4 MB for as long as a gateway serves. Whatever is not plain is left to it, which also
says what is wrong.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import home as homes
from gateway.custody import secret
from gateway.lines import configure
from gateway.server import serve
from gateway.settings import load

_NAMES = ("--home", "--host", "--port")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to serve; None is for whatever the settings say. as_json: how to say that it is ready."""

    home: Path | None = None
    host: str | None = None
    port: int | None = None
    as_json: bool = False


def stand(wanted: Wanted) -> None:
    """Serve until told to stop.

    Raises:
        Exception: Whatever a command may fail with.
    """
    settings = load(home=wanted.home, host=wanted.host, port=wanted.port)
    configure(settings.log_format)
    # Nobody is asked for the passphrase of a home that is not there.
    homes.existing(settings.home)

    def ready(url: str) -> None:
        told = json.dumps({"ready": True, "url": url})
        sys.stdout.write(f"{told if wanted.as_json else f'Sealgate is ready at {url}'}\n")
        sys.stdout.flush()

    serve(settings, secret(settings), ready=ready)


def plain(arguments: Sequence[str]) -> Wanted | None:
    """Read what follows `serve`, or return None where that is not plain `--name value`."""
    found: dict[str, str] = {}
    as_json, left = False, list(arguments)
    while left:
        name = left.pop(0)
        if name == "--json" and not as_json:
            as_json = True
        elif name in _NAMES and name not in found and left and not left[0].startswith("-"):
            found[name] = left.pop(0)
        else:
            return None
    port = found.get("--port")
    if port is not None and not (port.isascii() and port.isdecimal()):
        return None
    home = found.get("--home")
    return Wanted(
        None if home is None else Path(home),
        found.get("--host"),
        None if port is None else int(port),
        as_json,
    )
