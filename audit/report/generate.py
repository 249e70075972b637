"""The entry point: a log's entries and state in, a PDF and its summary out.

Nothing is read from a clock, a file or a network: the same arguments give the same bytes.
"""

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import reportlab
import rfc8785

from audit.controls.catalogue import load
from audit.controls.records import Event
from audit.controls.scope import LogState, Period, facts
from audit.report.dossier import Dossier, collect, stamp
from audit.report.layout import Document
from audit.report.oscal import assessment_results
from audit.report.story import story
from audit.report.typography import register_fonts

SUMMARY = "summary.json"
OSCAL = "oscal.json"
# Other releases of these set and compress the same pages into other bytes.
TYPESETTER = f"reportlab {reportlab.Version}, zlib {zlib.ZLIB_RUNTIME_VERSION}"


@dataclass(frozen=True, slots=True)
class Report:
    """A report as a file, and as JSON that says the same."""

    pdf: bytes = field(repr=False)
    summary: dict[str, Any] = field(repr=False)

    @property
    def attachments(self) -> dict[str, bytes]:
        """What is attached to the PDF when it is signed, by file name: canonical JSON."""
        return {
            SUMMARY: rfc8785.dumps(self.summary),
            OSCAL: rfc8785.dumps(assessment_results(self.summary)),
        }


def generate_report(
    *,
    framework: str,
    start: datetime,
    end: datetime,
    events: Iterable[tuple[int, Event]],
    log: LogState,
    system: Mapping[str, Any],
    now: datetime,
    version: str,
) -> Report:
    """Examine a framework's controls over a period and print what the records show.

    Times are widened to whole seconds, so that the summary's say exactly what was examined.

    Args:
        framework: a catalogue's name, as in `audit.controls.catalogue.FRAMEWORKS`.
        start: the period's first moment, with its zone.
        end: the first moment after the period.
        events: (index, event) of the whole log; those at or beyond `log.size` are left aside.
        log: what verification found.
        system: facts on keys, models and connection, each optional; docs/formats/report-v1.md.
        now: when the report is made.
        version: of the program.

    Raises:
        FrameworkUnknown, PeriodInvalid, FactsMalformed, EventMalformed: from `audit.controls`.
    """
    period = Period(start.replace(microsecond=0), _second_after(end))
    period.require_begun(now)
    dossier = collect(
        events,
        catalogue=load(framework),
        period=period,
        log=log,
        facts=facts(system),
        now=now.replace(microsecond=0),
        version=version,
        typesetter=TYPESETTER,
    )
    return Report(pdf=_print(dossier), summary=dossier.summary())


def _second_after(moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + timedelta(seconds=moment.microsecond > 0)


def _print(dossier: Dossier) -> bytes:
    register_fonts()
    target = io.BytesIO()
    period = f"{stamp(dossier.period.start)} to {stamp(dossier.period.end)}"
    document = Document(
        target,
        title=f"{dossier.catalogue.title}: evidence report",
        subject=f"{dossier.catalogue.citation}, {period}",
        head=f"{dossier.catalogue.title}: evidence report, {period}",
        foot=f"log of {dossier.log.size:,} entries, root {_abridged(dossier.log.root_hex)}",
        made=dossier.generated,
    )
    document.multiBuild(story(dossier))
    return target.getvalue()


def _abridged(root_hex: str) -> str:
    return f"{root_hex[:24]}..." if root_hex else "unknown"
