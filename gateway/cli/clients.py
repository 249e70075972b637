"""`sealgate clients`: API credentials of applications, officers and auditors."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli.output import HomeOption, JsonOption, note, print_json, print_lines, print_table
from gateway.cli.session import Session, opened
from gateway.errors import FileUnreadable
from gateway.identity import Credential, Role
from gateway.issuance import added, draw, draw_successor, state
from gateway.scopes import Scopes

app = typer.Typer(help="API credentials: add, list, rotate, revoke.", no_args_is_help=True)


@app.command()
def add(
    *,
    name: Annotated[str, typer.Option(help="What the credential is for, as entries name it.")],
    tenant: Annotated[str, typer.Option(help="Whose requests these are; keys differ by tenant.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.CLIENT,
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never if absent.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A route or model:ID it is confined to; repeatable.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file of the client certificate that is its key.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a credential and print its key, which is shown only once."""
    with opened(home) as session:
        credential, key = issue(
            session,
            name=name,
            tenant=tenant,
            role=role,
            expires_days=expires_days,
            scopes=frozenset(scope) if scope else None,
            certificate=_certificate(certificate) if certificate else None,
        )
    if certificate is not None:
        _show_plain(credential, as_json=as_json)
    elif as_json:
        print_json(_shown(credential) | {"key": key})
    else:
        note("This key is shown only once:")
        print_lines(key)


@app.command("list")
def list_all(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the credentials, never their keys."""
    with opened(home) as session:
        rows = [_shown(credential) for credential in session.credentials().list()]
    if as_json:
        print_json(rows)
        return
    columns = ("id", "name", "tenant", "role", "state")
    print_table(columns, [[row[column] for column in columns] for row in rows])


@app.command()
def rotate(
    credential_id: Annotated[str, typer.Argument(help="As `sealgate clients list` shows it.")],
    *,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=24 * 90, help="Hours that the old key still works.")
    ] = 24,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a successor with a key of its own; the old key works on for a while."""
    with opened(home) as session:
        now, table = datetime.now(UTC), session.credentials()
        credential, key = draw_successor(table.working(credential_id, now=now), now=now)
        session.record("credential.added", added(credential, succeeds=credential_id))
        overlap = timedelta(hours=overlap_hours)
        table.succeed(credential_id, credential, key, now=now, overlap=overlap)
    if as_json:
        print_json(_shown(credential) | {"key": key, "succeeds": credential_id})
    else:
        note("This key is shown only once:")
        print_lines(key)


@app.command()
def revoke(
    credential_id: Annotated[str, typer.Argument(help="As `sealgate clients list` shows it.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a credential from now on, also in a gateway that is serving."""
    with opened(home) as session:
        withdraw(session, credential_id)
    if as_json:
        print_json({"id": credential_id, "state": "revoked"})
    else:
        print_lines(f"Revoked {credential_id}.")


def issue(
    session: Session,
    *,
    name: str,
    tenant: str,
    role: Role,
    expires_days: int | None,
    scopes: Scopes = None,
    certificate: bytes | None = None,
) -> tuple[Credential, str]:
    """Record a credential, store it, and return it with its key.

    Raises:
        CredentialInvalid: A name cannot be stored, or the certificate is a credential already.
        LogUnavailable: The entry is not on disk, and the credential not stored.
    """
    now, table = datetime.now(UTC), session.credentials()
    credential, key = draw(
        tenant=tenant,
        name=name,
        role=role,
        now=now,
        expires=now + timedelta(days=expires_days) if expires_days else None,
        scopes=scopes,
        certificate=certificate,
    )
    table.require_new(key)
    session.record("credential.added", added(credential))
    table.store(credential, key)
    return credential, key


def withdraw(session: Session, credential_id: str) -> None:
    """Record that a credential is revoked, and revoke it.

    Raises:
        CredentialUnknown: There is no active one of that id.
        LogUnavailable: The entry is not on disk, and the credential as it was.
    """
    table = session.credentials()
    table.unrevoked(credential_id)
    session.record("credential.revoked", {"credential_id": credential_id})
    table.revoke(credential_id, now=datetime.now(UTC))


def _certificate(path: Path) -> bytes:
    """Return a certificate's DER.

    Raises:
        FileUnreadable: The file holds none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise FileUnreadable(f"{path} holds no PEM certificate.") from None
    return certificate.public_bytes(Encoding.DER)


def _show_plain(credential: Credential, *, as_json: bool) -> None:
    if as_json:
        print_json(_shown(credential))
    else:
        print_lines(f"Added {credential.credential_id}; its certificate is its key.")


def _shown(credential: Credential) -> dict[str, Any]:
    return {
        "id": credential.credential_id,
        "name": credential.name,
        "tenant": credential.tenant,
        "role": credential.role.value,
        "state": state(credential, now_ms=int(datetime.now(UTC).timestamp() * 1000)),
        "created_ms": credential.created_ms,
        "expires_ms": credential.expires_ms,
        "revoked_ms": credential.revoked_ms,
        "scopes": sorted(credential.scopes or ()),
    }
