"""`sealgate report schedule`: reports that a serving gateway makes after each month or quarter."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from audit.controls.catalogue import load
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import opened
from gateway.report_calendar import Cadence
from gateway.report_rows import Schedule
from gateway.report_schedules import Schedules

app = typer.Typer(help="Reports of each month or quarter: list, add, remove.", no_args_is_help=True)


@app.command("list")
def list_schedules(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List what is reported again and again."""
    with opened(home) as session:
        found = Schedules(session.engine).every()
    if as_json:
        print_json([_shown(each) for each in found])
    else:
        columns = ("id", "framework", "every", "from")
        print_table(columns, [[_shown(each)[name] for name in columns] for each in found])


@app.command()
def add(
    framework: Annotated[str, typer.Argument(help="Catalogue of controls.")],
    *,
    every: Annotated[Cadence, typer.Option(help="Calendar period, in UTC.")] = Cadence.MONTHLY,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a serving gateway make a report of each period, from the running one on."""
    load(framework)
    with opened(home) as session:
        now, schedules = datetime.now(UTC), Schedules(session.engine)
        made = schedules.draw(framework, every, now=now)
        session.record("report.scheduled", _shown(made))
        schedules.add(made)
    if as_json:
        print_json(_shown(made))
    else:
        print_lines(f"{made.id}: {framework}, {every.value}, from {made.since:%Y-%m-%d} on.")


@app.command()
def remove(
    schedule: Annotated[str, typer.Argument(help="Id of the schedule.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a schedule; reports that were made of it stay."""
    with opened(home) as session:
        schedules = Schedules(session.engine)
        schedules.require(schedule)
        session.record("report.unscheduled", {"schedule": schedule})
        schedules.remove(schedule)
    if as_json:
        print_json({"schedule": schedule, "removed": True})
    else:
        print_lines(f"{schedule} is ended.")


def _shown(schedule: Schedule) -> dict[str, str]:
    return {
        "id": schedule.id,
        "framework": schedule.framework,
        "every": schedule.cadence.value,
        "from": f"{schedule.since:%Y-%m-%d}",
    }
