"""Tiers and models, sandbox, watermark coverage, keys."""

from datetime import UTC, datetime
from typing import Any

from reportlab.platypus import Flowable, KeepTogether

from audit.report import typography as look
from audit.report.charts import Series, draw_shares
from audit.report.dossier import Dossier
from audit.report.layout import heading, table

MOST_KEYS = 10
MARKS = {
    "traceable": (look.TRACEABLE, "long enough to lead back to its request alone"),
    "weak": (look.DENIED, "marked, but too short or too predictable to be sure"),
    "unmarked": (look.NEUTRAL, "no mark: nothing leads back to the request"),
    "missing": (look.FAILED, "the record does not say"),
}


def models(dossier: Dossier) -> list[Flowable]:
    """Print which model answered in which tier, and how each was sealed."""
    used, sealed = dossier.rows("models_used"), dossier.rows("models_sealed")
    return [
        *heading("Tiers and models"),
        table(
            ["Model", "Digest", "Gen.", "Tier", "Answered", "Requests", "Tokens"],
            [_model(each) for each in used] or [["no model was used", "", "", "", "", "", ""]],
            [22, 34, 7, 9, 11, 10.5, 11.5],
            numbers=[2, 4, 5, 6],
            codes=[1],
        ),
        look.text("Sealing on record", "subheading"),
        table(
            ["Day", "Entry", "Model", "Digest", "Gen.", "Cipher"],
            [_sealed(each) for each in sealed] or [["no entry of a sealing", "", "", "", "", ""]],
            [13, 8, 22, 28, 7, 22],
            numbers=[1, 4],
            codes=[3],
        ),
        *_sealed_now(dossier),
        *_connection(dossier),
    ]


def sandbox(dossier: Dossier) -> list[Flowable]:
    """Print how many answers have an attestation, and what the attestations agree on."""
    row = dossier.row("choice_records")
    killed = {each["operation"]: each["events"] for each in dossier.rows("system_operations")}
    attested = dossier.rows("sandbox_attestation")
    return [
        *heading("Sandbox"),
        look.text(
            f"{row['choices']:,} answers were completed (a request may ask for several); "
            f"{row['without_sandbox']:,} of those from local models have no attestation of the "
            f"sandbox they ran in. Sandboxes killed: {killed.get('sandbox.killed', 0):,}."
        ),
        table(
            ["The attestations say", "Answers", "Value"],
            [[each["name"], each["choices"], _value(each)] for each in attested]
            or [["no attestation in the period", "", ""]],
            [34, 13, 53],
            numbers=[1],
        ),
    ]


def watermark(dossier: Dossier) -> list[Flowable]:
    """Print how many answers can be led back to their request, as it is."""
    rows = {each["mark"]: each for each in dossier.rows("mark_coverage")}
    if not rows:
        return [
            *heading("Watermark coverage"),
            look.text("No answer was completed in the period, so there is no coverage."),
        ]
    shown = [mark for mark in MARKS if mark in rows or mark != "missing"]
    bars = [Series(mark, MARKS[mark][0], (rows.get(mark, {}).get("choices", 0),)) for mark in shown]
    return [
        *heading("Watermark coverage"),
        look.text(
            "Each answer's mark is graded by the sampler when it was drawn. A later edit, "
            "translation or excerpt weakens a mark; this counts answers as they left."
        ),
        KeepTogether(
            [
                draw_shares(bars, across="answers"),
                look.text("Answers by their mark.", "caption"),
                table(
                    ["Mark", "Answers", "Tokens", "What it means"],
                    [_mark(mark, rows.get(mark, {})) for mark in shown],
                    [16, 12, 12, 60],
                    numbers=[1, 2],
                ),
            ]
        ),
    ]


def keys(dossier: Dossier) -> list[Flowable]:
    """Print the keys' states and what happened to them; never a value."""
    events = dossier.rows("key_events")
    return [
        *heading("Keys"),
        *_keyring(dossier),
        table(
            ["Events on keys in the period", "Key", "Epoch", "Events"],
            [[each["operation"], each["name"], each["epoch"] or "", each["events"]]
             for each in events] or [["none recorded", "", "", ""]],
            [34, 40, 13, 13],
            numbers=[2, 3],
        ),
    ]  # fmt: skip


def _keyring(dossier: Dossier) -> list[Flowable]:
    if not dossier.facts.keys:
        return [look.text("The keyring's state was not given to this report.")]
    return [
        look.text("The keyring as the gateway described it when the report was made."),
        *_ages(dossier),
        table(
            ["Key", "Created", "Age (days)", "Epoch", "State"],
            [
                [look.shortened(each.name), each.created or "not given",
                 _age(each.created, dossier.generated), _given(each.epoch), _given(each.state)]
                for each in dossier.facts.keys
            ],
            [32, 26, 14, 10, 18],
            numbers=[2, 3],
        ),
    ]  # fmt: skip


def _ages(dossier: Dossier) -> list[Flowable]:
    """Draw the oldest keys that are in use; one that was replaced has no age that matters."""
    ages = [(_days_since(each.created, dossier.generated), each.name)
            for each in dossier.facts.keys if each.state in (None, "active")]  # fmt: skip
    known = sorted(((age, name) for age, name in ages if age is not None), reverse=True)
    # Keys of one day are one bar's breadth: a chart of them would show nothing.
    if not known or not known[0][0]:
        return []
    bars = [
        Series(look.shortened(name, 24), look.ANSWERED, (max(0, age),))
        for age, name in known[:MOST_KEYS]
    ]
    return [
        KeepTogether(
            [
                draw_shares(bars, across="days since the key was made"),
                look.text(f"Age of the active keys, the {MOST_KEYS} oldest at most.", "caption"),
            ]
        )
    ]


def _sealed_now(dossier: Dossier) -> list[Flowable]:
    if not dossier.facts.models:
        return [look.text("The models' present seals were not given to this report.")]
    return [
        look.text("Seals as the gateway described them when the report was made", "subheading"),
        table(
            ["Model", "Digest", "Gen.", "Cipher", "Signature"],
            [
                [look.shortened(each.id), _given(each.digest), _given(each.generation),
                 _given(each.cipher), _given(each.signature)]
                for each in dossier.facts.models
            ],
            [22, 32, 7, 22, 17],
            numbers=[2],
            codes=[1],
        ),
    ]  # fmt: skip


def _connection(dossier: Dossier) -> list[Flowable]:
    starts = dossier.rows("gateway_starts")
    return [
        look.text("Connection to callers, by start of the gateway", "subheading"),
        table(
            ["Day", "Entry", "Address", "TLS"],
            [[each["day"], each["idx"], look.shortened(each["host"] or "not given"), each["tls"]]
             for each in starts] or [["no start on record", "", "", ""]],
            [22, 14, 44, 20],
            numbers=[1],
        ),
    ]  # fmt: skip


def _model(row: dict[str, Any]) -> list[object]:
    return [
        look.shortened(str(row["model_id"])),
        row["model_digest"],
        row["model_generation"],
        row["tier"],
        row["answered"],
        row["requests"],
        row["completion_tokens"],
    ]


def _sealed(row: dict[str, Any]) -> list[object]:
    return [
        row["day"],
        row["idx"],
        look.shortened(str(row["model_id"])),
        row["model_digest"] or "not given",
        row["generation"],
        look.shortened(row["cipher"] or "not given"),
    ]


def _mark(mark: str, row: dict[str, Any]) -> list[object]:
    return [mark, row.get("choices", 0), row.get("tokens", 0), MARKS[mark][1]]


def _value(row: dict[str, Any]) -> str:
    if row["values_seen"] > 1:
        return f"{row['values_seen']:,} different values"
    return look.shortened(str(row["value"]) or "empty", 90)


def _age(created: str | None, now: datetime) -> str:
    days = _days_since(created, now)
    return "not given" if days is None else f"{days:,}"


def _days_since(created: str | None, now: datetime) -> int | None:
    """Return whole days since a time in RFC 3339, if it is one."""
    try:
        moment = datetime.fromisoformat(created or "")
    except ValueError:
        return None
    # A date alone means its first moment in UTC.
    return (now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).days


def _given(value: object) -> str:
    return "not given" if value is None else str(value)
