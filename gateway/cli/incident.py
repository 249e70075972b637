"""`sealgate incident`: what happened, what was found and whom it was told, each step an entry."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import incidents
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import inspected, opened
from gateway.incidents import Breach, Severity, Step, require_text

app = typer.Typer(
    help="Incidents on record: open, assess, notify, close, list.", no_args_is_help=True
)
IdArgument = Annotated[str, typer.Argument(help="Id of the incident.")]
SummaryOption = Annotated[
    str, typer.Option(help="What happened or was found, in a sentence. No patient's name.")
]


@app.command("open")
def open_incident(
    *,
    summary: SummaryOption,
    severity: Annotated[Severity, typer.Option(help="How bad it is.")] = Severity.MEDIUM,
    request: Annotated[str | None, typer.Option(help="Request that it is about.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put an incident on record; its id is printed."""
    name = incidents.fresh_id()
    detail = {"incident": name, "severity": severity.value, "summary": require_text(summary)}
    if request is not None:
        detail["request"] = require_text(request)
    with opened(home) as session:
        session.record(Step.OPENED.operation, detail)
    _told(detail, f"Opened {name}.", as_json=as_json)


@app.command()
def assess(
    incident: IdArgument,
    *,
    breach: Annotated[
        Breach, typer.Option(help="Whether it is a breach of unsecured PHI (45 CFR 164.402).")
    ],
    summary: SummaryOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what an assessment found."""
    detail = {"breach": breach.value, "summary": require_text(summary)}
    _step(home, incident, Step.ASSESSED, detail, as_json=as_json)


@app.command()
def notify(
    incident: IdArgument,
    *,
    recipient: Annotated[
        str, typer.Option(help="Who was told: persons concerned, Secretary, media, entity.")
    ],
    affected: Annotated[int, typer.Option(min=0, help="How many persons it concerns.")] = 0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that somebody was told of it (45 CFR 164.404 to 410)."""
    detail = {"recipient": require_text(recipient), "affected": affected}
    _step(home, incident, Step.NOTIFIED, detail, as_json=as_json)


@app.command()
def close(
    incident: IdArgument,
    *,
    summary: SummaryOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that nothing is left to be done."""
    _step(home, incident, Step.CLOSED, {"summary": require_text(summary)}, as_json=as_json)


@app.command("list")
def list_incidents(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the incidents that the log tells of."""
    with inspected(home) as session:
        found = incidents.every(session.engine)
    if as_json:
        print_json([each.shown() for each in found])
        return
    print_table(
        ("id", "opened", "severity", "steps", "breach", "summary"),
        [
            (
                each.id,
                f"{each.opened:%Y-%m-%d}",
                each.severity,
                ", ".join(each.steps),
                each.breach or "-",
                each.summary,
            )
            for each in found
        ],
    )


def _step(
    home: Path | None, incident_id: str, step: Step, detail: dict[str, Any], *, as_json: bool
) -> None:
    with opened(home) as session:
        incident = incidents.require_step(incidents.every(session.engine), incident_id, step)
        detail = {"incident": incident.id, "severity": incident.severity, **detail}
        session.record(step.operation, detail)
    _told(detail, f"{incident_id} is {step.value}.", as_json=as_json)


def _told(detail: dict[str, Any], line: str, *, as_json: bool) -> None:
    if as_json:
        print_json(detail)
    else:
        print_lines(line)
