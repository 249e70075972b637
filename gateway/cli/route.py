"""`sealgate route`: where a request would go, and why; and what takes no new requests for now."""

import dataclasses
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway import draining
from gateway.backends.base import Load
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import Session, opened
from gateway.grading import grade
from gateway.home import existing
from gateway.policy import agreed
from gateway.policy import load as load_policy
from gateway.router import AUTO, TIERS, Candidate, Wanted, explained, floor
from gateway.settings import Settings, load
from gateway.tiers import CLASSES, TUNED, Tiers
from gateway.tiers import load as load_tiers

app = typer.Typer(help="Routing between tiers: explain, drain, resume.", no_args_is_help=True)
# What a sealed model's context is can be told only with its keys; no request is longer than this.
UNKNOWN_CONTEXT = 1 << 20
CHARACTERS_A_TOKEN = 4


@app.command()
def explain(
    *,
    text: Annotated[str, typer.Option(help="A message to grade; it is not kept.")] = "",
    model: Annotated[str, typer.Option(help="What the request names: a model or a tier.")] = AUTO,
    tenant: Annotated[str, typer.Option(help="Whose request it is.")] = "default",
    data_class: Annotated[
        str, typer.Option(help=f"One of: {', '.join(CLASSES)}.")
    ] = "unclassified",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 512,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what each endpoint's walls and quality make of a request, were all of them idle."""
    if data_class not in CLASSES:
        raise typer.BadParameter(f"{data_class!r} is none of: {', '.join(CLASSES)}.")
    settings = load(home=home)
    tiers = load_tiers(settings.tiers_file, tuned=settings.home / TUNED)
    graded = grade(
        [{"role": "user", "content": text}], max_tokens=max_tokens, weights=tiers.weights
    )
    agreements = load_policy(settings.policy_file).file.baa
    wanted = Wanted(
        tenant,
        data_class,
        model,
        graded.score,
        len(text) // CHARACTERS_A_TOKEN,
        max_tokens,
        agreed=agreed(agreements, data_class, today=datetime.now(UTC).date()),
    )
    thresholds = tiers.routing.thresholds
    verdicts = explained(wanted, _places(settings, tiers), thresholds=thresholds)
    lowest = TIERS[floor(wanted, thresholds)]
    if as_json:
        rows = [dataclasses.asdict(verdict) for verdict in verdicts]
        print_json({"grade": graded.score, "task": graded.task, "floor": lowest, "endpoints": rows})
        return
    print_lines(f"Grade {graded.score} of 100 ({graded.task}); good enough from {lowest} on.")
    columns = ("endpoint", "tier", "verdict", "first token, idle")
    print_table(
        columns,
        [
            (v.endpoint, v.tier, v.word, "" if v.estimate_ms is None else f"{v.estimate_ms} ms")
            for v in verdicts
        ],
    )


NamesArgument = Annotated[
    list[str] | None, typer.Argument(help="Endpoints or tiers, as `explain` names them.")
]
ReplicaOption = Annotated[bool, typer.Option("--replica", help="This gateway as a whole.")]


@app.command()
def drain(
    names: NamesArgument = None,
    *,
    replica: ReplicaOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send endpoints or tiers no new requests, or take this gateway out of its load balancer.

    A serving gateway heeds it at once; what is being answered goes on.
    """
    with opened(home) as session:
        asked = _known(session.settings, names or [], replica=replica)
        now = draining.read(session.home.path)
        order = draining.Order((*dict.fromkeys((*now.names, *asked)),), now.replica or replica)
        _give(session, "routing.drained", order)
    _print_order(order, as_json=as_json)


@app.command()
def resume(
    names: NamesArgument = None,
    *,
    replica: ReplicaOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let endpoints, tiers or this gateway have requests again."""
    with opened(home) as session:
        now = draining.read(session.home.path)
        left = tuple(name for name in now.names if name not in (names or []))
        unknown = [name for name in names or [] if name not in now.names]
        if unknown or not (names or replica):
            raise typer.BadParameter(f"Nothing of that drains: {', '.join(unknown) or 'no name'}.")
        order = draining.Order(left, now.replica and not replica)
        _give(session, "routing.resumed", order)
    _print_order(order, as_json=as_json)


def _known(settings: Settings, names: list[str], *, replica: bool) -> list[str]:
    tiers = load_tiers(settings.tiers_file, tuned=settings.home / TUNED)
    known = {*TIERS, *(place.name for place in _places(settings, tiers))}
    unknown = [name for name in names if name not in known]
    if unknown or not (names or replica):
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'} is no endpoint or tier here; these are: "
            f"{', '.join(sorted(known))}."
        )
    return names


def _give(session: Session, operation: str, order: draining.Order) -> None:
    """Record an order, and then give it: no deed without its entry."""
    session.record(operation, {"names": list(order.names), "replica": order.replica})
    draining.write(session.home.path, order)


def _print_order(order: draining.Order, *, as_json: bool) -> None:
    if as_json:
        print_json({"names": list(order.names), "replica": order.replica})
        return
    resting = [*order.names, *(["this replica"] if order.replica else [])]
    print_lines(f"Draining: {', '.join(resting) or 'nothing'}.")


def _places(settings: Settings, tiers: Tiers) -> list[Candidate]:
    local = [
        tiers.local_place(
            model_id,
            context_length=UNKNOWN_CONTEXT,
            output_limit=settings.output_limit_tokens,
            slots=settings.concurrency,
        )
        for model_id in existing(settings.home).model_ids()
    ]
    places = [*local, *(remote.place() for remote in tiers.remote)]
    order = draining.read(settings.home)
    return [
        dataclasses.replace(place, load=Load(age_s=0.0), draining=order.covers(place))
        for place in places
    ]
