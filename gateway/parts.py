"""The parts of a gateway, started and ready: what the composition root makes routes of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from audit.content import Contents
from gateway.answer import Answers
from gateway.catalogue import Catalogue
from gateway.console.desk import Desk
from gateway.doorkeeper import Doorkeeper
from gateway.limits import RequestLimits
from gateway.metrics import Metrics
from gateway.policy import PolicyInForce
from gateway.recorder import Recorder
from gateway.reports import Reports
from gateway.routes import Routes
from gateway.settings import Settings
from gateway.spans import Spans

if TYPE_CHECKING:
    from gateway.provenance import Trace


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts that routes work with, started and ready.

    log: the audit log's database, to read. routes: where requests may go beside the home's own
    models. trace: finds the request behind a text. receipt: signs for a request's outcome. reports:
    compliance reports, asked for and kept. contents: text that is kept beside the log. checks: what
    readiness is made of, by name. desk: the console's own parts; None where it is off.
    spans: tells a receiver of requests; None without one.
    """

    settings: Settings
    catalogue: Catalogue
    doorkeeper: Doorkeeper
    recorder: Recorder
    answers: Answers
    limits: RequestLimits
    policy: PolicyInForce
    metrics: Metrics
    log: sa.Engine
    trace: "Callable[[str], Awaitable[Trace]]"
    receipt: Callable[[str], str]
    reports: Reports
    contents: Contents
    checks: Callable[[], dict[str, bool]]
    routes: Routes | None = None
    desk: Desk | None = None
    spans: Spans | None = None
