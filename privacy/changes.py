"""Changes of keys by a serving gateway: what the key broker does for it, and the client of that.

A broker that was not told to allow them refuses every one. None of them yields a key, replaces the
KEK, seals a model or destroys its key: those stay with a person at the machine.
See docs/formats/broker-v1.md.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from privacy import calls, destruction, states
from privacy.calls import Answer, AnyCall, ChangeCall
from privacy.errors import ChangeForbidden, TransitionForbidden
from privacy.keyring import Keyring
from privacy.records import Destruction, Transition
from privacy.references import Reference

# Makes a change and returns the answer's tail.
Changes = Callable[[ChangeCall], bytes]
WINDOW_LIMIT_S = 86_400


class Pending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What waits in a keyring: for a second person, and for the log."""

    destructions: list[Destruction]
    transitions: list[Transition]


def forbidden(_: ChangeCall) -> bytes:
    """Refuse a change.

    Raises:
        ChangeForbidden: Always.
    """
    raise ChangeForbidden(
        "This gateway may not change keys. Use `sealgate keys`, or set console_key_changes."
    )


def permitted(keyring: Keyring) -> Changes:
    """Return what makes changes in a keyring."""
    return lambda call: _made(keyring, call)


def _made(keyring: Keyring, call: ChangeCall) -> bytes:
    match call:
        case calls.ShowPending():
            content = keyring.snapshot().content
            return msgspec.json.encode(Pending(content.destructions, content.transitions))
        case calls.SettleTransitions(ids):
            keyring.change(lambda s: states.settled(s.content, ids))
        case calls.PrepareKey(name, actor, reason):
            key, act = Reference.parse(name), keyring.act(actor=actor, reason=reason)
            keyring.change(lambda s: states.prepared(s, key, act=act))
        case calls.ActivateKey(name, actor, reason):
            key, act = Reference.parse(name), keyring.act(actor=actor, reason=reason)
            keyring.change(lambda s: states.activated(s, key, act=act))
        case calls.RequestDestruction(name, actor, reason, asked_s):
            key, act = _destructible(name), keyring.act(actor=actor, reason=reason)
            window_s = max(60, min(asked_s, WINDOW_LIMIT_S))
            keyring.change(lambda s: destruction.requested(s, key, act=act, window_s=window_s))
        case calls.ConfirmDestruction(name, actor, reason):
            key, act = _destructible(name), keyring.act(actor=actor, reason=reason)
            keyring.change(lambda s: destruction.destroyed(s, key, act=act))
    return b""


def _destructible(name: str) -> Reference:
    """Read a key's name; a model's data key may be in use, and its destruction ends the model."""
    key = Reference.parse(name)
    if key.model:
        raise TransitionForbidden(
            f"A model's data key is destroyed at the machine: `sealgate keys destroy {key}`."
        )
    return key


class Asked(Protocol):
    """The other end of a key broker's socket."""

    def ask(self, call: AnyCall) -> tuple[Answer, bytes]:
        """Make a call."""
        ...


class KeyChanges:
    """Changes of keys, through a broker. Each raises what the keyring raises, or ChangeForbidden.

    actor: who, as a keyring keeps it. reason: why, for the log's entry.
    """

    def __init__(self, broker: Asked) -> None:
        self._broker = broker

    def pending(self) -> Pending:
        """Return what waits."""
        return msgspec.json.decode(self._broker.ask(calls.ShowPending())[1], type=Pending)

    def prepare(self, name: str, *, actor: str, reason: str) -> None:
        """Make a key's next epoch, not yet in use."""
        self._broker.ask(calls.PrepareKey(name, actor, reason))

    def activate(self, name: str, *, actor: str, reason: str) -> None:
        """Put the prepared epoch to use; the one before only opens and verifies."""
        self._broker.ask(calls.ActivateKey(name, actor, reason))

    def request_destruction(self, key: str, *, actor: str, reason: str, window_s: int) -> None:
        """Note that somebody wants a key destroyed; another may confirm it within the window."""
        self._broker.ask(calls.RequestDestruction(key, actor, reason, window_s))

    def confirm_destruction(self, key: str, *, actor: str, reason: str) -> None:
        """Destroy a key that somebody else wants destroyed."""
        self._broker.ask(calls.ConfirmDestruction(key, actor, reason))

    def settle(self, ids: list[str]) -> None:
        """Let go of transitions that the log has taken in."""
        self._broker.ask(calls.SettleTransitions(ids))
