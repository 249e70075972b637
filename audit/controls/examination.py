"""The examination of a catalogue: every control gets a verdict, and no verdict says too much.

A query says what the figures show. The rules here bound it: a partial control is never PASS, a
log that does not verify evidences nothing, a period without entries evidences nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.controls.catalogue import Catalogue, Control, Kind
from audit.controls.queries import QUERIES
from audit.controls.records import Records
from audit.controls.verdicts import MEANINGS, Finding, Verdict

_FAVOURABLE = frozenset({Verdict.PASS, Verdict.PARTIAL})


@dataclass(frozen=True, slots=True)
class Assessment:
    """A control with what was found on it."""

    control: Control
    finding: Finding

    @property
    def verdict(self) -> Verdict:
        """The finding's verdict."""
        return self.finding.verdict


def examine(catalogue: Catalogue, records: Records) -> tuple[Assessment, ...]:
    """Judge every control of a catalogue, in the catalogue's order."""
    return tuple(Assessment(control, _judge(control, records)) for control in catalogue.controls)


def tally(assessments: Sequence[Assessment]) -> Mapping[Verdict, int]:
    """Count the verdicts; each of the five has a count."""
    counts = Counter(each.verdict for each in assessments)
    return {verdict: counts[verdict] for verdict in Verdict}


def _judge(control: Control, records: Records) -> Finding:
    if control.evidence is None:
        return Finding(Verdict.NOT_EVIDENCED, MEANINGS[Verdict.NOT_EVIDENCED])
    finding = QUERIES[control.evidence](records)
    if finding.verdict not in _FAVOURABLE:
        return finding
    if not records.log.trusted:
        return Finding(
            Verdict.NO_DATA,
            "The log was not verified, so its entries evidence nothing.",
            ("log_state",),
        )
    if not records.row("entries_read")["in_period"]:
        return Finding(Verdict.NO_DATA, "The log holds no entry of the period.", ("entries_read",))
    if control.kind is Kind.PARTIAL:
        return Finding(Verdict.PARTIAL, finding.sentence, finding.figures)
    return finding
