"""HashiCorp Vault or OpenBao as custodian: its Transit engine wraps the KEK under a key it keeps.

Plain HTTP through the standard library: the two calls need no client library. The KEK passes
through this process and the service in the body of a TLS connection; the token comes from a file.
"""

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from privacy.custodians.records import require_kind, text
from privacy.derivation import KEY_BYTES, bind
from privacy.errors import CustodianUnusable, KeyringLocked

KIND = "vault-transit"
TIMEOUT_S = 10.0
_ANSWER_LIMIT_BYTES = 1 << 20
# Transit authenticates it with the ciphertext; it names what the ciphertext is for.
_PURPOSE = base64.b64encode(bind(b"sealgate/keyring-v1/custodian", KIND.encode())).decode()


@dataclass(frozen=True, slots=True)
class VaultTransit:
    """A key of a Transit engine.

    address: `https://HOST:PORT`; plain `http` is for loopback alone. mount, key: where the engine
    is and which of its keys. token_file: read at each use, so that an agent may renew it.
    ca_file: the authority of the service's certificate, or None for the system's.
    """

    address: str
    key: str
    token_file: Path = field(repr=False)
    mount: str = "transit"
    ca_file: Path | None = None
    namespace: str = ""

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this key.

        Raises:
            CustodianUnusable: The service does not answer, or refuses.
        """
        body = {
            "plaintext": base64.b64encode(kek).decode(),
            "associated_data": _PURPOSE,
        }
        try:
            ciphertext = self._post("encrypt", body).get("ciphertext")
        except KeyringLocked:
            raise CustodianUnusable(
                f"The Transit key {self.key!r} cannot encrypt. Name one of type aes256-gcm96."
            ) from None
        if not isinstance(ciphertext, str):
            raise CustodianUnusable("The Transit engine answered without a ciphertext.")
        return {"kind": KIND, "mount": self.mount, "key": self.key, "wrapped": ciphertext}

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The record is another custodian's, or the service does not open it.
            CustodianUnusable: The service does not answer.
        """
        require_kind(record, KIND, means="a Transit engine")
        if (text(record, "mount"), text(record, "key")) != (self.mount, self.key):
            raise KeyringLocked("The keyring is kept by another Transit key. Name that one.")
        body = {"ciphertext": text(record, "wrapped"), "associated_data": _PURPOSE}
        try:
            kek = base64.b64decode(str(self._post("decrypt", body).get("plaintext")), validate=True)
        except ValueError:
            kek = b""
        if len(kek) != KEY_BYTES:
            raise KeyringLocked("The Transit engine gave back something that is no KEK.")
        return kek

    def _post(self, verb: str, body: Mapping[str, str]) -> dict[str, Any]:
        path = f"/v1/{quote(self.mount)}/{verb}/{quote(self.key, safe='')}"
        headers = {"X-Vault-Token": self._token(), "Content-Type": "application/json"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        try:
            connection = self._connection()
        except (OSError, ValueError) as error:
            raise CustodianUnusable(
                f"The Transit engine's address or ca_file cannot be used ({type(error).__name__})."
            ) from None
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            status, raw = response.status, response.read(_ANSWER_LIMIT_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CustodianUnusable(
                f"The Transit engine at {self.address} does not answer ({type(error).__name__})."
            ) from None
        finally:
            connection.close()
        return _data(status, raw)

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
        if parts.scheme != "http" or host not in ("127.0.0.1", "::1", "localhost"):
            raise CustodianUnusable("The Transit engine's address must begin with https://.")
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)

    def _token(self) -> str:
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        # A token of other characters could end the header that carries it.
        if not token.isprintable() or not token:
            raise CustodianUnusable("The file with the Transit engine's token cannot be read.")
        return token


def _data(status: int, raw: bytes) -> dict[str, Any]:
    """Return the answer's data. What the service says of an error may name paths: only its code."""
    if status in (http.client.FORBIDDEN, http.client.UNAUTHORIZED):
        raise CustodianUnusable("The Transit engine refuses the token. Renew it, or its policy.")
    if status == http.client.BAD_REQUEST:
        raise KeyringLocked("The Transit engine does not open this keyring's KEK.")
    if status != http.client.OK:
        raise CustodianUnusable(f"The Transit engine answered {status}. Look at its own log.")
    try:
        data = json.loads(raw)["data"]
    except (ValueError, KeyError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise CustodianUnusable("The Transit engine's answer is not of its API.")
    return data
