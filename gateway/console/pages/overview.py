"""The first page: what the gateway did lately; how its log, keys, tiers and budgets stand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from audit import tiles
from audit.anchoring import Anchored, anchored
from audit.errors import TileUnknown
from audit.store import reading
from gateway.console import charts
from gateway.console.budgets import accounts
from gateway.console.daybook import Tally
from gateway.console.visit import Visit
from gateway.keycare import Key
from privacy.records import ACTIVE

# A key older than this asks for attention; NIST SP 800-57 has one to two years for most kinds.
AGED_DAYS = 365
# An anchor that is older than so many rounds has probably failed.
LATE_ROUNDS = 5
_MARKS = ("traceable", "weak", "unmarked")
_CLASSES = ("phi", "unclassified", "internal", "public")


@dataclass(frozen=True, slots=True)
class LogState:
    """The log. note: its newest checkpoint; empty for none. late: an anchor is overdue."""

    size: int
    note: str
    writable: bool
    anchors: Sequence[Anchored]
    late: bool


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint that answers requests. state: `ready`, `busy`, `resting` or `draining`."""

    name: str
    tier: str
    state: str
    running: int
    waiting: int
    slots: int


async def show(visit: Visit) -> Response:
    """Show the overview; that somebody looked is an entry."""
    now = datetime.now(UTC)
    desk = visit.console.desk
    tally = await asyncio.to_thread(desk.daybook.tally, now=now)
    log = await asyncio.to_thread(_log_state, visit, now)
    keys = [key for key in await desk.keys.listed() if key.state == ACTIVE]
    budgets = await asyncio.to_thread(accounts, visit.gateway.settings.home)
    await visit.record("console.overview", {})
    return visit.page(
        "overview.html",
        tally=tally,
        volume=charts.stacked(_daily(tally)),
        marks=charts.divided(_parts(tally, "marks", _MARKS)),
        classes=charts.divided(_parts(tally, "classes", _CLASSES)),
        ages=charts.ages(_ages(keys, now), mark=AGED_DAYS),
        refusals=tally.totals("refusals").most_common(5),
        stopped=tally.totals("stopped"),
        places=_places(visit),
        log=log,
        budgets=budgets,
        now=now,
    )


def _daily(tally: Tally) -> list[tuple[str, dict[str, int]]]:
    return [
        (f"{day:%Y-%m-%d}", {"answered": each.answered, "denied": each.denied})
        for day, each in tally.days
    ]


def _parts(tally: Tally, name: str, order: Sequence[str]) -> list[tuple[str, int]]:
    counts = tally.totals(name)
    return [(each, counts[each]) for each in order]


def _ages(keys: Sequence[Key], now: datetime) -> list[tuple[str, int]]:
    """Return each active key's age in days, the oldest first."""
    aged = {key.name: (now - key.created).days for key in keys}
    return sorted(aged.items(), key=lambda each: (-each[1], each[0]))


def _log_state(visit: Visit, now: datetime) -> LogState:
    log, settings = visit.gateway.log, visit.gateway.settings
    try:
        with reading(log) as connection:
            size, note = tiles.newest(connection)
    except TileUnknown:
        size, note = 0, ""
    places = anchored(log)
    limit_ms = LATE_ROUNDS * settings.anchor_every_s * 1000
    now_ms = now.timestamp() * 1000
    late = any(each.behind > 0 and now_ms - each.time_ms > limit_ms for each in places)
    return LogState(size, note, visit.gateway.checks()["log"], places, late)


def _places(visit: Visit) -> list[Place]:
    """Return every endpoint as it stands now; without routing, the home's own models."""
    gateway = visit.gateway
    if gateway.routes is None:
        return [
            Place(m.model_id, "local", "ready" if m.backend.ready else "busy", 0, 0, 0)
            for m in gateway.catalogue.models.values()
        ]
    found = []
    for endpoint in gateway.routes.balancer.endpoints.values():
        now = endpoint.candidate()
        state = "draining" if now.draining else "resting" if now.open else "ready"
        model = gateway.catalogue.models.get(now.model)
        if now.tier == "local" and model is not None and not model.backend.ready:
            state = "busy"
        found.append(
            Place(now.name, now.tier, state, now.load.running, now.load.waiting, now.slots)
        )
    return found
