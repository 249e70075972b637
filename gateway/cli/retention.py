"""`sealgate audit seal`, `prune`, `hold`, `shred`: how long entries and content are kept."""

import time
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from audit import forgetting, holds, segments
from audit import retention as keeping
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import inspected, opened
from gateway.errors import SettingsInvalid

DAY_MS = 86_400_000
MonthArgument = Annotated[str, typer.Argument(help="Month, YYYY-MM in UTC.")]


class Scope(StrEnum):
    """What a legal hold covers."""

    ALL = "all"
    TENANT = "tenant"
    REQUEST = "request"
    SUBJECT = "subject"


def seal(month: MonthArgument, *, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Write a month that is over into files that verify alone."""
    with opened(home) as session:
        sealed = segments.seal(
            session.engine,
            month,
            directory=session.home.archive,
            origin=session.settings.origin,
            public_key=session.keyring.public_key("checkpoint"),
            sign=lambda message: session.keyring.sign("checkpoint", message),
            now_ms=_now_ms(),
        )
        detail = {"month": month, "start": sealed.start, "end": sealed.end}
        session.record("log.sealed", detail | {"sha256": sealed.sha256})
        path = session.home.archive / f"{month}.ndjson"
    if as_json:
        print_json(asdict(sealed) | {"out": str(path)})
    else:
        print_lines(f"Sealed the entries {sealed.start} to {sealed.end - 1} in {path}.")


def prune(month: MonthArgument, *, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Drop the entries up to the end of a sealed month; their hashes stay, and every proof."""
    with opened(home) as session:
        key = session.keyring.public_key("checkpoint")
        end = keeping.prune(
            session.engine,
            month,
            directory=session.home.archive,
            origin=session.settings.origin,
            public_key=key,
            earlier=session.keyring.history("checkpoint"),
            kept_from_ms=_now_ms() - session.settings.retention_days * DAY_MS,
            record=lambda end: session.record("log.pruned", {"month": month, "end": end}),
            now_ms=_now_ms(),
        )
    if as_json:
        print_json({"month": month, "end": end})
    else:
        print_lines(f"The entries before {end} are in their sealed months alone.")


def hold(
    name: Annotated[str, typer.Argument(help="The hold's own name, such as a case number.")],
    *,
    scope: Annotated[Scope, typer.Option(help="What it covers.")] = Scope.ALL,
    value: Annotated[str, typer.Option(help="Which tenant, request or subject.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Place a legal hold: what it covers is neither pruned nor shredded."""
    if (scope is Scope.ALL) != (value == ""):
        raise SettingsInvalid("--value names which tenant, request or subject; `all` has none.")
    with opened(home) as session:
        session.record("hold.placed", {"name": name, "scope": scope.value, "value": value})
        holds.place(session.engine, name, scope=scope.value, value=value, now_ms=_now_ms())
    _told({"name": name, "scope": scope.value, "value": value}, f"Placed {name}.", as_json=as_json)


def lift(
    name: Annotated[str, typer.Argument(help="The hold's name.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift a legal hold; it stays listed."""
    with opened(home) as session:
        session.record("hold.lifted", {"name": name})
        holds.lift(session.engine, name, now_ms=_now_ms())
    _told({"name": name}, f"Lifted {name}.", as_json=as_json)


def list_holds(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List legal holds."""
    with inspected(home) as session:
        placed = holds.listed(session.engine)
    if as_json:
        print_json({"data": [asdict(each) for each in placed]})
        return
    print_table(
        ("hold", "covers", "which", "state"),
        [
            (each.name, each.scope, each.value, "in force" if each.lifted_ms is None else "lifted")
            for each in placed
        ],
    )


def shred(
    subject: Annotated[str, typer.Argument(help="Pseudonym whose kept content goes.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a person's key and kept content for good; the log holds digests and verifies."""
    with opened(home) as session:
        done = forgetting.shred(
            session.engine,
            subject,
            record=lambda: session.record("subject.shredded", {"subject": subject}),
        )
    lingers = " The write-ahead log still has the deleted pages; it is being read." * done.lingers
    _told(
        asdict(done) | {"subject": subject},
        f"Shredded {done.contents} contents of {subject}.{lingers}",
        as_json=as_json,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _told(data: dict[str, object], line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        print_lines(line)
