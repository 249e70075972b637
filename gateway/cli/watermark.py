"""`sealgate watermark`: whose text is this? Offline, against the home."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import logbook
from gateway.cli.errors import FAILED, USAGE
from gateway.cli.models import tokenizers
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, read_file
from gateway.cli.session import Session, opened
from gateway.errors import FileUnreadable
from gateway.marking import PURPOSE
from gateway.provenance import Trace, trace

app = typer.Typer(help="Watermarks: verify.", no_args_is_help=True)
_EXIT_CODES = {"traced": 0, "no_trace": FAILED, "too_short": USAGE}


@app.callback()
def watermark() -> None:
    """Keep `verify` a subcommand."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Text in UTF-8; `-` is standard input.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a text to its request. Exit code 1 if it carries no trace, 2 if it is too short."""
    text = _text(file)
    with opened(home) as session:
        found = _trace(session, text)
        # An answer that is not recorded is not given.
        session.record_access(
            "provenance.verify",
            logbook.traced(
                verdict=found.verdict, traced_request=found.request_id, p_value=found.p_value
            ),
        )
    if as_json:
        print_json(found.shown())
    else:
        print_lines(*_lines(found))
    raise typer.Exit(_EXIT_CODES[found.verdict])


def _text(file: Path) -> str:
    try:
        return read_file(file).decode("utf-8")
    except UnicodeDecodeError:
        raise FileUnreadable(f"{file} is not text in UTF-8.") from None


def _trace(session: Session, text: str) -> Trace:
    return trace(
        text,
        log=session.engine,
        tokenizers=tokenizers(session),
        derive=session.keyring.derive,
        epochs=session.keyring.epochs(PURPOSE),
        tenants=sorted({c.tenant for c in session.credentials().list()}),
    )


def _lines(found: Trace) -> list[str]:
    if found.verdict == "too_short":
        return ["Too short to tell: no mark could be found in so few tokens."]
    if found.verdict == "no_trace":
        return [f"No trace of a request of this deployment (p >= {found.p_value:.2g})."]
    return [
        f"request   {', '.join(found.request_ids)}",
        f"tenant    {found.tenant}",
        f"model     {found.model_id}",
        f"p-value   {found.p_value:.2g} ({found.mode})",
        f"span      characters {found.start} to {found.end}",
    ]
