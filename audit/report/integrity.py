"""The log's integrity, and its checkpoint."""

from reportlab.platypus import Flowable, KeepTogether

from audit.report import oversight
from audit.report import typography as look
from audit.report.dossier import Dossier
from audit.report.layout import heading, table

ANCHORED = "anchored: the checkpoint is held in another trust domain as well"
UNANCHORED = (
    "unanchored: whoever holds both the log and its signing key could rewrite all of it unnoticed"
)

SIGNATURE = (
    "This file is signed with the gateway's report key (PAdES B-B). Attached to it is what it says "
    "as JSON, once in the gateway's own form and once as OSCAL assessment results. To check it:"
)
CHECKS = (
    "Obtain the report key's certificate from the gateway's operator, and not from this file.",
    (
        "sealgate report verify FILE --certificate PEM checks the signature, that it covers every "
        "byte, and that its attachments agree with each other. A reader of PDF checks less: it "
        "may accept what was added later."
    ),
    (
        "sealgate report verify FILE beside the log makes every figure and every page again and "
        "compares them with this file."
    ),
)


def log_integrity(dossier: Dossier) -> list[Flowable]:
    """Print the log's state and the order of its entries."""
    log, sequence = dossier.log, dossier.row("sequence")
    read = dossier.row("entries_read")
    state = [
        ("Origin", log.origin),
        ("Size", f"{log.size:,} entries"),
        ("Root (SHA-256)", look.text(log.root_hex or "none", "cell-code")),
        ("Verification", _verification(dossier)),
        ("Anchor", ANCHORED if log.anchored else UNANCHORED),
        ("Entries read", f"{read['entries']:,}, {read['first_idx']:,} to {read['last_idx']:,}"),
    ]
    order = [
        ("Intents", sequence["intents"]),
        ("Outcomes", sequence["outcomes"]),
        ("Intents closed as unknown after an interruption", sequence["recovered"]),
        ("Outcomes without an intent before them", sequence["outcomes_without_intent"]),
        ("Intents still open at the checkpoint", sequence["open_intents"]),
        ("Of these, left open over a restart", sequence["dangling_intents"]),
    ]
    return [
        *heading("Log integrity"),
        look.text(
            "The log is a Merkle tree (RFC 6962) whose root is signed. Each request has an intent "
            "that was durable before a model ran, and an outcome that was durable before the "
            "answer ended."
        ),
        KeepTogether(
            table(
                ["State of the log", ""],
                [[look.text(name, "cell-strong"), value] for name, value in state],
                [22, 78],
            )
        ),
        KeepTogether(
            table(["Order of the period's entries", "Entries"], order, [80, 20], numbers=[1])
        ),
        look.text("Anchors and acknowledgement", "subheading"),
        *oversight.anchors(dossier),
        *oversight.acknowledgement(dossier),
    ]


def checkpoint(dossier: Dossier) -> list[Flowable]:
    """Print the signed note whose root covers every figure, and how this file is signed."""
    note = dossier.log.checkpoint_note
    return [
        *heading("Checkpoint and signature"),
        look.text(
            "The signed note (C2SP tlog-checkpoint) of the tree that this report was made from. "
            f"Compare it with a copy obtained elsewhere. This log is "
            f"{'anchored' if dossier.log.anchored else 'unanchored'}."
        ),
        look.lines(note) if note.strip() else look.text("No checkpoint was given."),
        look.text(SIGNATURE),
        *[look.bullet(each, mark=f"{at}.") for at, each in enumerate(CHECKS, 1)],
    ]


def _verification(dossier: Dossier) -> str:
    if dossier.log.problem is not None:
        return f"failed: {dossier.log.problem}"
    if dossier.log.verified:
        return "each entry was replayed against the root, and the root's signature holds"
    return "not verified"
