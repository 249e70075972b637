"""AWS KMS as custodian: a symmetric key of the service wraps the KEK. Needs sealgate[aws]."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from privacy.custodians.records import encoded, octets, require_kind, text
from privacy.derivation import KEY_BYTES
from privacy.errors import CustodianUnusable, KeyringLocked
from privacy.extras import library

KIND = "aws-kms"
# KMS authenticates it with the ciphertext, and its own log shows it.
_CONTEXT = {"sealgate": "keyring-v1"}

# A gateway waits for the answer: it gives up after half a minute, not after minutes.
_LIMITS: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"total_max_attempts": 2},
}


@dataclass(frozen=True, slots=True)
class AwsKms:
    """A key of AWS KMS. key_id: its ARN. Credentials come as boto3 finds them."""

    key_id: str
    region: str
    endpoint: str | None = None

    def wrap(self, kek: bytes) -> dict[str, str | int]:
        """Return the custodian record that gives `kek` back to this key.

        Raises:
            CustodianUnusable: The service does not answer, or refuses.
            LibraryMissing: boto3 is not installed.
        """
        answer = self._call("encrypt", Plaintext=kek)
        return {"kind": KIND, "key": answer["KeyId"], "wrapped": encoded(answer["CiphertextBlob"])}

    def unwrap(self, record: Mapping[str, str | int]) -> bytes:
        """Return the KEK of a custodian record.

        Raises:
            KeyringLocked: The record is another custodian's, or the service does not open it.
            CustodianUnusable: The service does not answer, or refuses.
            LibraryMissing: boto3 is not installed.
        """
        require_kind(record, KIND, means="AWS KMS")
        text(record, "key")
        # The key is the one that the operator names, never one that the file names.
        kek: bytes = self._call("decrypt", CiphertextBlob=octets(record, "wrapped"))["Plaintext"]
        if len(kek) != KEY_BYTES:
            raise KeyringLocked("AWS KMS gave back something that is no KEK.")
        return kek

    def _call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        exceptions = library("botocore.exceptions", extra="aws")
        try:
            with closing(self._client()) as client:
                answer: dict[str, Any] = getattr(client, verb)(
                    KeyId=self.key_id, EncryptionContext=_CONTEXT, **arguments
                )
        except exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("InvalidCiphertextException", "IncorrectKeyException"):
                raise KeyringLocked("That key of AWS KMS does not open this keyring.") from None
            raise CustodianUnusable(f"AWS KMS refuses: {code}. Look at the key's policy.") from None
        except exceptions.BotoCoreError as error:
            kind = type(error).__name__
            raise CustodianUnusable(f"AWS KMS does not answer ({kind}). Try again.") from None
        return answer

    def _client(self) -> Any:
        boto3 = library("boto3", extra="aws")
        config = library("botocore.config", extra="aws").Config(**_LIMITS)
        try:
            return boto3.client(
                "kms", region_name=self.region, endpoint_url=self.endpoint, config=config
            )
        except ValueError:
            # An endpoint that is no address, or a region that is none.
            raise CustodianUnusable(
                "The region or endpoint of AWS KMS is not one. Write them as its documents do."
            ) from None
