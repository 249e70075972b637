"""`sealgate keys backup` and `restore`: the keyring out of a home, and back into one.

Shares and recovery keys come from files, never as arguments. The log of the home that is restored
tells what became of keys since the backup: what was destroyed stays destroyed.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from audit.store import existing_log
from gateway import home as homes
from gateway import instants, keyhistory
from gateway.cli.init import fresh_secret, write_settings
from gateway.cli.output import HomeOption, JsonOption, note, print_json, print_lines, read_file
from gateway.cli.session import opened, operator, working
from gateway.custody import custodian
from gateway.errors import FileUnwritable, SettingsInvalid
from gateway.home import Home
from gateway.keyevents import operator_name
from gateway.keyhistory import KeyHistory
from gateway.settings import Settings, load
from privacy import backup
from privacy.aftermath import relived, unknown_to
from privacy.backup import Envelope, Sealed, Split, with_recovery_key, with_shares
from privacy.errors import KeyringExists
from privacy.keyring import Keyring
from privacy.recovery import RecoveryKey
from privacy.snapshot import Snapshot
from privacy.states import Act


def back_up(
    file: Annotated[Path, typer.Argument(help="File to write; it is encrypted.")],
    *,
    shares: Annotated[int | None, typer.Option(help="How many shares to make.")] = None,
    threshold: Annotated[int | None, typer.Option(help="How many of them restore.")] = None,
    shares_into: Annotated[Path | None, typer.Option(help="Directory for the shares.")] = None,
    recipient_file: Annotated[
        Path | None, typer.Option(help="File with a public recovery key, in place of shares.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back the keyring up, for k of n shares or a recovery key. Models and log are plain copies."""
    with opened(home) as session:
        now_s = int(datetime.now(UTC).timestamp())
        made: Sealed | Split
        written: list[Path] = []
        if recipient_file is not None:
            recipient = read_file(recipient_file).decode(errors="replace")
            made = backup.sealed_backup(session.keyring, recipient=recipient, now_s=now_s)
        elif shares and threshold and shares_into:
            made = backup.split_backup(
                session.keyring, threshold=threshold, shares=shares, now_s=now_s
            )
            written = _written(made, shares_into)
        else:
            raise SettingsInvalid(
                "Give --shares, --threshold and --shares-into, or --recipient-file."
            )
        _write_new(file, made.data)
        detail = {"shares": shares or 0, "threshold": threshold or 0, "name": "keyring"}
        session.record("key.backed_up", {**detail, "backup": made.id})
    if as_json:
        print_json({"file": str(file), "shares": [str(path) for path in written]})
    else:
        print_lines(f"Wrote {file}.", *(f"Wrote {path}." for path in written))
        note(
            "Give each share to another keeper, and leave none on this machine."
            if written
            else "Only the private recovery key opens it: keep that away from this machine."
        )


def _written(split: Split, directory: Path) -> list[Path]:
    """Write each share to a file of its own, and return the files."""
    count = len(split.shares)
    files = [directory / f"share-{share.index}-of-{count}.txt" for share in split.shares]
    for file, share in zip(files, split.shares, strict=True):
        _write_new(file, share.text().encode() + b"\n")
    return files


def make_recovery_key(
    file: Annotated[Path, typer.Argument(help="File for the private half; take it elsewhere.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a recovery key and print its public half, which backups are sealed to."""
    key = RecoveryKey.generate()
    _write_new(file, key.text().encode() + b"\n")
    if as_json:
        print_json({"file": str(file), "public": key.public()})
    else:
        print_lines(key.public())


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    *,
    share_file: Annotated[
        list[Path] | None, typer.Option(help="File with a share; once for each.")
    ] = None,
    recovery_key_file: Annotated[
        Path | None, typer.Option(help="File with the private recovery key.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(help="Key file of the restored keyring.")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File whose first line is its passphrase.")
    ] = None,
    without_log: Annotated[
        bool,
        typer.Option(help="The log is lost: keys that were destroyed since the backup come back."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the keyring into a home that has lost it. Put sealgate.db and models/ back before."""
    settings = load(home=home, key_file=key_file, passphrase_file=passphrase_file)
    planned = Home(settings.home)
    if planned.made:
        raise KeyringExists(f"{settings.home} holds a keyring already. Choose another --home.")
    unlock = _unlock(share_file or [], recovery_key_file)
    log_is_there = _log_is_there(settings, without_log=without_log)
    envelope, snapshot = backup.opened(read_file(file), unlock)
    history = _history(settings, envelope, snapshot) if log_is_there else None
    restored = _restored(settings, envelope, snapshot, history)
    _report(restored, envelope, snapshot, history, as_json=as_json)


def _log_is_there(settings: Settings, *, without_log: bool) -> bool:
    """Say whether there is a log to ask.

    Raises:
        SettingsInvalid: There is none, and nobody said that it is lost.
    """
    location = settings.log_location
    if isinstance(location, str):
        return not without_log
    if not location.exists() and not without_log:
        raise SettingsInvalid(
            f"{location} is not there. Put the log back first: it tells which keys were "
            "destroyed since the backup. If it is lost for good, give --without-log."
        )
    return location.exists()


def _history(settings: Settings, envelope: Envelope, snapshot: Snapshot) -> KeyHistory:
    engine = existing_log(settings.log_location)
    try:
        return keyhistory.read(engine, snapshot, envelope.id, origin=settings.origin)
    finally:
        engine.dispose()


def _restored(
    settings: Settings, envelope: Envelope, snapshot: Snapshot, history: KeyHistory | None
) -> Home:
    reason = f"restored from backup {envelope.id}"
    act = Act(operator_name(operator()), reason, int(datetime.now(UTC).timestamp()))
    happenings = history.happenings if history else []
    with fresh_secret(settings) as secret:
        home = homes.create(settings.home)
        backup.restore(
            home.keyring,
            snapshot,
            custodian=custodian(secret),
            act=act,
            amend=lambda before: relived(before, happenings, act=act),
        )
    write_settings(home, settings)
    keyring = Keyring.unlock(home.keyring, custodian(secret))
    with working(settings, home, keyring) as session:
        session.record("key.restored", {"name": "keyring", "backup": envelope.id})
    return home


def _report(
    home: Home,
    envelope: Envelope,
    snapshot: Snapshot,
    history: KeyHistory | None,
    *,
    as_json: bool,
) -> None:
    """Say what the log could tell of the keys since the backup, and what it could not."""
    found = unknown_to(snapshot, history.happenings if history else [])
    standing = keyhistory.standing(history, made_s=envelope.created_s)
    if as_json:
        ended_ms = history.ended_ms if history else None
        print_json(
            {
                "home": str(home.path),
                "backup": envelope.id,
                "backup_at": instants.written(envelope.created_s * 1000),
                "log": standing.value,
                "log_ends_at": None if ended_ms is None else instants.written(ended_ms),
                "repeated": [
                    {"key": str(each.key), "state": each.state} for each in found.repeated
                ],
                "lost": [str(key) for key in found.lost],
            }
        )
        return
    print_lines(f"Restored the keyring of {home.path} from backup {envelope.id}.")
    for line in keyhistory.sentences(history, found, made_s=envelope.created_s):
        note(line)


def _unlock(share_files: list[Path], recovery_key_file: Path | None) -> Callable[[Envelope], bytes]:
    if recovery_key_file is not None:
        text = read_file(recovery_key_file).decode(errors="replace")
        return with_recovery_key(RecoveryKey.parse(text))
    if not share_files:
        raise SettingsInvalid("Give --share-file for each share, or --recovery-key-file.")
    return with_shares([read_file(path).decode(errors="replace") for path in share_files])


def _write_new(path: Path, content: bytes) -> None:
    """Write a file for its owner alone; one that exists is never overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise FileUnwritable(f"{path} cannot be written: {error.strerror}.") from None
