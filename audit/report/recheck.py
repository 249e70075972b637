"""Whether a signed report says what the log says: every figure and every page, made again.

What the report's maker gave of their own (facts about the system, whether the log is anchored) is
taken from the report, since no log holds it; it is signed, and printed as given.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rfc8785
import sqlalchemy as sa

from audit import archive, checkpoint, store, tree
from audit.controls.errors import ControlsError
from audit.controls.records import Event
from audit.controls.scope import LogState
from audit.controls.verdicts import Figure, Verdict
from audit.errors import CheckpointInvalid, LogTampered
from audit.report.certificate import ReportKey
from audit.report.errors import ReportContradicted
from audit.report.generate import OSCAL, SUMMARY, TYPESETTER, Report, generate_report
from audit.report.hole import bounds
from audit.report.oscal import assessment_results
from audit.report.signature import SignedReport
from audit.report.signing import sign_report

# A signature in DER of the right form, of nothing and by nobody.
_NO_SIGNATURE = bytes.fromhex("3006020101020101")


@dataclass(frozen=True, slots=True)
class Rechecked:
    """A report that the log bears out.

    pages: whether the printed pages were made again and are the same; False means that another
    release printed them, so that only the figures were compared.
    """

    summary: Mapping[str, Any]
    pages: bool


def read_summary(signed: SignedReport) -> dict[str, Any]:
    """Return the summary attached to a report, its parts found to agree with each other.

    Raises:
        ReportContradicted: There is none, its digests, counts or verdicts disagree, or its twin
            in OSCAL says something else.
    """
    summary = _decoded(signed)
    try:
        if signed.attachments[OSCAL] != rfc8785.dumps(assessment_results(summary)):
            raise ReportContradicted("The report's OSCAL says something else than its summary.")
        _require_digests(summary["figures"])
        verdicts = {name: each["verdict"] for name, each in summary["findings"].items()}
        counted = dict.fromkeys(Verdict, 0) | Counter(verdicts.values())
        if (verdicts, counted) != (summary["verdicts"], summary["counts"]):
            raise ReportContradicted("The verdicts of the report's summary disagree.")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportContradicted("The report's summary is not one of this version.") from error
    return summary


def recheck(
    pdf: bytes,
    summary: Mapping[str, Any],
    *,
    engine: sa.Engine,
    origin: str,
    log_keys: Sequence[bytes],
    months: Path,
) -> Rechecked:
    """Make a report again from the log and compare it with the signed one.

    The log must have been verified: see `audit.verify.verify_log`.

    months: directory of the sealed months, for entries that were pruned.

    log_keys: every key that ever signed its checkpoints, Ed25519. The root is compared with the
        log's own, so a key that is no longer trusted does no harm here.

    Raises:
        ReportContradicted: The log is another one, or gives other figures, verdicts or pages.
        LogUnavailable: The log cannot be read, or a month that was pruned is not there.
        LogTampered: A sealed month is not what was pruned.
    """
    # 1. The log's first entries are those that the report was made from.
    # 2. They give the same summary.
    # 3. The summary's release prints the same pages.
    state = _state(summary, engine, origin=origin, log_keys=log_keys)
    again = _again(summary, archive.events(engine, months), state)
    _require_equal(summary, again.summary)
    pages = summary["typesetter"] == TYPESETTER
    if pages and not _prints(again, pdf, origin=origin):
        raise ReportContradicted("The report's pages are not those that its figures print.")
    return Rechecked(summary=summary, pages=pages)


def _decoded(signed: SignedReport) -> dict[str, Any]:
    try:
        content = signed.attachments[SUMMARY]
        summary = json.loads(content)
        canonical = rfc8785.dumps(summary)
    except (KeyError, ValueError) as error:
        raise ReportContradicted("The report has no summary attached that can be read.") from error
    if canonical != content or not isinstance(summary, dict):
        raise ReportContradicted("The report's summary is not canonical JSON.")
    return summary


def _require_digests(figures: Mapping[str, Mapping[str, Any]]) -> None:
    for name, figure in figures.items():
        if Figure(name, figure["query"], figure["data"]).sha256 != figure["sha256"]:
            raise ReportContradicted(f"The figure {name} does not have the digest printed for it.")


def _state(
    summary: Mapping[str, Any], engine: sa.Engine, *, origin: str, log_keys: Sequence[bytes]
) -> LogState:
    log = summary["log"]
    root = _root(engine, log["size"])
    if (log["origin"], log["root"]) != (origin, root):
        raise ReportContradicted(
            f"The report was made from another log than this: {log['origin']}, "
            f"{log['size']} entries."
        )
    try:
        if log["checkpoint"]:
            told = checkpoint.verify(
                log["checkpoint"], origin=origin, public_key=log_keys[0], earlier=log_keys[1:]
            )
            if (told.size, told.root.hex()) != (log["size"], root):
                raise ReportContradicted("The report's checkpoint is of another size or root.")
    except CheckpointInvalid as error:
        raise ReportContradicted(f"The report's checkpoint does not hold. {error}") from error
    return LogState(
        origin, log["size"], root, log["checkpoint"], verified=True, anchored=log["anchored"]
    )


def _root(engine: sa.Engine, size: int) -> str:
    """Return the root of the log's first entries in hex, or nothing if it never had so many."""
    with store.reading(engine) as connection:
        try:
            return tree.frontier(connection, size).root().hex()
        except LogTampered:
            return ""


def _again(
    summary: Mapping[str, Any], events: Iterable[tuple[int, Event]], state: LogState
) -> Report:
    period = summary["period"]
    try:
        return generate_report(
            framework=summary["framework"],
            start=_moment(period["start"]),
            end=_moment(period["end"]),
            events=events,
            log=state,
            system=summary["figures"]["system_facts"]["data"],
            now=_moment(summary["generated"]),
            version=summary["generator"].removeprefix("Sealgate "),
        )
    except (ControlsError, KeyError, ValueError) as error:
        raise ReportContradicted(f"The report cannot be made again: {error}.") from error


def _require_equal(signed: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Compare two summaries, and name the first figure or verdict in which they differ."""
    # Printed by another release, but of the same figures.
    theirs, ours = ({**each, "typesetter": ""} for each in (signed, again))
    if rfc8785.dumps(theirs) == rfc8785.dumps(ours):
        return
    for part in ("figures", "findings", "verdicts"):
        for name in sorted({*theirs[part], *ours[part]}):
            if theirs[part].get(name) != ours[part].get(name):
                raise ReportContradicted(
                    f"The log gives something else than the report for {name} ({part})."
                )
    raise ReportContradicted("The log gives another summary than the report's.")


def _prints(again: Report, pdf: bytes, *, origin: str) -> bool:
    """Print and sign once more with nobody's key: all but the hole must be the same."""
    signed_at = _moment(again.summary["generated"])
    nobody = ReportKey(origin, bytes([4]) + bytes(64), signed_at, lambda _: _NO_SIGNATURE)
    ours = sign_report(again.pdf, attachments=again.attachments, key=nobody, signed_at=signed_at)
    start, end = bounds(pdf)
    return (ours[:start], ours[end:]) == (pdf[:start], pdf[end:])


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
