"""How keys change their state: each change a pure step from one snapshot to the next.

Every step leaves a `Transition` in the content, written in the same stroke as the change itself;
it stays there until the audit log has taken it in. So no crash parts a change from its entry.
See docs/formats/keyring-v1.md, "States".
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from privacy import records
from privacy.derivation import KEY_BYTES
from privacy.errors import (
    KeyInUse,
    KeyUnknown,
    TransitionForbidden,
)
from privacy.genesis import PURPOSES, fresh_master, fresh_signing_key, wrapped_record
from privacy.memory import LockedBytes
from privacy.records import (
    Content,
    Master,
    SigningKey,
    Transition,
    WrappedDataKey,
)
from privacy.references import KEK, Reference
from privacy.snapshot import AnyKey, Snapshot, algorithms, number, reference
from privacy.wrapping import unwrap

MODELS_ARE_SEALED = (
    "A model's key changes with its file: run `sealgate keys reencrypt {name}` instead."
)
_Key = TypeVar("_Key", Master, SigningKey, WrappedDataKey)


@dataclass(frozen=True, slots=True)
class Act:
    """Who changes a key's state, why and when. at_s: Unix seconds.

    confirmed_by: the second of two principals, where it takes two.
    """

    actor: str
    reason: str
    at_s: int
    confirmed_by: str = ""


def prepared(snapshot: Snapshot, name: Reference, *, act: Act) -> Content:
    """Make the next epoch of a purpose or signer, not yet in use.

    Raises:
        TransitionForbidden: It is a model's key, or the KEK, or an epoch was named.
    """
    _require_rotatable(name)
    content = snapshot.content
    if _pre_active(snapshot, name):
        return content
    # A keyring that was made before this key was thought of has no epoch of it yet.
    epoch = max((number(key) for key in snapshot.named_all(name)), default=0) + 1
    wrapping_key = snapshot.wrapping_key()
    if name.name in PURPOSES:
        master = fresh_master(name.name, epoch, wrapping_key=wrapping_key, created_s=act.at_s)
        master = replace(master, state=records.PRE_ACTIVE)
        entry = transition(Reference(name.name, epoch), None, records.PRE_ACTIVE, act=act)
        return replace(
            content,
            masters=[*content.masters, master],
            transitions=[*content.transitions, entry],
        )
    keys = [
        replace(
            fresh_signing_key(
                name.name, algorithm, epoch=epoch, wrapping_key=wrapping_key, created_s=act.at_s
            ),
            state=records.PRE_ACTIVE,
        )
        for algorithm in algorithms(name.name)
    ]
    public = {key.algorithm: key.public.hex() for key in keys}
    entry = transition(Reference(name.name, epoch), None, records.PRE_ACTIVE, act=act)
    return replace(
        content,
        signing_keys=[*content.signing_keys, *keys],
        transitions=[*content.transitions, replace(entry, public=public)],
    )


def activated(snapshot: Snapshot, name: Reference, *, act: Act) -> Content:
    """Put the prepared epoch of a purpose or signer to use; the one before only opens and verifies.

    Raises:
        TransitionForbidden: None was prepared.
    """
    _require_rotatable(name)
    waiting = _pre_active(snapshot, name)
    if not waiting:
        raise TransitionForbidden(f"No new epoch of {name} waits. Rotate it.")
    retired = [key for key in snapshot.named_all(name) if key.state == records.ACTIVE]
    content = moved(snapshot.content, retired, records.DECRYPT_ONLY, act=act)
    return moved(content, waiting, records.ACTIVE, act=act)


def rotated(snapshot: Snapshot, name: Reference, *, act: Act) -> Content:
    """Prepare the next epoch of a purpose or signer, if none waits, and put it to use.

    Raises:
        TransitionForbidden: It is a model's key, or the KEK, or an epoch was named.
    """
    waiting = Snapshot(prepared(snapshot, name, act=act), snapshot.kek)
    return activated(waiting, name, act=act)


def stored(snapshot: Snapshot, key: WrappedDataKey, *, act: Act) -> Content:
    """Add the key of a model's next generation, whose file is not in place yet."""
    content = snapshot.content
    entry = transition(reference(key), None, key.state, act=act)
    return replace(
        content,
        data_keys=[*content.data_keys, key],
        transitions=[*content.transitions, entry],
    )


def accepted(snapshot: Snapshot, model_id: str, generation: int, *, act: Act) -> Content:
    """Move a model's floor up to a generation whose file is in place, and its keys with it."""
    content = snapshot.content
    floor = max(generation, content.floors.get(model_id, 0))
    keys = [key for key in content.data_keys if key.model_id == model_id]
    retired = [k for k in keys if k.state == records.ACTIVE and k.generation < floor]
    # A key whose file never came to its place: a crash left it behind.
    retired += [k for k in keys if k.state == records.PRE_ACTIVE and k.generation < floor]
    begun = [k for k in keys if k.state == records.PRE_ACTIVE and k.generation == floor]
    content = moved(content, retired, records.DECRYPT_ONLY, act=act)
    content = moved(content, begun, records.ACTIVE, act=act)
    return replace(content, floors={**content.floors, model_id: floor})


def active_number(snapshot: Snapshot, name: Reference) -> int:
    """Return the epoch that is in use."""
    keys = snapshot.named_all(name)
    return next(number(key) for key in keys if key.state == records.ACTIVE)


def rekeyed(
    snapshot: Snapshot, *, kek: LockedBytes, custodian: dict[str, str | int], act: Act
) -> Snapshot:
    """Wrap every key under a fresh KEK. custodian: the record that keeps it."""
    after = rewrapped(snapshot, kek)
    content = after.content
    entry = transition(Reference(KEK, content.kek_epoch + 1), None, records.ACTIVE, act=act)
    renewed = replace(
        content,
        custodian=custodian,
        kek_epoch=content.kek_epoch + 1,
        kek_created_s=act.at_s,
        transitions=[*content.transitions, entry],
    )
    return Snapshot(renewed, kek)


def rewrapped(snapshot: Snapshot, kek: LockedBytes) -> Snapshot:
    """Wrap every key under another KEK, and change nothing else."""
    content = snapshot.content
    # Derived once: a keyring may hold thousands of keys.
    before, after = snapshot.wrapping_key(), Snapshot(content, kek).wrapping_key()

    def rewrap(key: _Key) -> _Key:
        if key.state == records.DESTROYED:
            return key
        secret = unwrap(key.wrapped, under=before, identity=key.identity())
        return wrapped_record(key, secret, wrapping_key=after)

    moved = replace(
        content,
        masters=[rewrap(key) for key in content.masters],
        signing_keys=[rewrap(key) for key in content.signing_keys],
        data_keys=[rewrap(key) for key in content.data_keys],
    )
    return Snapshot(moved, kek)


def compromised(snapshot: Snapshot, name: Reference, *, act: Act) -> Content:
    """Mark one epoch or generation as known to others: nothing new may rest on it.

    Raises:
        KeyInUse: It is the active epoch; the next one must be in use before.
        TransitionForbidden: It was compromised or destroyed before.
    """
    keys = one_epoch(snapshot, name)
    if any(key.state in (records.COMPROMISED, records.DESTROYED) for key in keys):
        raise TransitionForbidden(f"The key {name} is {keys[0].state} already.")
    if not name.model:
        require_idle(keys)
    return moved(snapshot.content, keys, records.COMPROMISED, act=act)


def erased(content: Content, keys: Sequence[AnyKey], *, act: Act) -> Content:
    """Take the keys' bytes out of the content."""
    return moved(content, keys, records.DESTROYED, act=act)


def settled(content: Content, taken: Sequence[str]) -> Content:
    """Let go of the transitions that the audit log has taken in. taken: their ids."""
    left = [each for each in content.transitions if each.id not in taken]
    return replace(content, transitions=left)


def transition(key: Reference, old: str | None, new: str, *, act: Act) -> Transition:
    """Describe a change for the audit log."""
    return Transition(
        id=secrets.token_hex(12),
        key=str(key),
        old=old,
        new=new,
        at_s=act.at_s,
        actor=act.actor,
        reason=act.reason,
        confirmed_by=act.confirmed_by,
    )


def fresh_kek() -> LockedBytes:
    """Draw a key-encryption key."""
    return LockedBytes(secrets.token_bytes(KEY_BYTES))


def one_epoch(snapshot: Snapshot, name: Reference) -> list[AnyKey]:
    """Return the keys of one named epoch or generation.

    Raises:
        KeyUnknown: The reference names none, or not which.
        TransitionForbidden: It names the KEK.
    """
    if name.name == KEK and not name.model:
        raise TransitionForbidden("The KEK is replaced, not revoked: `sealgate keys rotate kek`.")
    if name.number is None:
        raise KeyUnknown(f"{name} has several epochs. Name one, as {name}@1.")
    return snapshot.named(name)


def require_idle(keys: Sequence[AnyKey]) -> None:
    """Raise KeyInUse if one of the keys is active."""
    if any(key.state == records.ACTIVE for key in keys):
        name = reference(keys[0])
        raise KeyInUse(f"{name} is in use. Run `sealgate keys rotate {name.name}` first.")


def moved(content: Content, keys: Sequence[AnyKey], state: str, *, act: Act) -> Content:
    """Put keys into another state, as one transition for each reference."""
    names = {reference(key): key.state for key in keys}
    entries = [transition(name, old, state, act=act) for name, old in names.items()]
    moving = {key.identity() for key in keys}

    def change(key: _Key) -> _Key:
        if key.identity() not in moving:
            return key
        wrapped = b"" if state == records.DESTROYED else key.wrapped
        after = replace(key, state=state, wrapped=wrapped)
        if isinstance(after, SigningKey) and state == records.COMPROMISED:
            return replace(after, compromised=True)
        return after

    return replace(
        content,
        masters=[change(key) for key in content.masters],
        signing_keys=[change(key) for key in content.signing_keys],
        data_keys=[change(key) for key in content.data_keys],
        transitions=[*content.transitions, *entries],
    )


def _require_rotatable(name: Reference) -> None:
    if name.model:
        raise TransitionForbidden(MODELS_ARE_SEALED.format(name=name.name))
    if name.name == KEK or name.number is not None:
        raise TransitionForbidden(f"{name} is not rotated by epoch. Name the key alone.")


def _pre_active(snapshot: Snapshot, name: Reference) -> list[AnyKey]:
    return [key for key in snapshot.named_all(name) if key.state == records.PRE_ACTIVE]
