"""What each command looks like in use: shown under its `--help`, and tried by a test."""

from typing import Any

EXAMPLES = {
    "init": ("sealgate init", "sealgate init --passphrase-file /run/secrets/sealgate"),
    "serve": ("sealgate serve", "sealgate serve --host 127.0.0.1 --port 8443"),
    "demo": ("sealgate demo",),
    "doctor": ("sealgate doctor", "sealgate doctor --json"),
    "models fetch": ("sealgate models fetch smollm2-135m",),
    "models import": ("sealgate models import mistral-7b.Q4_0.gguf --id ward-7b",),
    "models compress": (
        "sealgate models compress full.gguf --id small --text notes.txt --groups 2 --channels 1024",
    ),
    "models seal": ("sealgate models seal ward-7b",),
    "models verify": ("sealgate models verify ward-7b",),
    "models list": ("sealgate models list",),
    "models inspect": ("sealgate models inspect ward-7b --json",),
    "models statement": ("sealgate models statement ward-7b --out ward-7b.sigstore.json",),
    "clients add": (
        "sealgate clients add --name ward-app --tenant clinic",
        "sealgate clients add --name anna --tenant clinic --role officer --expires-days 90",
    ),
    "clients list": ("sealgate clients list",),
    "clients rotate": ("sealgate clients rotate cred_8f31a2 --overlap-hours 24",),
    "clients revoke": ("sealgate clients revoke cred_8f31a2",),
    "keys list": ("sealgate keys list",),
    "keys rotate": (
        "sealgate keys rotate watermark --reason quarterly",
        "sealgate keys rotate --all --reason 'an administrator left'",
    ),
    "keys revoke": ("sealgate keys revoke watermark@1 --reason 'seen in a ticket'",),
    "keys destroy": (
        "sealgate keys destroy watermark@1 --reason 'retention is over' --credential-file mine.key",
    ),
    "keys reencrypt": ("sealgate keys reencrypt ward-7b", "sealgate keys reencrypt --all"),
    "keys backup": (
        "sealgate keys backup keys.backup --shares 5 --threshold 3 --shares-into shares",
    ),
    "keys restore": (
        "sealgate keys restore keys.backup --share-file share-1.txt --share-file share-4.txt",
    ),
    "keys recovery-key": ("sealgate keys recovery-key recovery.key",),
    "policy check": (
        "sealgate policy check --data-class phi --purpose treatment",
        "sealgate policy check new-policy.toml --data-class phi --tenant clinic",
    ),
    "watermark verify": (
        "sealgate watermark verify letter.txt",
        "pdftotext letter.pdf - | sealgate watermark verify -",
    ),
    "receipt key": ("sealgate receipt key",),
    "receipt issue": ("sealgate receipt issue req_3c0ff7f33af9 --out answer.receipt",),
    "receipt verify": ("sealgate receipt verify answer.receipt --key receipt.jwk",),
    "audit verify": ("sealgate audit verify", "sealgate audit verify --json"),
    "audit prove": ("sealgate audit prove req_3c0ff7f33af9 --out answer.proof",),
    "audit verify-proof": (
        "sealgate audit verify-proof answer.proof --vkey clinic.example/log+1a2b3c4d+AT...",
    ),
    "audit consistency": ("sealgate audit consistency last-month.checkpoint --out growth.proof",),
    "audit anchor": ("sealgate audit anchor",),
    "audit search": (
        "sealgate audit search --decision denied --from 2026-11-01",
        "sealgate audit search --request req_3c0ff7f33af9 --json",
    ),
    "audit disclosures": ("sealgate audit disclosures ps_9c1d --from 2026-01-01",),
    "audit export": (
        "sealgate audit export --format fhir --from 2026-11-01 --to 2026-12-01 --out november.json",
    ),
    "audit seal": ("sealgate audit seal 2026-10",),
    "audit prune": ("sealgate audit prune 2020-10",),
    "audit hold": ("sealgate audit hold case-1138 --scope tenant --value clinic",),
    "audit lift": ("sealgate audit lift case-1138",),
    "audit holds": ("sealgate audit holds",),
    "audit content": ("sealgate audit content req_3c0ff7f33af9",),
    "audit expire": ("sealgate audit expire",),
    "audit shred": ("sealgate audit shred ps_9c1d",),
    "audit review": ("sealgate audit review --from 2026-10-01 --to 2026-11-01",),
    "audit disclose": (
        "sealgate audit disclose ps_9c1d --recipient 'City Registry' --what letter --purpose law",
    ),
    "report generate": (
        "sealgate report generate --framework hipaa --from 2026-10-01 --to 2026-11-01",
    ),
    "report verify": ("sealgate report verify hipaa-20261101.pdf --certificate report.pem",),
    "report certificate": ("sealgate report certificate --out report.pem",),
    "report schedule list": ("sealgate report schedule list",),
    "report schedule add": ("sealgate report schedule add hipaa --every monthly",),
    "report schedule remove": ("sealgate report schedule remove sch_1",),
    "incident open": ("sealgate incident open --summary 'A key was mailed' --severity high",),
    "incident assess": (
        "sealgate incident assess inc_1 --breach no --summary 'Revoked before it was used'",
    ),
    "incident notify": (
        "sealgate incident notify inc_1 --recipient 'persons concerned' --affected 12",
    ),
    "incident close": ("sealgate incident close inc_1 --summary 'Keys rotated'",),
    "incident list": ("sealgate incident list",),
    "route explain": ("sealgate route explain --text 'Summarise this note' --data-class phi",),
    "route drain": ("sealgate route drain edge",),
    "route resume": ("sealgate route resume edge",),
    "insight report": ("sealgate insight report --out insight.html",),
    "insight tune": ("sealgate insight tune", "sealgate insight tune --apply"),
    "train run": (
        "sealgate train run notes.toml",
        "sealgate train run notes.toml --resume run_7f3a",
    ),
    "train verify": ("sealgate train verify run.certificate.json",),
    "train audit": ("sealgate train audit --epsilon 3 --delta 1e-6 --rate 0.01 --steps 400",),
    "train import": ("sealgate train import run_7f3a --base smollm2-135m --id ward-notes",),
    "budget list": ("sealgate budget list",),
    "budget show": ("sealgate budget show ward-notes",),
    "budget verify": ("sealgate budget verify",),
    "budget release": ("sealgate budget release run_7f3a",),
}


def show(command: Any, words: tuple[str, ...] = ()) -> None:
    """Put the examples under the help of a click command and of each below it."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            show(child, (*words, name))
        return
    lines = EXAMPLES.get(" ".join(words), ())
    # Paragraphs, so that each example keeps a line of its own.
    command.epilog = "\n\n".join(["Examples:", *lines]) if lines else None
