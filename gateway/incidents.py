"""Incidents and what was done about them, as entries: opened, assessed, notified, closed.

The log is the only place where they are kept. What people write of an incident stays in it for as
long as it does, so it names requests and pseudonyms, and no patient.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from audit import evidence
from gateway.errors import IncidentStepInvalid, IncidentUnknown

PREFIX = "incident."
TEXT_LIMIT = 500


class Severity(StrEnum):
    """How bad it is, in the words of who opened it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Breach(StrEnum):
    """What an assessment found: a breach of unsecured PHI (45 CFR 164.402), or none."""

    YES = "yes"
    NO = "no"
    UNDETERMINED = "undetermined"


class Step(StrEnum):
    """What can be done about an incident."""

    OPENED = "opened"
    ASSESSED = "assessed"
    NOTIFIED = "notified"
    CLOSED = "closed"

    @property
    def operation(self) -> str:
        """Return what its entry is called."""
        return f"{PREFIX}{self.value}"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as its entries tell it. steps: those that were taken, in order."""

    id: str
    severity: str
    summary: str
    opened: datetime
    breach: str | None = None
    steps: tuple[Step, ...] = (Step.OPENED,)

    @property
    def open(self) -> bool:
        """Whether it is not closed."""
        return Step.CLOSED not in self.steps

    def shown(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "id": self.id,
            "severity": self.severity,
            "summary": self.summary,
            "opened": self.opened.isoformat(timespec="seconds"),
            "breach": self.breach,
            "steps": [step.value for step in self.steps],
            "open": self.open,
        }


def fresh_id() -> str:
    """Return the id of a new incident."""
    return f"inc_{secrets.token_hex(6)}"


def every(engine: sa.Engine) -> list[Incident]:
    """Return the incidents that the log tells of, the oldest first.

    Raises:
        LogUnavailable: The log cannot be read.
    """
    operations = [step.operation for step in Step]
    return told(event for _, event in evidence.events_of(engine, operations))


def told(events: Iterable[Mapping[str, Any]]) -> list[Incident]:
    """Read incidents from their entries, in the order of the log."""
    found: dict[str, Incident] = {}
    for event in events:
        detail = event["sealgate"]["detail"]
        step, name = Step(event["api"]["operation"].removeprefix(PREFIX)), detail.get("incident")
        if step is Step.OPENED:
            found[name] = Incident(
                id=name,
                severity=detail.get("severity", ""),
                summary=detail.get("summary", ""),
                opened=datetime.fromtimestamp(event["time"] / 1000, UTC),
            )
        elif name in found:
            earlier = found[name]
            found[name] = replace(
                earlier,
                steps=(*earlier.steps, step),
                breach=detail.get("breach", earlier.breach),
            )
    return list(found.values())


def require_step(incidents: Iterable[Incident], incident_id: str, step: Step) -> Incident:
    """Return the incident if the step may be taken now.

    Raises:
        IncidentUnknown: There is none of that id.
        IncidentStepInvalid: It is closed, or was not assessed and cannot be closed yet.
    """
    incident = next((each for each in incidents if each.id == incident_id), None)
    if incident is None:
        raise IncidentUnknown(
            f"The log tells of no incident {incident_id!r}. `sealgate incident list` shows them."
        )
    if not incident.open:
        raise IncidentStepInvalid(f"{incident_id} is closed. Open another that refers to it.")
    if step is Step.CLOSED and Step.ASSESSED not in incident.steps:
        raise IncidentStepInvalid(f"{incident_id} was not assessed. Assess it before it is closed.")
    return incident


def require_text(text: str) -> str:
    """Return what somebody wrote if an entry can hold it.

    Raises:
        IncidentStepInvalid: It is empty, too long, or not printable.
    """
    if not text.isprintable() or not 1 <= len(text) <= TEXT_LIMIT:
        raise IncidentStepInvalid(
            f"Write 1 to {TEXT_LIMIT} printable characters, on one line, without a patient's name."
        )
    return text
