"""`sealgate insight`: what the traffic was like, and routing tuned to it."""

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, write_file
from gateway.cli.session import Session, opened
from gateway.errors import ExtraMissing, TuningImpossible
from gateway.insight import clusters, history, rollups
from gateway.insight import report as drawing
from gateway.tiers import TUNED, Tiers, load

if TYPE_CHECKING:
    from gateway.insight.tuning import Proposal

MISSING = "Insight needs an extra: pip install 'sealgate[insight]'."
app = typer.Typer(help="Insight: report, tune.", no_args_is_help=True)


@app.command()
def report(
    *,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; a PNG of the map beside it.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Map the recorded requests by size, grade and time, and say where they wait."""
    with opened(home) as session:
        past = history.read(session.engine)
        hours = rollups.read(session.engine)
        place = out or session.home.path / "reports" / "insight.html"
        session.record_access("insight.report", {"requests": len(past)})
    try:
        found = clusters.clustered(past)
        png = drawing.picture(found)
    except ImportError:
        raise ExtraMissing(MISSING) from None
    except ValueError as error:
        raise TuningImpossible(str(error)) from None
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, drawing.page(found, hours, png).encode())
    write_file(place.with_suffix(".png"), png)
    if as_json:
        kinds = [asdict(cluster) for cluster in found.clusters]
        print_json({"path": str(place), "clusters": kinds, "hours": [asdict(h) for h in hours]})
        return
    print_lines(f"{len(past)} requests: {place}", *drawing.bottlenecks(found.clusters, hours))


@app.command()
def tune(
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write it down, for the next start of the gateway.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Bring back what the last tuning replaced.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose thresholds for the recorded load by replaying it. Exit code 2 if none is better."""
    tuning = _tuning()
    with opened(home) as session:
        if roll_back:
            restored = tuning.roll_back(session.home.path)
            session.record("routing.rolled_back", {"routing": _told(restored)})
            print_lines("The routing before the last tuning is back, from the next start on.")
            return
        tiers = load(session.settings.tiers_file, tuned=session.home.path / TUNED)
        proposal = _proposal(tuning, session, tiers)
        if apply:
            session.record("routing.tuned", _change(tiers, proposal))
            tuning.apply(session.home.path, proposal, current=tiers.routing)
    if as_json:
        told = {"routing": msgspec.structs.asdict(proposal.routing), "applied": apply}
        print_json({**told, "before_s": proposal.before_cost_s, "after_s": proposal.after_cost_s})
        return
    before, after = proposal.before_cost_s, proposal.after_cost_s
    print_lines(
        f"Replayed, it costs {after:.2f} s instead of {before:.2f}.",
        *(f"{name} = {value}" for name, value in _told(proposal.routing).items()),
        "Applied, from the next start on." if apply else "Add --apply to use it.",
    )


def _tuning() -> Any:
    """Load the module that needs the extra `[insight]`, by name.

    Raises:
        ExtraMissing: The extra is not installed.
    """
    try:
        return importlib.import_module("gateway.insight.tuning")
    except ImportError:
        raise ExtraMissing(MISSING) from None


def _proposal(tuning: Any, session: Session, tiers: Tiers) -> "Proposal":
    """Replay the recorded load under nearby thresholds.

    Raises:
        TuningImpossible: Too little is recorded, or none is better.
    """
    fleet = tuning.fleet(
        tiers, local=len(session.home.model_ids()), slots=session.settings.concurrency
    )
    arrivals = list(history.arrivals(history.read(session.engine)))
    proposal: Proposal = tuning.propose(tiers.routing, arrivals, fleet)
    if not proposal.better:
        raise TuningImpossible("No nearby thresholds serve the recorded load better.")
    return proposal


def _change(tiers: Tiers, proposal: "Proposal") -> dict[str, Any]:
    return {
        "from": _told(tiers.routing),
        "to": _told(proposal.routing),
        "before_cost_ms": round(proposal.before_cost_s * 1000),
        "after_cost_ms": round(proposal.after_cost_s * 1000),
    }


def _told(routing: msgspec.Struct) -> dict[str, str]:
    """Return thresholds as an entry may hold them: text, since canonical JSON has no floats."""
    return {name: str(value) for name, value in msgspec.structs.asdict(routing).items()}
