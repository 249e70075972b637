"""`sealgate watermark`: whose text is this? Offline, against the home."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import logbook
from gateway.cli.errors import FAILED, USAGE
from gateway.cli.models import tokenizers
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, read_file
from gateway.cli.session import Session, opened
from gateway.fingerprints import Fingerprints
from gateway.marking import PURPOSE
from gateway.provenance import Passage, Reader, Trace, trace
from gateway.tiers import load

app = typer.Typer(help="Watermarks: verify.", no_args_is_help=True)
# Far more than is read of a text; a device or a pipe may have no end.
LIMIT_BYTES = 64 << 20
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
    """Trace a text to its requests. Exit code 1 if it carries no trace, 2 if it is too short."""
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
    # Bytes that are no text carry no mark; what is text around them may.
    return read_file(file, limit_bytes=LIMIT_BYTES).decode("utf-8", errors="replace")


def _trace(session: Session, text: str) -> Trace:
    return trace(
        text,
        log=session.engine,
        readers=_readers(session),
        derive=session.keyring.derive,
        epochs=session.keyring.epochs(PURPOSE),
        tenants=sorted({c.tenant for c in session.credentials().list()}),
        fingerprints=Fingerprints(session.engine, session.keyring),
    )


def _readers(session: Session) -> list[Reader]:
    """Return every tokeniser that a marked text may have been written in."""
    own = [Reader(model_id, each) for model_id, each in tokenizers(session).items()]
    tables = [(table, table.tokenizer()) for table in load(session.settings.tiers_file).remote]
    return own + [Reader(table.serves, each, table.name) for table, each in tables if each]


def _lines(found: Trace) -> list[str]:
    if not found.passages:
        bound = f" (p <= {found.p_value:.2g})" if found.p_value < 1 else ""
        similar = [
            f"similar   {each.request_id} of {each.tenant}: {each.share:.0%} of its wording"
            for each in found.similar
        ]
        return [f"{found.verdict}: {found.reason}{bound}", *similar]
    lines = [line for passage in found.passages for line in _passage_lines(passage)]
    return [*lines, found.reason] if found.reason else lines


def _passage_lines(passage: Passage) -> list[str]:
    return [
        f"request   {', '.join(passage.request_ids)}",
        f"tenant    {passage.tenant}",
        f"model     {passage.model_id}",
        f"p-value   {passage.p_value:.2g} ({passage.mode})",
        f"span      characters {passage.start} to {passage.end}",
    ]
