"""What a command reads and prints: text for people, one JSON value with `--json`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gateway.errors import FileUnreadable, FileUnwritable, Unconfirmed

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Directory with all state.", envvar="SEALGATE_HOME"),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask whether you mean it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def print_json(data: Any) -> None:
    """Print one JSON value on standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def print_lines(*lines: str) -> None:
    """Print plain lines, unwrapped, so that they can be copied and cut."""
    for line in lines:
        typer.echo(line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    table = Table(header_style="bold")
    for column in columns:
        # A digest that is cut off is no digest.
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def note(message: str) -> None:
    """Tell a person what goes on, on standard error."""
    typer.echo(message, err=True)


def confirm(what: str, *, yes: bool) -> None:
    """Ask a person whether they mean it, before something is gone for good.

    Raises:
        Unconfirmed: They do not, or nobody is there to be asked and `--yes` was not given.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Unconfirmed(f"{what} This cannot be undone: give --yes if you mean it.")
    if not typer.confirm(f"{what} This cannot be undone. Go on?", err=True):
        raise Unconfirmed("Nothing was done.")


@contextmanager
def progress(label: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show on standard error how far long work is; yields what to tell, how many are done.

    Shows nothing where standard error is no terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.update(task, completed=done)


def read_file(path: Path, *, limit_bytes: int | None = None) -> bytes:
    """Return a file's bytes, or standard input's for `-`.

    Raises:
        FileUnreadable: It cannot be read, or holds more than `limit_bytes`.
    """
    most = -1 if limit_bytes is None else limit_bytes + 1
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(most)
        else:
            with path.open("rb") as file:
                content = file.read(most)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.") from None
    if limit_bytes is not None and len(content) > limit_bytes:
        raise FileUnreadable(f"{path} holds more than {limit_bytes} bytes. Give a part of it.")
    return content


def write_file(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        FileUnwritable: It cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise FileUnwritable(f"{path} cannot be written: {error.strerror}.") from None
