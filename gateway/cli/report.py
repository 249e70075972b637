"""`sealgate report`: the log turned into evidence for a framework's controls."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from audit import evidence
from audit.controls.scope import LogState
from audit.errors import LogTampered
from audit.report.generate import generate_report
from audit.verify import verify_log
from gateway.cli.keys import verifier_key
from gateway.cli.models import SIGNATURE, manifests
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, write_file
from gateway.cli.session import Session, opened
from gateway.errors import PeriodUnclear
from privacy.genesis import PURPOSES
from privacy.sealed import CIPHER

app = typer.Typer(help="Compliance reports: generate.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Written:
    """A report on disk. counts: controls of each verdict. log_problem: None if the log verifies."""

    pdf: Path
    summary: Path
    counts: Mapping[str, int]
    log_problem: str | None


@app.callback()
def report() -> None:
    """Keep `generate` a subcommand."""


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
        Path | None, typer.Option(help="PDF to write, its summary beside it as .json.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine every control over a period and write the PDF. Exit code 1 if the log is tampered."""
    first = _day(start) if start else None
    last = _day(end) if end else None
    with opened(home) as session:
        written = write_report(session, framework=framework, start=first, last_day=last, out=out)
    if as_json:
        print_json(
            {
                "report_path": str(written.pdf),
                "summary_path": str(written.summary),
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


def write_report(
    session: Session,
    *,
    framework: str,
    start: datetime | None = None,
    last_day: datetime | None = None,
    out: Path | None = None,
) -> Written:
    """Examine the log over a period, write PDF and summary, and record that it was done.

    start, last_day: midnights in UTC; from the log's first entry, until now, where absent.

    Raises:
        ControlsError: There is no such framework, or the period is empty.
        LogUnavailable: The log cannot be read, or the report cannot be recorded.
    """
    now = datetime.now(UTC)
    log, first_ms = _log_state(session)
    report = generate_report(
        framework=framework,
        start=start or datetime.fromtimestamp((first_ms or 0) / 1000, UTC),
        end=last_day + timedelta(days=1) if last_day else now,
        events=evidence.events(session.engine),
        log=log,
        system=_facts(session),
        now=now,
        version=version("sealgate"),
    )
    pdf = out or session.home.reports / f"{framework}-{now:%Y%m%dT%H%M%SZ}.pdf"
    summary = pdf.with_suffix(".json")
    write_file(pdf, report.pdf)
    write_file(summary, (json.dumps(report.summary, indent=1) + "\n").encode())
    session.record(
        "report.generated",
        {
            "framework": framework,
            "file": pdf.name,
            "sha256": hashlib.sha256(report.pdf).hexdigest(),
            "log_size": log.size,
        },
    )
    return Written(pdf, summary, report.summary["counts"], log.problem)


def _log_state(session: Session) -> tuple[LogState, int | None]:
    """Verify the log; return what that found, and the first entry's time in milliseconds."""
    key = verifier_key(session)
    try:
        found = verify_log(session.engine, origin=key.name, public_key=key.public_key)
    except LogTampered as error:
        # The report is made all the same: that the log does not verify is what it must say.
        size = sum(1 for _ in evidence.events(session.engine))
        return LogState(key.name, size, "", "", verified=False, problem=str(error)), None
    state = LogState(key.name, found.size, found.root, found.note, verified=True)
    return state, found.first_ms


def _facts(session: Session) -> dict[str, Any]:
    keyring = session.keyring
    return {
        "keys": [
            {"name": p, "epoch": keyring.active_epoch(p), "state": "active"} for p in PURPOSES
        ],
        "models": [
            {
                "id": manifest["model_id"],
                "digest": manifest["model_digest"],
                "generation": manifest["generation"],
                "cipher": CIPHER,
                "signature": SIGNATURE,
            }
            for manifest in manifests(session)
        ],
        "tls": False,
        "host": session.settings.host,
    }


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise PeriodUnclear(f"{text!r} is no day. Write it as 2026-01-31.") from None
