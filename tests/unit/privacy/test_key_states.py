import json

import pytest
from msgspec.structs import replace

from privacy import destruction, records, states
from privacy.custodians.keyfile import KeyFile
from privacy.custodians.passphrase import Cost, Passphrase
from privacy.errors import (
    DestructionUnconfirmed,
    KeyDestroyed,
    KeyInUse,
    KeyringLocked,
    KeyUnknown,
    SignatureInvalid,
    TransitionForbidden,
)
from privacy.genesis import PURPOSES
from privacy.keyring import Keyring
from privacy.references import SIGNERS, Reference

NAME = Reference.parse


def states_of(keyring):
    return {str(states.reference(key)): key.state for key in keyring.snapshot().every()}


def act(actor="operator:ada", at_s=1000):
    return states.Act(actor, "a test", at_s)


def ask(keyring, key, actor, at_s=1000, window_s=60):
    step = destruction.requested
    keyring.change(lambda s: step(s, NAME(key), act=act(actor, at_s), window_s=window_s))


def confirm(keyring, key, actor, at_s=1010):
    keyring.change(lambda s: destruction.destroyed(s, NAME(key), act=act(actor, at_s)))


def destroy(keyring, key):
    ask(keyring, key, "security:one")
    confirm(keyring, key, "security:two")


@pytest.mark.parametrize("name", [*PURPOSES, *SIGNERS])
def test_a_rotation_leaves_one_active_epoch_and_the_earlier_ones_usable(keyring, name):
    assert keyring.rotate(name) == 2
    assert keyring.rotate(name) == 3
    found = {key: state for key, state in states_of(keyring).items() if key.startswith(name)}
    assert found == {
        f"{name}@1": "decrypt-only",
        f"{name}@2": "decrypt-only",
        f"{name}@3": "active",
    }


def test_a_prepared_epoch_is_not_used_before_it_is_activated(keyring):
    first, public = keyring.derive("watermark"), keyring.public_key("checkpoint")
    for name in ("watermark", "checkpoint"):
        keyring.change(lambda s, name=name: states.prepared(s, NAME(name), act=act()))
        assert states_of(keyring)[f"{name}@2"] == "pre-active"
    assert (keyring.derive("watermark"), keyring.public_key("checkpoint")) == (first, public)
    assert keyring.epochs("watermark") == [1]
    assert keyring.history("checkpoint") == [public]
    # What a crash left prepared is what the next rotation puts to use.
    assert keyring.rotate("checkpoint") == 2
    assert keyring.public_keys("checkpoint")[1:] == [public]


def test_earlier_signing_keys_stay_known_the_active_one_first(keyring):
    old = keyring.public_key("checkpoint")
    keyring.rotate("checkpoint")
    new = keyring.public_key("checkpoint")
    assert keyring.public_keys("checkpoint") == [new, old]
    keyring.change(lambda s: states.compromised(s, NAME("checkpoint@1"), act=act()))
    assert keyring.public_keys("checkpoint") == [new]
    assert keyring.history("checkpoint") == [new, old]


def test_a_seal_signature_holds_until_its_epoch_is_compromised(keyring):
    signature = keyring.sign_seal(b"seal")
    keyring.rotate("seal")
    keyring.verify_seal(b"seal", signature)
    newer = keyring.sign_seal(b"seal")
    # One half of each epoch is no signature of either.
    with pytest.raises(SignatureInvalid):
        keyring.verify_seal(b"seal", signature[:64] + newer[64:])
    keyring.change(lambda s: states.compromised(s, NAME("seal@1"), act=act()))
    with pytest.raises(SignatureInvalid):
        keyring.verify_seal(b"seal", signature)
    keyring.verify_seal(b"seal", newer)


@pytest.mark.parametrize("key", ["watermark@1", "checkpoint@1"])
def test_an_active_key_is_neither_revoked_nor_destroyed(keyring, key):
    with pytest.raises(KeyInUse):
        keyring.change(lambda s: states.compromised(s, NAME(key), act=act()))
    with pytest.raises(KeyInUse):
        ask(keyring, key, "security:one")


@pytest.mark.parametrize("name", ["kek", "model:small", "watermark@1"])
def test_what_has_no_epochs_of_its_own_is_not_rotated_by_epoch(keyring, name):
    with pytest.raises(TransitionForbidden):
        keyring.rotate(name)


def test_a_destroyed_epoch_is_gone_and_the_others_are_not(keyring, tmp_path, key_file):
    second = None
    keyring.derive("watermark", b"x")
    keyring.rotate("watermark")
    second = keyring.derive("watermark", b"x")
    destroy(keyring, "watermark@1")
    again = Keyring.unlock(tmp_path / "keyring", key_file)
    for each in (keyring, again):
        with pytest.raises(KeyDestroyed):
            each.derive("watermark", b"x", epoch=1)
        assert each.derive("watermark", b"x") == second
        assert each.epochs("watermark") == [2]
    [record] = [
        m for m in again.snapshot().content.masters if (m.purpose, m.epoch) == ("watermark", 1)
    ]
    assert record.wrapped == b""
    with pytest.raises(KeyDestroyed):
        ask(keyring, "watermark@1", "security:one")


def test_destroying_a_models_key_takes_the_model_with_it(keyring, seal, tmp_path):
    sealed = seal()
    destroy(keyring, "model:small@1")
    with pytest.raises(KeyDestroyed):
        keyring.data_key(next(k.id for k in keyring.snapshot().content.data_keys))
    from privacy import sealed as seals  # noqa: PLC0415
    from privacy.errors import SealBroken  # noqa: PLC0415

    with pytest.raises(SealBroken, match="destroyed"):
        seals.verify(sealed.path, keyring=keyring)


def test_destroying_takes_two_principals_within_the_window(keyring):
    keyring.rotate("watermark")
    keyring.rotate("watermark")
    with pytest.raises(DestructionUnconfirmed):
        confirm(keyring, "watermark@1", "security:two")
    ask(keyring, "watermark@1", "security:one", at_s=1000, window_s=60)
    for actor, at_s in (
        ("security:one", 1010),  # The same principal.
        ("security:two", 1061),  # Too late.
        ("security:two", 999),  # A clock that was put back.
    ):
        with pytest.raises(DestructionUnconfirmed):
            confirm(keyring, "watermark@1", actor, at_s)
    with pytest.raises(DestructionUnconfirmed):
        confirm(keyring, "watermark@2", "security:two")
    confirm(keyring, "watermark@1", "security:two", at_s=1060)
    assert states_of(keyring)["watermark@1"] == "destroyed"


def test_a_request_cannot_be_confirmed_twice(keyring):
    keyring.rotate("watermark")
    keyring.rotate("watermark")
    destroy(keyring, "watermark@1")
    assert keyring.snapshot().content.destructions == []


@pytest.mark.parametrize("key", ["watermark", "kek", "watermark@9", "model:none@1"])
def test_a_key_is_destroyed_by_its_full_name_alone(keyring, key):
    with pytest.raises((KeyUnknown, TransitionForbidden)):
        ask(keyring, key, "security:one")


def test_every_change_waits_for_the_log_with_its_actor_and_reason(keyring):
    keyring.rotate("watermark", actor="operator:ada", reason="yearly")
    keyring.rekey(act=act())
    destroy(keyring, "watermark@1")
    waiting = keyring.snapshot().content.transitions
    assert [(t.key, t.old, t.new, t.actor) for t in waiting] == [
        ("watermark@2", None, "pre-active", "operator:ada"),
        ("watermark@1", "active", "decrypt-only", "operator:ada"),
        ("watermark@2", "pre-active", "active", "operator:ada"),
        ("kek@2", None, "active", "operator:ada"),
        ("watermark@1", None, "destruction-requested", "security:one"),
        ("watermark@1", "decrypt-only", "destroyed", "security:one"),
    ]
    assert waiting[-1].confirmed_by == "security:two"
    assert waiting[0].reason == "yearly"
    taken = [transition.id for transition in waiting[:-1]]
    keyring.change(lambda s: states.settled(s.content, taken))
    assert keyring.snapshot().content.transitions == [waiting[-1]]


def test_a_new_kek_opens_everything_and_the_old_one_nothing(keyring, tmp_path, key_file, seal):
    seal()
    keyring.rotate("checkpoint")
    before = {name: keyring.derive(name) for name in PURPOSES}
    public = keyring.public_keys("checkpoint")
    old = keyring.snapshot()
    keyring.rekey(act=act())
    again = Keyring.unlock(tmp_path / "keyring", key_file)
    for each in (keyring, again):
        assert {name: each.derive(name) for name in PURPOSES} == before
        assert each.public_keys("checkpoint") == public
        each.sign("checkpoint", b"m")
    assert again.snapshot().content.kek_epoch == 2
    file = records.decode((tmp_path / "keyring" / "keyring.json").read_bytes())
    with pytest.raises(Exception, match="changed from outside"):
        records.authenticate(file, kek=old.kek.read())


@pytest.mark.parametrize("kind", ["keyfile", "passphrase"])
def test_an_open_keyring_follows_a_kek_that_another_process_replaced(tmp_path, kind):
    custodian = (
        KeyFile.create(tmp_path / "k")
        if kind == "keyfile"
        else Passphrase(b"several words", cost=Cost(1, 1, 64))
    )
    serving = Keyring.create(tmp_path / "ring", custodian)
    key = serving.derive("watermark")
    Keyring.unlock(tmp_path / "ring", custodian).rekey(act=act())
    assert serving.derive("watermark") == key
    assert serving.snapshot().content.kek_epoch == 2
    assert serving.rotate("watermark") == 2


def test_a_keyring_goes_over_to_another_custodian(tmp_path, keyring, key_file):
    other = KeyFile.create(tmp_path / "other")
    keyring.rekey(act=act(), custodian=other)
    with pytest.raises(KeyringLocked):
        Keyring.unlock(tmp_path / "keyring", key_file)
    assert Keyring.unlock(tmp_path / "keyring", other).rotate("seal") == 2
    assert keyring.active_epoch("watermark") == 1


def test_a_passphrase_pays_its_cost_once_for_rotations(tmp_path, monkeypatch):
    paid = []
    real = Passphrase._argon2id
    monkeypatch.setattr(Passphrase, "_argon2id", lambda *given: paid.append(1) or real(*given))
    passphrase = Passphrase(b"several words", cost=Cost(1, 1, 64))
    keyring = Keyring.create(tmp_path / "ring", passphrase)
    for _ in range(3):
        keyring.rekey(act=act())
    assert len(paid) == 1
    fresh = Passphrase(b"several words", cost=Cost(1, 1, 64))
    assert Keyring.unlock(tmp_path / "ring", fresh).derive("watermark") == keyring.derive(
        "watermark"
    )


def test_a_keyring_of_the_first_release_is_read_as_it_was(tmp_path, keyring, key_file):
    """Members that came later are absent until they say something."""
    raw = json.loads((tmp_path / "keyring" / "keyring.json").read_bytes())
    assert not {"destructions", "transitions", "kek_epoch"} & raw["content"].keys()
    assert all("epoch" not in key for key in raw["content"]["signing_keys"])


def test_a_records_identity_tells_epochs_apart(keyring):
    [one] = [k for k in keyring.snapshot().content.signing_keys if k.name == "checkpoint"]
    assert one.identity() != replace(one, epoch=2).identity()


@pytest.mark.parametrize("name", ["watermark", "checkpoint"])
def test_no_epoch_is_activated_that_was_not_prepared(keyring, name):
    with pytest.raises(TransitionForbidden, match="Rotate it"):
        keyring.change(lambda s: states.activated(s, NAME(name), act=act()))
    assert states_of(keyring)[f"{name}@1"] == "active"


@pytest.mark.parametrize("state", ["compromised", "destroyed"])
def test_what_is_past_is_not_compromised_again(keyring, state):
    keyring.rotate("checkpoint")
    if state == "destroyed":
        destroy(keyring, "checkpoint@1")
    else:
        keyring.change(lambda s: states.compromised(s, NAME("checkpoint@1"), act=act()))
    waiting = keyring.snapshot().content.transitions
    with pytest.raises(TransitionForbidden, match=f"checkpoint@1 is {state} already"):
        keyring.change(lambda s: states.compromised(s, NAME("checkpoint@1"), act=act()))
    assert keyring.snapshot().content.transitions == waiting


def test_a_models_key_is_known_to_others_even_while_it_is_in_use(keyring, seal):
    seal()
    assert states_of(keyring)["model:small@1"] == "active"
    keyring.change(lambda s: states.compromised(s, NAME("model:small@1"), act=act()))
    assert states_of(keyring)["model:small@1"] == "compromised"


def test_nothing_is_made_with_a_key_of_which_no_epoch_is_active(keyring):
    keyring.change(
        lambda s: states.moved(s.content, s.named(NAME("watermark@1")), "compromised", act=act())
    )
    with pytest.raises(KeyUnknown, match="No epoch of watermark is active"):
        keyring.derive("watermark")
    # What it made before is read all the same.
    assert len(keyring.derive("watermark", epoch=1)) == 32
