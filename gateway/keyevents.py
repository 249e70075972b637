"""Key transitions into the log: the keyring holds each until its entry is on disk.

An entry's uid is its transition's, so that one that was written before a crash is not written
twice. See docs/formats/keyring-v1.md, "States".
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from audit.errors import EventConflict
from gateway import logbook, ocsf
from gateway.identity import Principal
from gateway.ocsf import Actor, Event
from privacy import records, states
from privacy.keyring import Keyring
from privacy.records import Transition
from privacy.references import Reference

_OPERATIONS = {
    records.PRE_ACTIVE: "key.created",
    records.ACTIVE: "key.rotated",
    records.DECRYPT_ONLY: "key.retired",
    records.COMPROMISED: "key.revoked",
    records.DESTRUCTION_REQUESTED: "key.destruction_requested",
    records.DESTROYED: "key.destroyed",
}
_OPERATOR, _SECURITY = "operator", "security"


def record_transitions(keyring: Keyring, submit: Callable[[Event], None]) -> None:
    """Write an entry for each transition that waits, then let the keyring forget them.

    submit: makes an event durable, or raises.

    Raises:
        LogUnavailable: An entry is not on disk; the keyring keeps its transition.
        KeyringUnusable: The keyring cannot forget; the entries will be found in the log.
    """
    waiting = keyring.snapshot().content.transitions
    if not waiting:
        return
    for transition in waiting:
        try:
            submit(event(transition))
        except EventConflict:
            # It was written before a crash, by another version of this program.
            continue
    taken = [transition.id for transition in waiting]
    keyring.change(lambda snapshot: states.settled(snapshot.content, taken))


def event(transition: Transition) -> Event:
    """Build the entry of a transition. Pure: the same transition always makes the same event."""
    return logbook.system(
        _OPERATIONS[transition.new],
        uid=f"key_{transition.id}",
        now=datetime.fromtimestamp(transition.at_s, UTC),
        actor=_actor(transition.actor),
        detail=_detail(transition),
    )


def operator_name(actor: Actor) -> str:
    """Name an operator as a keyring keeps it."""
    return f"{_OPERATOR}:{actor['name']}"


def principal_name(principal: Principal) -> str:
    """Name a principal as a keyring keeps it. The id of somebody at an issuer holds colons too."""
    return f"{_SECURITY}:{quote(principal.credential_id, safe='')}:{principal.name}"


def _detail(transition: Transition) -> Mapping[str, Any]:
    key = Reference.parse(transition.key)
    name = f"model:{key.name}" if key.model else key.name
    detail: dict[str, Any] = {
        "key": transition.key,
        "name": name,
        "epoch": key.number,
        "old": transition.old,
        "new": transition.new,
        "reason": transition.reason,
    }
    if transition.confirmed_by:
        detail["confirmed_by"] = _actor(transition.confirmed_by)
    if transition.public:
        detail["public"] = dict(transition.public)
    return detail


def _actor(kept: str) -> Actor:
    kind, _, rest = kept.partition(":")
    if kind == _OPERATOR:
        return ocsf.operator(rest)
    if kind == _SECURITY:
        credential_id, _, name = rest.partition(":")
        return {"uid": unquote(credential_id), "name": name, "type": _SECURITY}
    return ocsf.SYSTEM
