"""The checking half of `sealgate report`: whose file is this, and does the log bear it out.

Without a home only the signature and the report's agreement with itself can be checked, under a
certificate that the deployment published.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import evidence
from audit.errors import LogTampered
from audit.report.errors import ReportContradicted
from gateway.cli.output import read_file
from gateway.cli.session import Session
from gateway.cli.trust import verified_log
from gateway.report_making import twin
from privacy.records import DECRYPT_ONLY
from privacy.signatures import P256

if TYPE_CHECKING:
    from audit.report.certificate import ReportKey


@dataclass(frozen=True, slots=True)
class Demand:
    """What a report must be of, where it was said. first_day, last_day: YYYY-MM-DD."""

    framework: str | None = None
    first_day: str | None = None
    last_day: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A report that holds.

    recomputed: from the log. pages: printed again and the same; None where they were not.
    entry: the log's entry of its making, None where it was not looked for or is not there.
    beside: files next to it that say the same.
    """

    summary: Mapping[str, Any]
    signed_at: datetime
    recomputed: bool
    pages: bool | None
    entry: int | None
    beside: tuple[str, ...]

    def shown(self) -> dict[str, Any]:
        """Return it as JSON."""
        summary = self.summary
        return {
            "valid": True,
            "framework": summary["framework"],
            "period": summary["period"],
            "generated": summary["generated"],
            "counts": summary["counts"],
            "log_size": summary["log"]["size"],
            "recomputed": self.recomputed,
            "pages_reproduced": self.pages,
            "entry": self.entry,
            "beside": list(self.beside),
        }

    def told(self) -> list[str]:
        """Return it in words, line by line."""
        summary = self.summary
        period = summary["period"]
        figures = (
            f"All {len(summary['figures'])} figures were made again from the log's first "
            f"{summary['log']['size']} entries and are the same."
            if self.recomputed
            else "The figures were not compared with a log: none was given."
        )
        pages = {
            True: "All pages were printed again and are the same to the byte.",
            False: f"The pages were not compared: they were set by {summary['typesetter']}.",
            None: "The pages were not compared.",
        }[self.pages]
        entry = (
            f"Its making is entry {self.entry} of the log."
            if self.entry is not None
            else "No entry of its making was found in the log."
        )
        return [
            "The report holds: one signature of the report key covers the whole file.",
            f"  {summary['framework']}, {period['start']} up to {period['end']}",
            f"  {figures}",
            f"  {pages}",
            *([f"  {entry}"] if self.recomputed else []),
            *(f"  {name} beside it says the same." for name in self.beside),
        ]


def report_key(session: Session) -> "ReportKey":
    """Return the key that signs this deployment's reports; the private half stays where it is."""
    from audit.report.certificate import ReportKey  # noqa: PLC0415 - see gateway.cli.report

    key = session.keyring.document_key()
    return ReportKey(
        origin=session.settings.origin,
        public=key.public,
        created=datetime.fromtimestamp(key.created_s, UTC),
        sign=session.keyring.sign_document,
    )


def trusted_keys(session: Session) -> list[bytes]:
    """Return the public keys whose reports are accepted: the active one and its forerunners.

    Those of compromised and destroyed epochs are not among them.
    """
    active = session.keyring.document_key().public
    earlier = [
        key.public
        for key in session.keyring.snapshot().signing_keys("report", P256)
        if key.state == DECRYPT_ONLY
    ]
    return [active, *earlier]


def key_of(certificate: Path) -> bytes:
    """Return the public key of a certificate's file.

    Raises:
        FileUnreadable: It cannot be read.
        CertificateMalformed: It is none.
    """
    from audit.report.certificate import public_key  # noqa: PLC0415 - see gateway.cli.report

    return public_key(read_file(certificate))


def checked(
    file: Path, *, public_keys: Sequence[bytes], demand: Demand, session: Session | None = None
) -> Checked:
    """Check a report's signature, its parts against each other, and, with a session, the log.

    Raises:
        FileUnreadable: The file cannot be read.
        ReportError: The report does not hold.
        LogTampered: The log does not verify, so nothing can be recomputed from it.
    """
    from audit.report import recheck, signature  # noqa: PLC0415 - see gateway.cli.report

    pdf = read_file(file)
    # 1. The file is the report key's, to the last bit. 2. Its parts agree, and with its twins.
    # 3. It is the one that was asked for. 4. The log gives the same again.
    signed = signature.verify_signature(pdf, public_keys=public_keys)
    summary = recheck.read_summary(signed)
    beside = _agreeing(file, signed.attachments)
    _require_demanded(summary, demand)
    pages = entry = None
    if session is not None:
        _require_verified(session)
        again = recheck.recheck(
            pdf,
            summary,
            engine=session.engine,
            origin=session.settings.origin,
            log_keys=session.keyring.history("checkpoint"),
            months=session.home.archive,
        )
        pages, entry = again.pages, _entry(session, pdf)
    return Checked(
        summary=summary,
        signed_at=signed.signed_at,
        recomputed=session is not None,
        pages=pages,
        entry=entry,
        beside=beside,
    )


def _agreeing(file: Path, attachments: Mapping[str, bytes]) -> tuple[str, ...]:
    """Compare the files beside the report with what is attached to it, as JSON values."""
    found = []
    for name, attached in attachments.items():
        path = twin(file, name)
        if not path.is_file():
            continue
        try:
            same = json.loads(read_file(path)) == json.loads(attached)
        except ValueError:
            same = False
        if not same:
            raise ReportContradicted(f"{path} says something else than the report's {name}.")
        found.append(path.name)
    return tuple(found)


def _require_demanded(summary: Mapping[str, Any], demand: Demand) -> None:
    period = summary["period"]
    held = (
        (demand.framework, summary["framework"], "framework"),
        (demand.first_day and f"{demand.first_day}T00:00:00Z", period["start"], "start"),
        (demand.last_day and _day_after(demand.last_day), period["end"], "end"),
    )
    for wanted, there, what in held:
        if wanted is not None and wanted != there:
            raise ReportContradicted(f"The report's {what} is {there}, not {wanted}.")


def _day_after(day: str) -> str:
    first = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    return datetime.fromtimestamp(first.timestamp() + 86400, UTC).strftime("%Y-%m-%dT00:00:00Z")


def _require_verified(session: Session) -> None:
    try:
        verified_log(session)
    except LogTampered as error:
        raise LogTampered(
            f"The report's signature holds, but the log does not verify, so nothing can be "
            f"recomputed from it. {error}",
            index=error.index,
        ) from error


def _entry(session: Session, pdf: bytes) -> int | None:
    """Return the index of the entry that recorded the making of this file."""
    digest = hashlib.sha256(pdf).hexdigest()
    for index, event in evidence.events(session.engine):
        own = event["sealgate"]
        if (
            event["api"]["operation"] == "report.generated"
            and own.get("detail", {}).get("sha256") == digest
        ):
            return index
    return None
