"""What became of keys after a backup was made, told by the log, done again to what is restored.

A key that was destroyed or compromised since is so again. A key that was made since is lost: its
place is kept, so that no later key takes its name, and a lost signer's public half goes on
verifying what it signed.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from privacy import records, states
from privacy.genesis import PURPOSES
from privacy.records import Content, Master, SigningKey, WrappedDataKey
from privacy.references import KEK, SIGNERS, Reference
from privacy.snapshot import AnyKey, Snapshot
from privacy.snapshot import number as position
from privacy.states import Act

_IRREVERSIBLE = (records.COMPROMISED, records.DESTROYED)


@dataclass(frozen=True, slots=True)
class Happening:
    """A transition as the log tells it. public: of a new signing key, hex by algorithm."""

    key: Reference
    state: str
    at_s: int
    public: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a log tells of a backup's keys that the backup does not know.

    repeated: destroyed or compromised since. lost: made since, and in no backup.
    """

    repeated: list[Happening]
    lost: list[Reference]


def unknown_to(snapshot: Snapshot, happenings: Iterable[Happening]) -> Aftermath:
    """Sort out what happened after the backup was made; nothing is changed."""
    repeated: dict[Reference, Happening] = {}
    lost: dict[Reference, None] = {}
    for happening in happenings:
        known = _known(snapshot, happening)
        if _is_kek(happening):
            continue
        if not known:
            lost[happening.key] = None
        elif happening.state in _IRREVERSIBLE and known[0].state not in (
            happening.state,
            records.DESTROYED,
        ):
            repeated[happening.key] = happening
    return Aftermath(list(repeated.values()), list(lost))


def relived(snapshot: Snapshot, happenings: Iterable[Happening], *, act: Act) -> Snapshot:
    """Do again what happened since, oldest first, and leave one active epoch of each key."""
    for happening in happenings:
        if _is_kek(happening):
            continue
        snapshot = Snapshot(_after(snapshot, happening, act), snapshot.kek)
    for name in (*PURPOSES, *SIGNERS):
        reference = Reference(name)
        states_now = {key.state for key in snapshot.named_all(reference)}
        if records.ACTIVE not in states_now:
            snapshot = Snapshot(states.rotated(snapshot, reference, act=act), snapshot.kek)
    return snapshot


def _after(snapshot: Snapshot, happening: Happening, act: Act) -> Content:
    known = _known(snapshot, happening)
    if not known:
        return _lost(snapshot.content, happening)
    if happening.state not in _IRREVERSIBLE or known[0].state == records.DESTROYED:
        return snapshot.content
    return states.moved(snapshot.content, known, happening.state, act=act)


def _known(snapshot: Snapshot, happening: Happening) -> list[AnyKey]:
    number = happening.key.number
    return [key for key in snapshot.named_all(happening.key) if position(key) == number]


def _is_kek(happening: Happening) -> bool:
    """Say whether it is of the KEK, of which a restored keyring gets a fresh one anyway."""
    return happening.key.name == KEK and not happening.key.model


def _lost(content: Content, happening: Happening) -> Content:
    """Keep the place of a key that no backup has."""
    key, state = happening.key, records.DESTROYED
    number = key.number or 0
    if key.model:
        lost = WrappedDataKey(secrets.token_hex(16), key.name, number, state, happening.at_s, b"")
        return replace(content, data_keys=[*content.data_keys, lost])
    if key.name in PURPOSES:
        master = Master(key.name, number, state, happening.at_s, b"")
        return replace(content, masters=[*content.masters, master])
    signers = [
        SigningKey(key.name, algorithm, state, happening.at_s, bytes.fromhex(public), b"", number)
        for algorithm, public in happening.public.items()
    ]
    return replace(content, signing_keys=[*content.signing_keys, *signers])
