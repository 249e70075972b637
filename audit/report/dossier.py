"""Everything that a report says, as plain values: collected once, then only printed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from audit.controls.catalogue import Catalogue
from audit.controls.examination import Assessment, examine, tally
from audit.controls.records import Event, opened
from audit.controls.scope import Facts, LogState, Period
from audit.controls.verdicts import Figure, Verdict

FORMAT = "sealgate/report/v1"


@dataclass(frozen=True, slots=True)
class Dossier:
    """The examination of one framework over one period.

    generated: when. version: of the program that examined. typesetter: what will print it.
    """

    catalogue: Catalogue
    period: Period
    log: LogState
    facts: Facts
    assessments: tuple[Assessment, ...]
    figures: Mapping[str, Figure]
    generated: datetime
    version: str
    typesetter: str

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many controls have each of the five verdicts."""
        return tally(self.assessments)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a figure."""
        rows: list[dict[str, Any]] = self.figures[name].data
        return rows

    def row(self, name: str) -> dict[str, Any]:
        """Return the only row of a figure."""
        return self.rows(name)[0]

    def days(self) -> list[date]:
        """Return every day, in UTC, that the period touches."""
        first = self.period.start.astimezone(UTC).date()
        last = (self.period.end.astimezone(UTC) - timedelta(microseconds=1)).date()
        return [first + timedelta(days=each) for each in range((last - first).days + 1)]

    def summary(self) -> dict[str, Any]:
        """Return what the PDF says as JSON; docs/formats/report-v1.md describes it."""
        return {
            "format": FORMAT,
            "framework": self.catalogue.framework,
            "title": self.catalogue.title,
            "citation": self.catalogue.citation,
            "edition": self.catalogue.edition,
            "period": {"start": stamp(self.period.start), "end": stamp(self.period.end)},
            "generated": stamp(self.generated),
            "generator": f"Sealgate {self.version}",
            "typesetter": self.typesetter,
            "verdicts": {each.control.id: each.verdict.value for each in self.assessments},
            "findings": {each.control.id: _finding(each) for each in self.assessments},
            "counts": {verdict.value: number for verdict, number in self.counts.items()},
            "figures": {
                name: {"query": figure.query, "sha256": figure.sha256, "data": figure.data}
                for name, figure in self.figures.items()
            },
            "log": {
                "origin": self.log.origin,
                "size": self.log.size,
                "root": self.log.root_hex,
                "checkpoint": self.log.checkpoint_note,
                "verified": self.log.verified,
                "anchored": self.log.anchored,
                "problem": self.log.problem,
            },
        }


def collect(
    events: Iterable[tuple[int, Event]],
    *,
    catalogue: Catalogue,
    period: Period,
    log: LogState,
    facts: Facts,
    now: datetime,
    version: str,
    typesetter: str,
) -> Dossier:
    """Examine a catalogue over the entries of a whole log.

    Raises:
        EventMalformed: an entry that is not an event; see `audit.controls.records.opened`.
    """
    with opened(events, period=period, log=log, facts=facts) as records:
        return Dossier(
            catalogue=catalogue,
            period=period,
            log=log,
            facts=facts,
            assessments=examine(catalogue, records),
            figures={figure.name: figure for figure in records.all_figures()},
            generated=now,
            version=version,
            typesetter=typesetter,
        )


def stamp(moment: datetime) -> str:
    """Print a moment in UTC, to the second, as RFC 3339 has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _finding(assessment: Assessment) -> dict[str, Any]:
    return {
        "title": assessment.control.title,
        "verdict": assessment.verdict.value,
        "sentence": assessment.finding.sentence,
        "remains": assessment.control.remains,
        "figures": list(assessment.finding.figures),
    }
