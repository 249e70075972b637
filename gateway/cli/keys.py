"""`sealgate keys`: what the keyring holds, and the life of each key. Never a secret.

Every change is an entry of the log with who made it and why. See docs/keys.md.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import recovering
from gateway.cli.destroying import destroy_key, security_principal
from gateway.cli.output import (
    HomeOption,
    JsonOption,
    note,
    print_json,
    print_lines,
    print_table,
    progress,
)
from gateway.cli.sealing import record
from gateway.cli.session import Session, opened, operator
from gateway.cli.trust import earlier_keys, verifier_key
from gateway.errors import SettingsInvalid
from gateway.keyevents import operator_name
from privacy import sealed, states
from privacy.destruction import WINDOW_S
from privacy.genesis import PURPOSES
from privacy.references import KEK, SIGNERS, Reference
from privacy.sealed import SealedModel
from privacy.signatures import ED25519, MLDSA65
from privacy.snapshot import Snapshot, number, reference
from privacy.states import Act

app = typer.Typer(
    help="Keys: list, rotate, revoke, destroy, reencrypt, backup, restore.", no_args_is_help=True
)

app.command("backup")(recovering.back_up)
app.command("restore")(recovering.restore)
app.command("recovery-key")(recovering.make_recovery_key)

ReasonOption = Annotated[str, typer.Option(help="Why, as the log's entry says it.")]
KeyArgument = Annotated[
    str, typer.Argument(help="As `sealgate keys list` shows it, such as watermark@1.")
]


@app.command("list")
def list_all(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List every key with its state, and the public keys."""
    with opened(home) as session:
        shown = _shown(session)
    if as_json:
        print_json(shown)
        return
    columns = ("key", "state", "created")
    print_table(columns, [[row[column] for column in columns] for row in shown["keys"]])
    # Unwrapped: a public key that is broken over two lines cannot be copied.
    print_lines("public keys (Ed25519):")
    print_lines(*(f"  {each['name']:<12}{each['public']}" for each in shown["signing"]))
    print_lines(f"verifier key of the log: {shown['vkey']}")


@app.command()
def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of: {', '.join((KEK, *PURPOSES, *SIGNERS))}.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    reason: ReasonOption = "scheduled rotation",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin the next epoch of keys, also under a gateway that serves. Earlier ones stay readable.

    A model's data key changes with its file: `sealgate keys reencrypt`.
    """
    chosen = [*PURPOSES, *SIGNERS, KEK] if every else list(names or [])
    if not chosen:
        raise SettingsInvalid("Name the keys to rotate, or give --all.")
    with opened(home) as session:
        now = {name: _rotate(session, Reference.parse(name), reason) for name in chosen}
    if as_json:
        print_json({"rotated": now})
    else:
        print_lines(*(f"{name} is at epoch {epoch}." for name, epoch in now.items()))


@app.command()
def revoke(
    key: KeyArgument,
    *,
    reason: ReasonOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark an epoch as known to others. Rotate first: nothing may rest on it any more."""
    name = Reference.parse(key)
    with opened(home) as session:
        act = operators_act(session, reason)
        session.keyring.change(lambda s: states.compromised(s, name, act=act))
        session.record_transitions()
    _print_state(name, "compromised", as_json=as_json)


@app.command()
def destroy(
    key: KeyArgument,
    *,
    reason: ReasonOption,
    credential_file: Annotated[
        Path | None,
        typer.Option(help="File with your API key of role security; asked for if absent."),
    ] = None,
    window_min: Annotated[
        int, typer.Option(min=1, max=1440, help="Minutes within which another must confirm.")
    ] = WINDOW_S // 60,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Destroy a key for good. The first principal's call asks, a second principal's confirms."""
    name = Reference.parse(key)
    with opened(home) as session:
        principal = security_principal(session, credential_file)
        state = destroy_key(session, name, principal, reason=reason, window_s=window_min * 60)
    _print_state(name, state, as_json=as_json)
    if state != "destroyed" and not as_json:
        note(f"Another security principal has {window_min} minutes to run the same command.")


@app.command()
def reencrypt(
    models: Annotated[list[str] | None, typer.Argument(help="Model ids.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every sealed model.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give models fresh data keys: each file is written anew, and earlier copies load no more."""
    with opened(home) as session:
        chosen = session.home.model_ids() if every else list(models or [])
        if not chosen:
            raise SettingsInvalid("Name the models to re-encrypt, or give --all.")
        made = []
        with progress("Re-encrypting models", total=len(chosen)) as told:
            for model_id in chosen:
                made.append(_reencrypt(session, model_id))
                told(len(made))
    if as_json:
        print_json({"reencrypted": {m.model_id: m.generation for m in made}})
    else:
        print_lines(*(f"{m.model_id} is at generation {m.generation}." for m in made))


def _reencrypt(session: Session, model_id: str) -> SealedModel:
    path = sealed.container(session.home.models, model_id)
    model = sealed.reencrypt(path, keyring=session.keyring)
    record(session, "model.sealed", model)
    session.record_transitions()
    return model


def _rotate(session: Session, name: Reference, reason: str) -> int:
    """Rotate a key in steps that each leave a usable keyring; return the epoch in use now."""
    keyring, act = session.keyring, operators_act(session, reason)
    if name.name == KEK and not name.model:
        keyring.rekey(act=act)
        session.record_transitions()
        return keyring.snapshot().content.kek_epoch
    # The new key's entry is written while the old one signs: who trusts the old checkpoint key
    # finds its successor under it.
    keyring.change(lambda s: states.prepared(s, name, act=act))
    session.record_transitions()
    after = keyring.change(lambda s: states.activated(s, name, act=act))
    session.record_transitions()
    return states.active_number(after, name)


def operators_act(session: Session, reason: str) -> Act:
    """Describe a change of keys by who runs this command, now."""
    return session.keyring.act(actor=operator_name(operator()), reason=reason)


def _shown(session: Session) -> dict[str, Any]:
    keyring = session.keyring
    return {
        "keys": _rows(keyring.snapshot()),
        "derived": [{"purpose": p, "epoch": keyring.active_epoch(p)} for p in PURPOSES],
        "signing": [{"name": n, "public": keyring.public_key(n).hex()} for n in SIGNERS],
        "seal_keys": [
            {"epoch": k.epoch, ED25519: k.ed25519.hex(), MLDSA65: k.mldsa65.hex()}
            for k in keyring.seal_keys()
        ],
        "vkey": verifier_key(session).encode(),
        "earlier_vkeys": [key.encode() for key in earlier_keys(session)],
    }


def _rows(snapshot: Snapshot) -> list[dict[str, str]]:
    content = snapshot.content
    kek_s = content.kek_created_s or content.created_s
    rows = {f"{KEK}@{content.kek_epoch}": ("active", kek_s)}
    for key in sorted(snapshot.every(), key=lambda each: (str(reference(each).name), number(each))):
        rows[str(reference(key))] = (key.state, key.created_s)
    return [
        {
            "key": name,
            "state": state,
            "created": datetime.fromtimestamp(created_s, UTC).isoformat(timespec="seconds"),
        }
        for name, (state, created_s) in rows.items()
    ]


def _print_state(name: Reference, state: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"key": str(name), "state": state})
    else:
        print_lines(f"{name}: {state}.")
