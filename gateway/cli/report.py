"""`sealgate report`: the log turned into evidence for a framework's controls, and checked again.

pyHanko takes most of a second to import, so only what signs or verifies imports it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audit.errors import LogTampered
from gateway.cli import schedules
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, write_file
from gateway.cli.report_check import Demand, checked, key_of, report_key, trusted_keys
from gateway.cli.report_facts import facts
from gateway.cli.session import Session, inspected, opened, recording
from gateway.cli.trust import log_keys
from gateway.report_making import DAY, Assignment, Made, Source, day, make, write
from gateway.report_rows import maker
from gateway.report_shelf import Shelf

app = typer.Typer(
    help="Compliance reports: generate, verify, certificate, schedule.", no_args_is_help=True
)
app.add_typer(schedules.app, name="schedule")


@dataclass(frozen=True, slots=True)
class Written:
    """A report on disk, signed, with what is attached to it beside it.

    counts: controls of each verdict. log_problem: None if the log verifies.
    """

    pdf: Path
    twins: tuple[Path, ...]
    counts: Mapping[str, int]
    log_problem: str | None


@app.command()
def generate(
    *,
    framework: Annotated[str, typer.Option(help="Catalogue of controls.")] = "hipaa",
    start: Annotated[
        str | None, typer.Option("--from", help="First day, YYYY-MM-DD in UTC; the log's first.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Last day, YYYY-MM-DD in UTC; until now.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="PDF to write; its attachments go beside it as JSON.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine every control over a period, write and sign the PDF.

    Exit code 1 if the log is tampered.
    """
    assignment = Assignment(framework, day(start) if start else None, _end(end))
    with inspected(home) as session:
        made, written = _written(session, assignment, out)
        unrecorded = _recorded(session, made, written.pdf)
        if out is None and unrecorded is None:
            _shelve(session, assignment, made, written.pdf)
    if as_json:
        print_json(
            {
                "report_path": str(written.pdf),
                "summary_path": str(written.twins[0]),
                "attachment_paths": [str(each) for each in written.twins],
                "counts": dict(written.counts),
                "log_verified": written.log_problem is None,
                "recorded": unrecorded is None,
            }
        )
    else:
        print_lines(
            *(f"{verdict:<14}{number:>4}" for verdict, number in written.counts.items()),
            f"Wrote {written.pdf}",
        )
    problem = written.log_problem or unrecorded
    if problem is not None:
        raise LogTampered(
            f"{problem} The report says so on every page it matters"
            + ("." if unrecorded is None else ", and its making is not on record.")
        )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="PDF that `sealgate report generate` wrote.")],
    *,
    framework: Annotated[str | None, typer.Option(help="Framework it must be of.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="First day it must cover, YYYY-MM-DD.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Last day it must cover, YYYY-MM-DD.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="The report key's certificate. No home is needed then, and no log read."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a report: signature, whole file, and every figure made again from the log.

    Exit code 1 if the file was changed, another key signed it, or the log gives other figures.
    JSON files of the same name beside it must say the same.
    """
    demand = Demand(framework, start and f"{day(start):%Y-%m-%d}", end and f"{day(end):%Y-%m-%d}")
    if certificate is not None:
        found = checked(file, public_keys=[key_of(certificate)], demand=demand)
    else:
        with opened(home) as session:
            keys = trusted_keys(session)
            found = checked(file, public_keys=keys, demand=demand, session=session)
            session.record_access("report.verify", {"file": file.name})
    if as_json:
        print_json(found.shown())
    else:
        print_lines(*found.told())


@app.command("certificate")
def print_certificate(
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output if absent.")] = (
        None
    ),
    home: HomeOption = None,
) -> None:
    """Print the certificate that others check this deployment's reports with, in PEM."""
    from audit.report.certificate import armoured, issue  # noqa: PLC0415 - see above

    with opened(home) as session:
        text = armoured(issue(report_key(session)))
    if out is None:
        print_lines(text.rstrip("\n"))
    else:
        write_file(out, text.encode())
        print_lines(f"Wrote {out}")


def write_report(session: Session, assignment: Assignment, *, out: Path | None = None) -> Written:
    """Examine the log over a period, write the signed PDF, and record that it was done.

    Raises:
        ControlsError: There is no such framework, or the period is empty.
        LogUnavailable: The log cannot be read, or the report cannot be recorded.
    """
    made, written = _written(session, assignment, out)
    session.record("report.generated", _detail(made, written.pdf))
    return written


def _written(session: Session, assignment: Assignment, out: Path | None) -> tuple[Made, Written]:
    now = datetime.now(UTC)
    source = Source(session.engine, log_keys(session), facts(session), session.home.archive)
    made = make(assignment, source, key=report_key(session), now=now)
    pdf = out or session.home.reports / f"{made.framework}-{now:%Y%m%dT%H%M%SZ}.pdf"
    return made, Written(pdf, write(made, pdf), made.counts, made.problem)


def _recorded(session: Session, made: Made, pdf: Path) -> str | None:
    """Record a report, or return why a log that was tampered with takes no entry."""
    try:
        with recording(session):
            session.record("report.generated", _detail(made, pdf))
    except LogTampered as error:
        return str(error)
    return None


def _shelve(session: Session, assignment: Assignment, made: Made, pdf: Path) -> None:
    """Let the routes of a serving gateway list and fetch it too."""
    Shelf(session.engine).enter(
        made.framework,
        start=assignment.start,
        end=assignment.end,
        requested_by="operator",
        maker=maker(session.home.path),
        now=datetime.now(UTC),
        file=pdf.name,
        sha256=made.sha256,
        told={"counts": dict(made.counts), "log_size": made.log_size, "problem": made.problem},
    )


def _detail(made: Made, pdf: Path) -> dict[str, Any]:
    return {
        "framework": made.framework,
        "file": pdf.name,
        "sha256": made.sha256,
        "log_size": made.log_size,
    }


def _end(last: str | None) -> datetime | None:
    return day(last) + DAY if last else None
