"""Destroying a key for good: one security principal asks, another confirms in time.

Pure steps from one snapshot to the next, as in `privacy.states`. Who the principals are, and that
they may, is for the caller to establish. See docs/formats/keyring-v1.md, "Destruction".
"""

from collections.abc import Sequence

from msgspec.structs import replace

from privacy import records
from privacy.errors import DestructionUnconfirmed, KeyDestroyed
from privacy.records import Content, Destruction
from privacy.references import Reference
from privacy.snapshot import AnyKey, Snapshot, reference
from privacy.states import Act, erased, one_epoch, require_idle, transition

WINDOW_S = 3600


def requested(snapshot: Snapshot, name: Reference, *, act: Act, window_s: int) -> Content:
    """Note that one principal wants a key destroyed.

    Raises:
        KeyInUse: It is the active epoch of a purpose or signer.
        KeyDestroyed: It was destroyed before.
    """
    _require_destructible(one_epoch(snapshot, name))
    asked = Destruction(str(name), act.actor, act.reason, act.at_s, act.at_s + window_s)
    others = [each for each in snapshot.content.destructions if each.key != asked.key]
    entry = transition(name, None, records.DESTRUCTION_REQUESTED, act=act)
    return replace(
        snapshot.content,
        destructions=[*others, asked],
        transitions=[*snapshot.content.transitions, entry],
    )


def destroyed(snapshot: Snapshot, name: Reference, *, act: Act) -> Content:
    """Destroy a key that another principal asked to destroy, within that request's window.

    Raises:
        DestructionUnconfirmed: Nobody asked, too long ago, or the same principal did.
        KeyInUse, KeyDestroyed: As for the request.
    """
    keys = one_epoch(snapshot, name)
    _require_destructible(keys)
    asked = [each for each in snapshot.content.destructions if each.key == str(name)]
    if not asked or not asked[0].requested_s <= act.at_s <= asked[0].expires_s:
        raise DestructionUnconfirmed(
            f"No request to destroy {name} is open. Let another principal make one first."
        )
    if asked[0].actor == act.actor:
        raise DestructionUnconfirmed(
            f"{act.actor} asked to destroy {name}: another security principal must confirm it."
        )
    both = Act(asked[0].actor, asked[0].reason, act.at_s, confirmed_by=act.actor)
    content = erased(snapshot.content, keys, act=both)
    left = [each for each in content.destructions if each.key != str(name)]
    return replace(content, destructions=left)


def _require_destructible(keys: Sequence[AnyKey]) -> None:
    name = reference(keys[0])
    if any(key.state == records.DESTROYED for key in keys):
        raise KeyDestroyed(f"The key {name} was destroyed before.")
    if not name.model:
        require_idle(keys)
