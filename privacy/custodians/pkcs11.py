"""A PKCS#11 token as custodian: an AES key that never leaves it wraps the KEK. An extra: [pkcs11].

AES-GCM by the token (CKM_AES_GCM), a random 12-byte IV, the purpose as associated data.
"""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy.custodians.records import encoded, octets, require_kind, text
from privacy.derivation import KEY_BYTES, bind
from privacy.errors import CustodianUnusable, KeyringLocked
from privacy.extras import library

KIND = "pkcs11"
_IV_BYTES = 12
_TAG_BITS = 128
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# What the dynamic loader and the interpreter obey is not a library's configuration.
_REFUSED = re.compile(r"LD_.*|PYTHON.*|GLIBC_.*|MALLOC_.*|PATH")
_PURPOSE = bind(b"sealgate/keyring-v1/custodian", KIND.encode())


@dataclass(frozen=True, slots=True)
class Pkcs11:
    """An AES-256 key on a token. module: the token's library. pin_file: its first line.

    environment: `NAME=VALUE`, where the library finds its configuration by a variable; who loads
    it here has an empty environment.
    """

    module: Path
    token: str
    label: str
    pin_file: Path = field(repr=False)
    environment: str = ""

    def create_key(self) -> None:
        """Make the key on the token: sensitive, and never extractable.

        Raises:
            CustodianUnusable: The token refuses, or has a key of that label.
        """
        pkcs11 = library("pkcs11", extra="pkcs11")
        with self._session() as session:
            if list(session.get_objects(self._attributes())):
                raise CustodianUnusable(f"The token has a key {self.label!r} already.")
            attribute = pkcs11.Attribute
            session.generate_key(
                pkcs11.KeyType.AES,
                KEY_BYTES * 8,
                label=self.label,
                store=True,
                template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
            )

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this key.

        Raises:
            CustodianUnusable: The token does not answer, or refuses.
            LibraryMissing: python-pkcs11 is not installed.
        """
        iv = secrets.token_bytes(_IV_BYTES)
        with self._session() as session:
            wrapped = self._key(session).encrypt(kek, **self._gcm(iv))
        return {
            "kind": KIND,
            "token": self.token,
            "label": self.label,
            "wrapped": encoded(iv + bytes(wrapped)),
        }

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The record is another custodian's, or the key does not open it.
            CustodianUnusable: The token does not answer, or refuses the PIN.
            LibraryMissing: python-pkcs11 is not installed.
        """
        require_kind(record, KIND, means="a PKCS#11 token")
        text(record, "label")
        wrapped = octets(record, "wrapped")
        iv, ciphertext = wrapped[:_IV_BYTES], wrapped[_IV_BYTES:]
        exceptions = library("pkcs11.exceptions", extra="pkcs11")
        with self._session() as session:
            key = self._key(session)
            try:
                kek = bytes(key.decrypt(ciphertext, **self._gcm(iv)))
            except exceptions.PKCS11Error:
                kek = b""
        if len(kek) != KEY_BYTES:
            raise KeyringLocked("The token's key does not open this keyring. Name the right one.")
        return kek

    @contextmanager
    def _session(self) -> Iterator[Any]:
        pkcs11 = library("pkcs11", extra="pkcs11")
        exceptions = library("pkcs11.exceptions", extra="pkcs11")
        self._set_variable()
        try:
            token = pkcs11.lib(str(self.module)).get_token(token_label=self.token)
            with token.open(user_pin=self._pin(), rw=True) as session:
                yield session
        except (exceptions.PKCS11Error, RuntimeError) as error:
            kind = type(error).__name__
            raise CustodianUnusable(
                f"The PKCS#11 token {self.token!r} cannot be used ({kind}). Look at module and PIN."
            ) from None

    def _set_variable(self) -> None:
        if not self.environment:
            return
        name, equals, value = self.environment.partition("=")
        if not equals or not _VARIABLE.fullmatch(name) or _REFUSED.fullmatch(name):
            raise CustodianUnusable("The token's environment is no NAME=VALUE of its library.")
        os.environ[name] = value

    def _key(self, session: Any) -> Any:
        pkcs11 = library("pkcs11", extra="pkcs11")
        return session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self.label)

    def _attributes(self) -> dict[Any, Any]:
        pkcs11 = library("pkcs11", extra="pkcs11")
        attribute = pkcs11.Attribute
        return {attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, attribute.LABEL: self.label}

    def _gcm(self, iv: bytes) -> dict[str, Any]:
        pkcs11 = library("pkcs11", extra="pkcs11")
        return {
            "mechanism": pkcs11.Mechanism.AES_GCM,
            "mechanism_param": pkcs11.GCMParams(iv, _PURPOSE, _TAG_BITS),
        }

    def _pin(self) -> str:
        try:
            pin = self.pin_file.read_text(encoding="utf-8").split("\n", 1)[0]
        except (OSError, UnicodeDecodeError):
            pin = ""
        if not pin:
            raise CustodianUnusable("The file with the token's PIN cannot be read.")
        return pin
