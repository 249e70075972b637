"""`sealgate route`: where a request would go, and why."""

import dataclasses
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.backends.base import Load
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.grading import grade
from gateway.home import existing
from gateway.policy import agreed
from gateway.policy import load as load_policy
from gateway.router import AUTO, TIERS, Candidate, Wanted, explained, floor
from gateway.settings import Settings, load
from gateway.tiers import CLASSES, TUNED, Tiers
from gateway.tiers import load as load_tiers

app = typer.Typer(help="Routing between tiers: explain.", no_args_is_help=True)
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
    return [dataclasses.replace(place, load=Load(age_s=0.0)) for place in places]
