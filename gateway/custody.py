"""What unlocks the keyring here: a passphrase or a key file, from settings or from a person."""

import base64
import json
import sys
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import Literal

from gateway.errors import SettingsInvalid
from gateway.settings import Settings
from privacy.custodians.keyfile import KeyFile
from privacy.custodians.passphrase import Passphrase
from privacy.keyring import Custodian


@dataclass(frozen=True, slots=True)
class Secret:
    """A custodian's secret: a passphrase, or where its key file lies."""

    kind: Literal["passphrase", "keyfile"]
    value: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Encode for the pipe to the key broker."""
        return json.dumps(
            {"kind": self.kind, "value": base64.b64encode(self.value).decode()}
        ).encode()

    @staticmethod
    def decode(data: bytes) -> "Secret":
        """Decode what `encode` made."""
        fields = json.loads(data)
        return Secret(fields["kind"], base64.b64decode(fields["value"]))


def secret(settings: Settings) -> Secret:
    """Return the secret that the settings name, or ask the person at the terminal.

    Raises:
        SettingsInvalid: Nothing names one and nobody can be asked, or the file cannot be read.
    """
    if settings.key_file is not None:
        return Secret("keyfile", str(settings.key_file.expanduser().absolute()).encode())
    if settings.passphrase_file is not None:
        return passphrase(settings.passphrase_file)
    if not sys.stdin.isatty():
        raise SettingsInvalid(
            "The keyring needs its passphrase or key file: set SEALGATE_KEY_FILE or "
            "SEALGATE_PASSPHRASE_FILE, or run in a terminal."
        )
    return Secret("passphrase", getpass("Keyring passphrase: ").encode())


def custodian(secret: Secret) -> Custodian:
    """Return the custodian that the secret belongs to."""
    if secret.kind == "keyfile":
        return KeyFile(Path(secret.value.decode()))
    return Passphrase(secret.value)


def passphrase(path: Path) -> Secret:
    """Read a passphrase from the first line of a file.

    Raises:
        SettingsInvalid: It cannot be read, or the line is empty.
    """
    try:
        line = path.expanduser().read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise SettingsInvalid(
            f"The passphrase file {path} cannot be read: {error.strerror}."
        ) from None
    if not line:
        raise SettingsInvalid(f"The passphrase file {path} has an empty first line.")
    return Secret("passphrase", line)
