"""`sealgate report`: the log turned into evidence for a framework's controls, and checked again.

pyHanko takes most of a second to import, so only what signs or verifies imports it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from audit import evidence
from audit.anchoring import anchored
from audit.controls.catalogue import load
from audit.controls.scope import LogState
from audit.errors import LogTampered
from audit.report.generate import Report, generate_report
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, write_file
from gateway.cli.report_check import (
    Demand,
    checked,
    key_of,
    report_key,
    trusted_keys,
    twin,
)
from gateway.cli.report_facts import facts
from gateway.cli.session import Session, opened
from gateway.cli.trust import verified_log, verifier_key
from gateway.errors import PeriodUnclear

app = typer.Typer(help="Compliance reports: generate, verify, certificate.", no_args_is_help=True)


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
    first = _day(start) if start else None
    last = _day(end) if end else None
    with opened(home) as session:
        written = write_report(session, framework=framework, start=first, last_day=last, out=out)
    if as_json:
        print_json(
            {
                "report_path": str(written.pdf),
                "summary_path": str(written.twins[0]),
                "attachment_paths": [str(each) for each in written.twins],
                "counts": dict(written.counts),
                "log_verified": written.log_problem is None,
            }
        )
    else:
        print_lines(
            *(f"{verdict:<14}{number:>4}" for verdict, number in written.counts.items()),
            f"Wrote {written.pdf}",
        )
    if written.log_problem is not None:
        raise LogTampered(f"{written.log_problem} The report says so on every page it matters.")


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
    demand = Demand(framework, start and f"{_day(start):%Y-%m-%d}", end and f"{_day(end):%Y-%m-%d}")
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


def write_report(
    session: Session,
    *,
    framework: str,
    start: datetime | None = None,
    last_day: datetime | None = None,
    out: Path | None = None,
) -> Written:
    """Examine the log over a period, write the signed PDF, and record that it was done.

    start, last_day: midnights in UTC; from the log's first entry, until now, where absent.

    Raises:
        ControlsError: There is no such framework, or the period is empty.
        LogUnavailable: The log cannot be read, or the report cannot be recorded.
    """
    now = datetime.now(UTC)
    # Said before a log of millions is verified for nothing.
    load(framework)
    log, first_ms = _log_state(session)
    report = generate_report(
        framework=framework,
        start=start or _moment(first_ms, now),
        end=last_day + timedelta(days=1) if last_day else now,
        events=_readable(session),
        log=log,
        system=facts(session),
        now=now,
        version=version("sealgate"),
    )
    pdf = out or session.home.reports / f"{framework}-{now:%Y%m%dT%H%M%SZ}.pdf"
    signed = _signed(report, session, now)
    write_file(pdf, signed)
    twins = tuple(twin(pdf, name) for name in report.attachments)
    for path, content in zip(twins, report.attachments.values(), strict=True):
        write_file(path, (json.dumps(json.loads(content), indent=1) + "\n").encode())
    session.record(
        "report.generated",
        {
            "framework": framework,
            "file": pdf.name,
            "sha256": hashlib.sha256(signed).hexdigest(),
            "log_size": log.size,
        },
    )
    return Written(pdf, twins, report.summary["counts"], log.problem)


def _moment(first_ms: int | None, now: datetime) -> datetime:
    """Return the start of a period that nobody named: the log's first entry, or a day ago."""
    if first_ms is None:
        return now - timedelta(days=1)
    return min(now, datetime.fromtimestamp(first_ms / 1000, UTC))


def _signed(report: Report, session: Session, now: datetime) -> bytes:
    from audit.report.signature import verify_signature  # noqa: PLC0415 - see above
    from audit.report.signing import sign_report  # noqa: PLC0415 - see above

    key = report_key(session)
    signed = sign_report(
        report.pdf,
        attachments=report.attachments,
        key=key,
        signed_at=now.replace(microsecond=0),
    )
    # A key that was rotated meanwhile would leave a report that nobody can verify.
    verify_signature(signed, public_keys=[key.public])
    return signed


def _log_state(session: Session) -> tuple[LogState, int | None]:
    """Verify the log; return what that found, and the first entry's time in milliseconds."""
    key = verifier_key(session)
    try:
        found = verified_log(session)
    except LogTampered as error:
        # The report is made all the same: that the log does not verify is what it must say.
        times = [event.get("time") for _, event in _readable(session)]
        first_ms = min((at for at in times if isinstance(at, int) and at > 0), default=None)
        state = LogState(key.name, len(times), "", "", verified=False, problem=str(error))
        return state, first_ms
    state = LogState(
        key.name,
        found.size,
        found.root,
        found.note,
        verified=True,
        anchored=bool(anchored(session.engine)),
    )
    return state, found.first_ms


def _readable(session: Session) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield entries up to the first that is no JSON object; a log that verifies has none."""
    with suppress(ValueError, TypeError):
        for index, event in evidence.events(session.engine):
            if not isinstance(event, dict):
                return
            yield index, event


def _day(text: str) -> datetime:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        # The calendar's last day has no day after it, at which a period could end.
        return day + timedelta(days=1) - timedelta(days=1)
    except (ValueError, OverflowError):
        raise PeriodUnclear(f"{text!r} is no day. Write it as 2026-01-31.") from None
