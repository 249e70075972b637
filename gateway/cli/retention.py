"""`sealgate audit seal`, `prune`, `hold`, `content`, `shred`: how long what is kept stays."""

import json
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from audit import forgetting, holds, segments
from audit import retention as keeping
from audit.errors import ContentUnknown
from gateway import keeping as keeping_text
from gateway.cli.output import (
    HomeOption,
    JsonOption,
    YesOption,
    confirm,
    print_json,
    print_lines,
    print_table,
    write_file,
)
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


def prune(
    month: MonthArgument,
    *,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop the entries up to the end of a sealed month; their hashes stay, and every proof."""
    confirm(f"This drops every entry up to the end of {month} from the log.", yes=yes)
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
        holds.require_unused(session.engine, name)
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
        holds.require_in_force(session.engine, name)
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


def content(
    request: Annotated[str | None, typer.Argument(help="Request whose text it is.")] = None,
    *,
    subject: Annotated[
        str | None,
        typer.Option(help="Pseudonym, or `tenant/NAME`, in place of a request."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decrypt text that is kept, a JSON line each; that you read it is an entry first."""
    if (request is None) == (subject is None):
        raise SettingsInvalid("Name a request, or a subject with --subject.")
    with opened(home) as session:
        place = keeping_text.contents(session.engine, session.keyring)
        found = place.listed(subject=subject, request_id=request)
        if not found:
            raise ContentUnknown("Nothing is kept of it: it expired, was shredded, or never was.")
        asked = {"request": request} if subject is None else {"subject": subject}
        session.record_access("content.read", asked | {"found": len(found)})
        lines = [
            json.dumps(
                {"request": name, "kind": kind, "text": place.read(name, kind).decode()},
                ensure_ascii=False,
            )
            for name, kind in found
        ]
    if out is not None:
        write_file(out, "".join(f"{line}\n" for line in lines).encode())
        _told({"out": str(out), "contents": len(lines)}, f"Wrote {out}.", as_json=as_json)
    elif as_json:
        print_json({"data": [json.loads(line) for line in lines]})
    else:
        print_lines(*lines)


def expire(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Delete kept text whose term is over; a serving gateway does so by itself."""
    with opened(home) as session:
        done = keeping_text.expire(session.engine, session.submit)
    _told(asdict(done), f"Deleted {done.contents} contents.", as_json=as_json)


def shred(
    subject: Annotated[str, typer.Argument(help="Pseudonym whose kept content goes.")],
    *,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a person's key and kept content for good; the log holds digests and verifies."""
    confirm(f"This deletes the key and all kept text of {subject}.", yes=yes)
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
