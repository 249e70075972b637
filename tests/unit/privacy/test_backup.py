import json

import pytest

from privacy import backup, destruction, states
from privacy.aftermath import Aftermath, Happening, relived, unknown_to
from privacy.backup import with_recovery_key, with_shares
from privacy.custodians.keyfile import KeyFile
from privacy.errors import BackupUnusable, KeyDestroyed, KeyringExists
from privacy.genesis import PURPOSES
from privacy.keyring import Keyring
from privacy.recovery import RecoveryKey
from privacy.references import Reference
from privacy.shares import Share

ACT = states.Act("operator:ada", "a test", 2000)
NAME = Reference.parse


@pytest.fixture
def recovery():
    return RecoveryKey.generate()


@pytest.fixture
def restored(tmp_path, recovery):
    """Restore a backup into a new directory and open it."""

    def _restore(data, happenings=(), unlock=None):
        _, snapshot = backup.opened(data, unlock or with_recovery_key(recovery))
        key_file = KeyFile.create(tmp_path / "restored.key")
        backup.restore(
            tmp_path / "restored",
            snapshot,
            custodian=key_file,
            act=ACT,
            amend=lambda before: relived(before, happenings, act=ACT),
        )
        return Keyring.unlock(tmp_path / "restored", key_file)

    return _restore


def destroy(keyring, key):
    one, two = (states.Act(f"security:{n}", "a test", 1000) for n in ("one", "two"))
    keyring.change(lambda s: destruction.requested(s, NAME(key), act=one, window_s=60))
    keyring.change(lambda s: destruction.destroyed(s, NAME(key), act=two))


def test_a_restored_keyring_does_what_the_lost_one_did(keyring, recovery, restored, seal):
    sealed = seal()
    keyring.rotate("watermark")
    keyring.rotate("checkpoint")
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    again = restored(data)
    for purpose in PURPOSES:
        for epoch in keyring.epochs(purpose):
            assert again.derive(purpose, epoch=epoch) == keyring.derive(purpose, epoch=epoch)
    assert again.public_keys("checkpoint") == keyring.public_keys("checkpoint")
    from privacy import sealed as seals  # noqa: PLC0415

    assert seals.verify(sealed.path, keyring=again).model_digest == sealed.model_digest
    again.rotate("seal")
    assert seals.reencrypt(sealed.path, keyring=again).generation == 2


def test_any_enough_shares_restore_and_fewer_say_nothing(keyring, restored):
    pytest.importorskip("Crypto", reason="the extra [backup]")
    made = backup.split_backup(keyring, threshold=2, shares=3, now_s=1000)
    texts = [share.text() for share in made.shares]
    for few in ([], texts[:1], [texts[1], texts[1]]):
        with pytest.raises(BackupUnusable):
            backup.opened(made.data, with_shares(few))
    for chosen in (texts[:2], texts[1:], [texts[2], texts[0]], texts):
        _, snapshot = backup.opened(made.data, with_shares(chosen))
        assert snapshot.content.masters
    assert restored(made.data, unlock=with_shares(texts)).derive("watermark") == keyring.derive(
        "watermark"
    )


def test_shares_of_another_backup_open_nothing(keyring):
    pytest.importorskip("Crypto", reason="the extra [backup]")
    one, other = (backup.split_backup(keyring, threshold=2, shares=2, now_s=1000) for _ in range(2))
    mixed = [one.shares[0].text(), other.shares[1].text()]
    for texts in (mixed, [share.text() for share in other.shares]):
        with pytest.raises(BackupUnusable):
            backup.opened(one.data, with_shares(texts))


def test_a_forged_share_opens_nothing(keyring):
    pytest.importorskip("Crypto", reason="the extra [backup]")
    made = backup.split_backup(keyring, threshold=2, shares=2, now_s=1000)
    first, second = made.shares
    forged = Share(second.backup, second.threshold, second.index, bytes(32))
    with pytest.raises(BackupUnusable, match="does not open"):
        backup.opened(made.data, with_shares([first.text(), forged.text()]))


def test_a_miscopied_share_is_said_to_be_so():
    text = Share("00112233", 2, 1, bytes(range(32))).text()
    assert Share.parse(f" {text.upper()}\n") == Share("00112233", 2, 1, bytes(range(32)))
    for at in range(len("sealgate-share-v1-"), len(text), 7):
        wrong = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
        with pytest.raises(BackupUnusable):
            Share.parse(wrong)


def test_every_byte_of_a_backup_counts(keyring, recovery):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    document = json.loads(data)
    unlock = with_recovery_key(recovery)
    backup.opened(data, unlock)
    for at in range(0, len(data) - 1, 97):
        with pytest.raises(BackupUnusable):
            backup.opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], unlock)
    for name, value in (("created_s", 1001), ("id", "00" * 16), ("recipient", "x")):
        changed = {**document, "envelope": {**document["envelope"], name: value}}
        with pytest.raises(BackupUnusable):
            backup.opened(json.dumps(changed).encode(), unlock)
    with pytest.raises(BackupUnusable):
        backup.opened(data[: len(data) // 2], unlock)
    with pytest.raises(BackupUnusable):
        backup.opened(data, with_recovery_key(RecoveryKey.generate()))


def test_no_key_is_in_a_backup_or_a_repr(keyring, recovery):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    assert recovery.value.hex() not in repr(recovery)
    assert b"watermark" not in data
    assert recovery.value.hex().encode() not in data


def test_a_backup_made_after_a_destruction_does_not_have_the_key(keyring, recovery, restored):
    keyring.rotate("watermark")
    destroy(keyring, "watermark@1")
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    with pytest.raises(KeyDestroyed):
        restored(data).derive("watermark", epoch=1)


def test_what_the_log_says_was_destroyed_stays_destroyed(keyring, recovery, restored, seal):
    sealed = seal()
    keyring.rotate("watermark")
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    happenings = [
        Happening(NAME("watermark@1"), "destroyed", 1500),
        Happening(NAME("model:small@1"), "destroyed", 1500),
    ]
    again = restored(data, happenings)
    with pytest.raises(KeyDestroyed):
        again.derive("watermark", epoch=1)
    from privacy import sealed as seals  # noqa: PLC0415
    from privacy.errors import SealBroken  # noqa: PLC0415

    with pytest.raises(SealBroken, match="destroyed"):
        seals.verify(sealed.path, keyring=again)


def test_a_key_that_was_made_since_keeps_its_place(keyring, recovery, restored):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    public = "ab" * 32
    again = restored(
        data,
        [
            Happening(NAME("watermark@2"), "lost", 1500),
            Happening(NAME("checkpoint@2"), "lost", 1500, {"Ed25519": public}),
            Happening(NAME("model:small@1"), "lost", 1500),
        ],
    )
    assert again.active_epoch("watermark") == 1
    assert again.rotate("watermark") == 3
    assert again.rotate("checkpoint") == 3
    assert bytes.fromhex(public) in again.public_keys("checkpoint")
    assert again.fresh_data_key("small").generation == 2


def test_an_active_key_that_was_compromised_since_is_replaced(keyring, recovery, restored):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    happenings = [
        Happening(NAME("checkpoint@2"), "lost", 1400, {"Ed25519": "ab" * 32}),
        Happening(NAME("checkpoint@1"), "compromised", 1500),
    ]
    again = restored(data, happenings)
    assert keyring.public_key("checkpoint") not in again.public_keys("checkpoint")
    assert len(again.public_keys("checkpoint")) == 2
    again.sign("checkpoint", b"m")


def test_a_restore_never_overwrites(tmp_path, keyring, recovery):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    _, snapshot = backup.opened(data, with_recovery_key(recovery))
    with pytest.raises(KeyringExists):
        backup.restore(
            tmp_path / "keyring", snapshot, custodian=KeyFile.create(tmp_path / "k"), act=ACT
        )


def test_new_epochs_of_the_kek_lose_and_repeat_nothing(keyring, recovery, restored):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    happenings = [
        Happening(NAME("kek@2"), "active", 1500),
        Happening(NAME("kek@1"), "destroyed", 1600),
        Happening(NAME("watermark@1"), "decrypt-only", 1700),
    ]
    _, snapshot = backup.opened(data, with_recovery_key(recovery))
    assert unknown_to(snapshot, happenings) == Aftermath([], [])
    assert restored(data, happenings).derive("watermark") == keyring.derive("watermark")


def test_a_backup_of_another_version_is_said_to_be_so(keyring, recovery):
    data = backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1000).data
    newer = data.replace(b"sealgate/backup-v1", b"sealgate/backup-v2")
    with pytest.raises(BackupUnusable, match="no backup of this version"):
        backup.opened(newer, with_recovery_key(recovery))


@pytest.mark.parametrize(("threshold", "shares"), [(1, 3), (0, 0), (4, 3), (2, 256), (-1, 2)])
def test_numbers_of_shares_that_make_no_sense_are_refused(keyring, threshold, shares):
    with pytest.raises(BackupUnusable, match="at least 2 shares"):
        backup.split_backup(keyring, threshold=threshold, shares=shares, now_s=1000)


@pytest.mark.parametrize(
    "spoil", [str.swapcase, lambda t: t[:-2], lambda t: t[:-1] + "g", str.title]
)
def test_a_line_that_is_no_recovery_key_is_refused(keyring, recovery, spoil):
    assert RecoveryKey.parse(f"  {recovery.text()}\n") == recovery
    with pytest.raises(BackupUnusable, match="no recovery key"):
        RecoveryKey.parse(spoil(recovery.text()))
    # The private line is no place to send a backup to.
    for line in (spoil(recovery.public()), recovery.text()):
        with pytest.raises(BackupUnusable, match="no recovery key"):
            backup.sealed_backup(keyring, recipient=line, now_s=1000)
