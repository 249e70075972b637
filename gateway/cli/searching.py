"""`sealgate audit search`, `disclosures` and `export`: each is an entry before it is shown."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from audit import evidence, exports, files
from audit.publication import publish
from audit.search import Query, disclosures, search
from gateway import instants
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import opened
from gateway.errors import PeriodUnclear

FromOption = Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD in UTC.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD in UTC.")]


class Form(StrEnum):
    """What an export is written as."""

    OCSF = "ocsf"
    CSV = "csv"
    FHIR = "fhir"


_FORMS = {Form.OCSF: exports.ocsf, Form.CSV: exports.table, Form.FHIR: exports.fhir}


def search_entries(
    *,
    tenant: Annotated[str | None, typer.Option(help="Tenant.")] = None,
    start: FromOption = None,
    end: ToOption = None,
    actor: Annotated[str | None, typer.Option(help="A user's id or name.")] = None,
    decision: Annotated[
        str | None, typer.Option(help="`allowed`, `denied`, or the reason of a refusal.")
    ] = None,
    operation: Annotated[str | None, typer.Option(help="What was done.")] = None,
    pseudonym: Annotated[str | None, typer.Option(help="Whom it concerns.")] = None,
    request: Annotated[str | None, typer.Option(help="Request id.")] = None,
    after: Annotated[int, typer.Option(help="Only entries after this index.")] = -1,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most entries.")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for entries, oldest first."""
    start_ms, end_ms = period(start, end)
    query = Query(
        tenant=tenant,
        start_ms=start_ms,
        end_ms=end_ms,
        actor=actor,
        decision=decision,
        operation=operation,
        pseudonym=pseudonym,
        request_id=request,
        after=after,
        limit=limit,
    )
    with opened(home) as session:
        found = search(session.engine, query)
        asked = {name: value for name, value in asdict(query).items() if value is not None}
        session.record_access("audit.search", {"query": asked, "found": len(found.entries)})
    if as_json:
        data = [{"index": index, "event": event} for index, event in found.entries]
        print_json({"data": data, "after": found.more})
        return
    for index, event in found.entries:
        print_lines(f"{index} {json.dumps(event, ensure_ascii=False)}")
    if found.more is not None:
        print_lines(f"There may be more: --after {found.more}")


def account(
    pseudonym: Annotated[str, typer.Argument(help="Whom it concerns.")],
    *,
    start: FromOption = None,
    end: ToOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Account for what was disclosed of a person (45 CFR 164.528)."""
    start_ms, end_ms = period(start, end)
    with opened(home) as session:
        told = disclosures(session.engine, pseudonym, start_ms=start_ms, end_ms=end_ms)
        # In the detail alone: that somebody asked is no disclosure of its own.
        session.record_access("audit.disclosures", {"asked_for": pseudonym, "found": len(told)})
    if as_json:
        print_json({"pseudonym": pseudonym, "data": [asdict(each) for each in told]})
        return
    print_table(
        ("when", "to whom", "what", "why", "entry"),
        [
            (
                instants.written(each.time_ms),
                each.recipient,
                each.what,
                each.purpose,
                str(each.index),
            )
            for each in told
        ],
    )


def export(
    *,
    form: Annotated[Form, typer.Option("--format", help="OCSF lines, CSV, or FHIR bundle.")] = (
        Form.OCSF
    ),
    start: FromOption = None,
    end: ToOption = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    tiles: Annotated[
        Path | None,
        typer.Option(help="Directory to bring up to date with the log's tiles instead."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the log's events, or the log as tiles, for other systems."""
    start_ms, end_ms = period(start, end)
    with opened(home) as session:
        kind = "tiles" if tiles is not None else form.value
        session.record_access(
            "audit.export", {"format": kind, "from_ms": start_ms, "to_ms": end_ms}
        )
        if tiles is not None:
            size = publish(session.engine, tiles)
            _told(as_json, f"{tiles} holds the log of {size} entries.", out=tiles, form=kind)
            return
        events = evidence.events(session.engine, start_ms=start_ms, end_ms=end_ms)
        chunks = _FORMS[form](events)
        if out is not None:
            files.write(out, (chunk.encode() for chunk in chunks))
            _told(as_json, f"Wrote {out}.", out=out, form=kind)
        else:
            _print(chunks)


def period(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return a period's first millisecond and the first one after it.

    Raises:
        PeriodUnclear: A day is none, or the last one lies before the first.
    """
    first = _day(start) if start else None
    after = _day(end) + timedelta(days=1) if end else None
    if first and after and first >= after:
        raise PeriodUnclear("The last day lies before the first.")
    return _ms(first), _ms(after)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise PeriodUnclear(f"{text!r} is no day. Write it as 2026-01-31.") from None


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else instants.milliseconds(moment)


def _print(chunks: Iterable[str]) -> None:
    for chunk in chunks:
        typer.echo(chunk, nl=False)


def _told(as_json: bool, line: str, *, out: Path, form: str) -> None:  # noqa: FBT001 - The command's own option.
    if as_json:
        print_json({"out": str(out), "format": form})
    else:
        print_lines(line)
