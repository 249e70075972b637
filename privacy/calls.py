"""Calls to the key broker and its answers, as they stand in a frame's head.

See docs/formats/broker-v1.md.
"""

import msgspec

from privacy.derivation import Contexts


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="call"):
    """What every call is."""


class Derive(Call, frozen=True, tag="derive"):
    """Keyring.derive_each."""

    purpose: str
    contexts: Contexts
    epoch: int | None


class ActiveEpoch(Call, frozen=True, tag="active_epoch"):
    """Keyring.active_epoch."""

    purpose: str


class PublicKey(Call, frozen=True, tag="public_key"):
    """Keyring.public_key."""

    name: str


class Epochs(Call, frozen=True, tag="epochs"):
    """Keyring.epochs."""

    purpose: str


class PublicKeys(Call, frozen=True, tag="public_keys"):
    """Keyring.public_keys."""

    name: str


class Sign(Call, frozen=True, tag="sign"):
    """Keyring.sign, of the frame's tail."""

    name: str


class History(Call, frozen=True, tag="history"):
    """Keyring.history."""

    name: str


class ListKeys(Call, frozen=True, tag="keys"):
    """Every key's name and state, no key."""


class DocumentKey(Call, frozen=True, tag="document_key"):
    """Keyring.document_key."""

    name: str


class SignDocument(Call, frozen=True, tag="sign_document"):
    """Keyring.sign_document, of the frame's tail."""

    name: str


class ShowManifest(Call, frozen=True, tag="manifest"):
    """A sealed model's manifest."""

    model_id: str


class ReadAsset(Call, frozen=True, tag="asset"):
    """A sealed model's asset."""

    model_id: str
    name: str


class SendWeights(Call, frozen=True, tag="send_weights"):
    """A sealed model's image, to the socket that came with the frame."""

    model_id: str


class ShowPending(Call, frozen=True, tag="pending"):
    """What waits: requests to destroy a key, and transitions that are in no entry yet."""


class PrepareKey(Call, frozen=True, tag="prepare"):
    """Make a key's next epoch, not yet in use."""

    name: str
    actor: str
    reason: str


class ActivateKey(Call, frozen=True, tag="activate"):
    """Put the prepared epoch to use."""

    name: str
    actor: str
    reason: str


class RequestDestruction(Call, frozen=True, tag="request_destruction"):
    """Note that somebody wants a key destroyed."""

    key: str
    actor: str
    reason: str
    window_s: int


class ConfirmDestruction(Call, frozen=True, tag="confirm_destruction"):
    """Destroy a key that somebody else wants destroyed."""

    key: str
    actor: str
    reason: str


class SettleTransitions(Call, frozen=True, tag="settle"):
    """Let go of transitions that the audit log has taken in."""

    ids: list[str]


KeyCall = Derive | ActiveEpoch | Epochs | PublicKey | PublicKeys | Sign
ReportCall = History | ListKeys | DocumentKey | SignDocument
SealCall = ShowManifest | ReadAsset | SendWeights
ChangeCall = (
    ShowPending
    | PrepareKey
    | ActivateKey
    | RequestDestruction
    | ConfirmDestruction
    | SettleTransitions
)
AnyCall = KeyCall | ReportCall | SealCall | ChangeCall


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An answer's head. error: a class of privacy.errors."""

    value: int | None = None
    values: list[int] | None = None
    error: str | None = None
    message: str = ""
