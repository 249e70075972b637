"""`sealgate init`: a new home with its keyring, log and settings file."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from audit.store import open_log
from gateway import home as homes
from gateway.cli.output import HomeOption, JsonOption, note, print_json, print_lines
from gateway.cli.session import working
from gateway.custody import Secret, custodian, passphrase, service
from gateway.errors import SettingsInvalid
from gateway.home import Home
from gateway.settings import Settings, load
from privacy.custodians.keyfile import KeyFile
from privacy.errors import KeyringExists
from privacy.keyring import Keyring

SHORTEST_PASSPHRASE = 12


def init(
    *,
    home: HomeOption = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Key file that unlocks the keyring; made if absent, outside the home."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the keyring's passphrase.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home: keyring, log and settings file. Never overwrites one."""
    settings = load(home=home, key_file=key_file, passphrase_file=passphrase_file)
    made = make(settings)
    if as_json:
        print_json({"home": str(made.path), "settings": str(made.settings)})
    else:
        print_lines(f"Made {made.path}.", "Next: sealgate models fetch smollm2-135m")


def make(settings: Settings) -> Home:
    """Make the home that the settings name.

    Raises:
        KeyringExists: There is one already.
        SettingsInvalid: The key file would lie inside the home, or no secret is at hand.
        HomeUnusable: The directory cannot be made.
    """
    planned = Home(settings.home)
    if planned.made:
        raise KeyringExists(f"{settings.home} holds a keyring already. Choose another --home.")
    with fresh_secret(settings) as chosen:
        home = homes.create(settings.home)
        # Before the keyring: a home whose log cannot be made stays one that `init` can make.
        open_log(settings.log_location).dispose()
        keyring = Keyring.create(home.keyring, custodian(chosen))
    write_settings(home, settings)
    with working(settings, home, keyring) as session:
        session.record("log.created", {"origin": settings.origin})
        session.record("key.created", {"name": "keyring", "custodian": chosen.kind})
    return home


@contextmanager
def fresh_secret(settings: Settings) -> Iterator[Secret]:
    """Give what will unlock a keyring that the block makes.

    A key file that was made for it goes again if the block leaves no keyring, with its directories.

    Raises:
        SettingsInvalid: As `new_secret`.
    """
    path = settings.key_file and settings.key_file.expanduser().absolute()
    is_new = path is not None and not path.exists()
    directories = [] if path is None else [each for each in path.parents if not each.exists()]
    chosen = new_secret(settings)
    try:
        yield chosen
    except BaseException:
        if path is not None and is_new and not Home(settings.home).made:
            _take_back(path, directories)
        raise
    if is_new:
        note(f"Made the key file {path}. Without it nothing in the home can be opened: back it up.")


def _take_back(path: Path, directories: list[Path]) -> None:
    """Remove a key file, and those of its directories that are empty; innermost first."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        for directory in directories:
            directory.rmdir()


def new_secret(settings: Settings) -> Secret:
    """Return what will unlock the keyring: a key file, a passphrase file, or a person's words.

    Raises:
        SettingsInvalid: None is at hand, or it would not be safe.
    """
    if settings.custodian_file is not None:
        return service(settings.custodian_file)
    if settings.key_file is not None:
        return _key_file(settings.key_file.expanduser().absolute(), settings.home)
    if settings.passphrase_file is not None:
        return _long_enough(passphrase(settings.passphrase_file))
    if not sys.stdin.isatty():
        raise SettingsInvalid(
            "A keyring needs a secret: give --key-file or --passphrase-file, or run in a terminal."
        )
    first = getpass("New keyring passphrase: ")
    if first != getpass("Once more: "):
        raise SettingsInvalid("The two passphrases differ. Try again.")
    return _long_enough(Secret("passphrase", first.encode()))


def _key_file(path: Path, home: Path) -> Secret:
    if path.resolve().is_relative_to(home.resolve()):
        raise SettingsInvalid(
            f"The key file {path} would lie inside the home, where a copy of the home carries its "
            "own key. Choose a place outside it."
        )
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            KeyFile.create(path)
        except OSError as error:
            raise SettingsInvalid(
                f"The key file {path} cannot be made: {error.strerror}."
            ) from None
    return Secret("keyfile", str(path).encode())


def _long_enough(chosen: Secret) -> Secret:
    if len(chosen.value) < SHORTEST_PASSPHRASE:
        raise SettingsInvalid(f"A passphrase has at least {SHORTEST_PASSPHRASE} characters.")
    return chosen


def write_settings(home: Home, settings: Settings) -> None:
    """Write a settings file that finds the secret again; one that exists is left as it is."""
    lines = ["# Every setting, with its meaning: deploy/sealgate.example.toml"]
    for name in ("key_file", "passphrase_file", "custodian_file"):
        path: Path | None = getattr(settings, name)
        if path is not None:
            # A TOML basic string has JSON's escapes.
            text = json.dumps(str(path.expanduser().absolute()), ensure_ascii=False)
            lines.append(f"{name} = {text}")
    try:
        descriptor = os.open(home.settings, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        there = home.settings.read_text(encoding="utf-8").splitlines()
        lacks = "".join(f" Put this line there: {line}" for line in lines[1:] if line not in there)
        note(f"{home.settings} exists and is left as it is.{lacks}")
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
