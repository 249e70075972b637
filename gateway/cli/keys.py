"""`sealgate keys`: what the keyring holds. Public halves and epochs; never a secret."""

from typing import Any

import typer

from audit.checkpoint import VerifierKey
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, print_table
from gateway.cli.session import Session, opened
from privacy.genesis import PURPOSES

SIGNING = ("checkpoint", "report", "seal")

app = typer.Typer(help="Keys: list.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keep `list` a subcommand."""


@app.command("list")
def list_all(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List purposes with their epoch, and the public keys."""
    with opened(home) as session:
        shown = _shown(session)
    if as_json:
        print_json(shown)
        return
    print_table(
        ("purpose", "active epoch"), [(k["purpose"], str(k["epoch"])) for k in shown["derived"]]
    )
    print_table(
        ("signs", "Ed25519 public key"), [(k["name"], k["public"]) for k in shown["signing"]]
    )
    print_lines(f"verifier key of the log: {shown['vkey']}")


def verifier_key(session: Session) -> VerifierKey:
    """Return the key that an auditor verifies this deployment's checkpoints under."""
    return VerifierKey(session.settings.origin, session.keyring.public_key("checkpoint"))


def _shown(session: Session) -> dict[str, Any]:
    keyring = session.keyring
    return {
        "derived": [{"purpose": p, "epoch": keyring.active_epoch(p)} for p in PURPOSES],
        "signing": [{"name": n, "public": keyring.public_key(n).hex()} for n in SIGNING],
        "vkey": verifier_key(session).encode(),
    }
