"""A report over a log: verified, examined, printed, signed. Used by the command and the gateway.

It is given everything: a log, whom to trust for it, facts, and what signs. pyHanko takes most of
a second to import, so only what signs imports it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from audit import archive, checkpoint
from audit.anchoring import anchored
from audit.controls.catalogue import load
from audit.controls.scope import LogState
from audit.errors import LogTampered
from audit.verify import LogReport, verify_log
from gateway.errors import FileUnwritable, PeriodUnclear

if TYPE_CHECKING:
    from audit.report.certificate import ReportKey
    from audit.report.generate import Report

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a report is to be of. start: from the log's first entry if None; end: until now."""

    framework: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class LogKeys:
    """Whose checkpoints count, Ed25519.

    trusted: the active key first. history: every key that ever signed, compromised ones too.
    """

    origin: str
    trusted: Sequence[bytes]
    history: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is made from. archive: directory of the sealed months."""

    engine: sa.Engine
    keys: LogKeys
    facts: Mapping[str, Any]
    archive: Path


@dataclass(frozen=True, slots=True)
class Made:
    """A signed report. attachments: canonical JSON by name. problem: None if the log verifies."""

    framework: str
    pdf: bytes = field(repr=False)
    attachments: Mapping[str, bytes] = field(repr=False)
    counts: Mapping[str, int]
    log_size: int
    problem: str | None

    @property
    def sha256(self) -> str:
        """Digest of the signed file, hex."""
        return hashlib.sha256(self.pdf).hexdigest()


def make(assignment: Assignment, source: Source, *, key: "ReportKey", now: datetime) -> Made:
    """Examine the log over a period, print what it shows and sign that.

    A log that does not verify has its report all the same, which says so.

    Raises:
        ControlsError: There is no such framework, or the period is empty or in the future.
        LogUnavailable: The log cannot be read.
    """
    # Said before a log of millions is verified for nothing.
    load(assignment.framework)
    state, first_ms = _log_state(source)
    # The layout takes 10 MB that a gateway, which has reports made apart, does not need.
    from audit.report.generate import generate_report  # noqa: PLC0415

    report = generate_report(
        framework=assignment.framework,
        start=assignment.start or _beginning(first_ms, now),
        end=assignment.end or now,
        events=_readable(source),
        log=state,
        system=source.facts,
        now=now,
        version=version("sealgate"),
    )
    return Made(
        framework=assignment.framework,
        pdf=_signed(report, key, now),
        attachments=report.attachments,
        counts=report.summary["counts"],
        log_size=state.size,
        problem=state.problem,
    )


def write(made: Made, pdf: Path) -> tuple[Path, ...]:
    """Write the PDF, and its attachments beside it as JSON that people can read.

    Raises:
        FileUnwritable: One of them cannot be written.
    """
    twins = tuple(twin(pdf, name) for name in made.attachments)
    try:
        for path, content in zip(twins, made.attachments.values(), strict=True):
            path.write_text(json.dumps(json.loads(content), indent=1) + "\n", encoding="utf-8")
        # Last, so that a PDF that is there has its twins.
        pdf.write_bytes(made.pdf)
    except OSError as error:
        raise FileUnwritable(f"{pdf} cannot be written: {error.strerror}.") from None
    return twins


def twin(pdf: Path, attachment: str) -> Path:
    """Return where a report's attachment lies beside it: a.pdf has a.summary.json."""
    return pdf.with_suffix(f".{attachment}")


def verified_log(
    engine: sa.Engine, keys: LogKeys, *, told: Callable[[int], object] = lambda _: None
) -> LogReport:
    """Verify the whole log, also what was signed before the checkpoint key was rotated.

    told: hears now and then how many entries were read.

    Raises:
        LogTampered, CheckpointInvalid: It does not hold; the error names the entry.
        LogUnavailable: It cannot be read.
    """
    # An old checkpoint may carry a key that was compromised or destroyed since: its root is
    # compared with the tree that the newest one signs, so its own signature adds nothing.
    report = verify_log(
        engine,
        origin=keys.origin,
        public_key=keys.trusted[0],
        earlier=keys.history,
        told=told,
    )
    if report.note:
        checkpoint.verify(
            report.note,
            origin=keys.origin,
            public_key=keys.trusted[0],
            earlier=keys.trusted[1:],
        )
    return report


def day(text: str) -> datetime:
    """Read a day as people write it, YYYY-MM-DD, as its midnight in UTC.

    Raises:
        PeriodUnclear: It is none.
    """
    try:
        read = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        # The calendar's last day has no day after it, at which a period could end.
        return read + DAY - DAY
    except (ValueError, OverflowError):
        raise PeriodUnclear(f"{text!r} is no day. Write it as 2026-01-31.") from None


def _log_state(source: Source) -> tuple[LogState, int | None]:
    """Verify the log; return what that found, and the first entry's time in milliseconds."""
    origin = source.keys.origin
    try:
        found = verified_log(source.engine, source.keys)
    except LogTampered as error:
        # The report is made all the same: that the log does not verify is what it must say.
        size, first_ms = 0, None
        for _, event in _readable(source):
            at, size = event.get("time"), size + 1
            if isinstance(at, int) and at > 0 and (first_ms is None or at < first_ms):
                first_ms = at
        return LogState(origin, size, "", "", verified=False, problem=str(error)), first_ms
    state = LogState(
        origin,
        found.size,
        found.root,
        found.note,
        verified=True,
        anchored=bool(anchored(source.engine)),
    )
    return state, found.first_ms


def _readable(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield entries up to the first that is no JSON object; a log that verifies has none."""
    with suppress(ValueError, TypeError):
        for index, event in archive.events_at_hand(source.engine, source.archive):
            if not isinstance(event, dict):
                return
            yield index, event


def _beginning(first_ms: int | None, now: datetime) -> datetime:
    """Return the start of a period that nobody named: the log's first entry, or a day ago."""
    if first_ms is None:
        return now - DAY
    return min(now, datetime.fromtimestamp(first_ms / 1000, UTC))


def _signed(report: "Report", key: "ReportKey", now: datetime) -> bytes:
    from audit.report.signature import verify_signature  # noqa: PLC0415 - see above
    from audit.report.signing import sign_report  # noqa: PLC0415 - see above

    signed = sign_report(
        report.pdf,
        attachments=report.attachments,
        key=key,
        signed_at=now.replace(microsecond=0),
    )
    # A key that was rotated meanwhile would leave a report that nobody can verify.
    verify_signature(signed, public_keys=[key.public])
    return signed
