"""What unlocks the keyring here: a secret of settings or a person, or a service that they name.

A custodian file is TOML: `kind`, and what that kind needs (docs/keys.md). It names files that hold
secrets; it holds none itself.
"""

import base64
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from getpass import getpass
from pathlib import Path
from typing import Any, Literal

from gateway.errors import SettingsInvalid
from gateway.settings import Settings
from privacy.custodians import aws_kms, credential, pkcs11, transit
from privacy.custodians.aws_kms import AwsKms
from privacy.custodians.credential import SystemdCredential
from privacy.custodians.keyfile import KeyFile
from privacy.custodians.passphrase import Passphrase
from privacy.custodians.pkcs11 import Pkcs11
from privacy.custodians.transit import VaultTransit
from privacy.keyring import Custodian

KINDS = (transit.KIND, aws_kms.KIND, pkcs11.KIND, credential.KIND)
# A PKCS#11 module may speak to an appliance.
NETWORKED = (transit.KIND, aws_kms.KIND, pkcs11.KIND)


@dataclass(frozen=True, slots=True)
class Secret:
    """A custodian's secret: a passphrase, where its key file lies, or how its service is named.

    value: of a service, its custodian file's content as JSON.
    """

    kind: Literal["passphrase", "keyfile", "service"]
    value: bytes = field(repr=False)

    @property
    def networked(self) -> bool:
        """Whether unlocking needs the network."""
        return self.kind == "service" and json.loads(self.value).get("kind") in NETWORKED

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
    if settings.custodian_file is not None:
        return service(settings.custodian_file)
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
    if secret.kind == "service":
        return _service(json.loads(secret.value))
    return Passphrase(secret.value)


def service(path: Path) -> Secret:
    """Read a custodian file.

    Raises:
        SettingsInvalid: It cannot be read, or names no custodian.
    """
    try:
        named = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = type(error).__name__
        raise SettingsInvalid(f"The custodian file {path} cannot be read ({kind}).") from None
    if named.get("kind") == credential.KIND:
        # The service manager names the place to this process; the key broker has no environment.
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
        named = {"directory": directory, **named}
    _service(named)
    return Secret("service", json.dumps(named).encode())


def _service(named: Mapping[str, Any]) -> Custodian:
    """Return the custodian that a custodian file names."""
    members = {key: value for key, value in named.items() if key != "kind"}
    for name, value in members.items():
        # None of them has another type, and a control character could end a header.
        if not isinstance(value, str) or not value.isprintable():
            raise SettingsInvalid(f"The custodian file's {name} is not plain text in quotes.")
    for name in ("token_file", "ca_file", "module", "pin_file"):
        if name in members:
            members[name] = Path(str(members[name])).expanduser()
    try:
        match named.get("kind"):
            case transit.KIND:
                return VaultTransit(**members)
            case aws_kms.KIND:
                return AwsKms(**members)
            case pkcs11.KIND:
                return Pkcs11(**members)
            case credential.KIND:
                environment = {"CREDENTIALS_DIRECTORY": str(members.pop("directory"))}
                return SystemdCredential.of_unit(str(members["name"]), environment)
    except (TypeError, KeyError):
        raise SettingsInvalid(
            f"The custodian file lacks a member of {named.get('kind')}, or has one too many."
        ) from None
    raise SettingsInvalid(f"A custodian file's kind is one of {', '.join(KINDS)}.")


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
