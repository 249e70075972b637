"""kill -9 at every fsync, rename and unlink: the old state or the new, never neither or both."""

import errno
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from privacy import backup, destruction, records, sealed, states
from privacy.backup import with_recovery_key
from privacy.custodians.keyfile import KeyFile
from privacy.errors import KeyDestroyed, KeyringUnusable, SealUnwritable
from privacy.genesis import PURPOSES
from privacy.keyring import Keyring
from privacy.recovery import RecoveryKey
from privacy.references import SIGNERS, Reference
from tests.security.crashing import in_child

ACT = states.Act("operator:ada", "a test", 1_800_000_000)
TENSORS = {"w": np.arange(5000, dtype=np.float32), "b": np.arange(7, dtype=np.int64)}


@pytest.fixture
def place(tmp_path):
    return made(tmp_path / "place")


def made(directory):
    """Make a directory with a keyring, two rotations old, and one sealed model."""
    directory.mkdir()
    keyring = Keyring.create(directory / "keyring", KeyFile.create(directory / "key"))
    for name in ("watermark", "checkpoint"):
        keyring.rotate(name)
    sealed.seal(
        directory / "models" / "small.sealed", keyring=keyring, model_id="small", config={},
        tensors=TENSORS,
    )  # fmt: skip
    return directory


def rotate(_, keyring):
    keyring.rotate("checkpoint")


def rekey(_, keyring):
    keyring.rekey(act=ACT)


def revoke(_, keyring):
    keyring.change(lambda s: states.compromised(s, Reference("watermark", 1), act=ACT))


def destroy(_, keyring):
    one, two = (states.Act(f"security:{n}", "a test", ACT.at_s) for n in ("one", "two"))
    name = Reference("watermark", 1)
    keyring.change(lambda s: destruction.requested(s, name, act=one, window_s=60))
    keyring.change(lambda s: destruction.destroyed(s, name, act=two))


def reencrypt(directory, keyring):
    sealed.reencrypt(directory / "models" / "small.sealed", keyring=keyring)


def settle(_, keyring):
    taken = [each.id for each in keyring.snapshot().content.transitions]
    keyring.change(lambda s: states.settled(s.content, taken))


def prepare(_, keyring):
    keyring.change(lambda s: states.prepared(s, Reference("seal"), act=ACT))


def in_steps(_, keyring):
    name = Reference("report")
    keyring.change(lambda s: states.prepared(s, name, act=ACT))
    keyring.change(lambda s: states.activated(s, name, act=ACT))


def create(directory, _):
    Keyring.create(directory / "born", KeyFile(directory / "key"))


def seal(directory, keyring):
    path = directory / "models" / "small.sealed"
    sealed.seal(path, keyring=keyring, model_id="small", config={}, tensors=TENSORS)


def restore(directory, keyring):
    """Restore a backup beside. A kill may leave nothing: then it is restored again."""
    recovery = RecoveryKey(bytes(range(32)))
    saved = directory / "backup"
    if not saved.exists():
        saved.write_bytes(backup.sealed_backup(keyring, recipient=recovery.public(), now_s=1).data)
    restored(directory)


def restored(directory):
    _, snapshot = backup.opened(
        (directory / "backup").read_bytes(), with_recovery_key(RecoveryKey(bytes(range(32))))
    )
    key_file = KeyFile(directory / "key")
    backup.restore(directory / "again", snapshot, custodian=key_file, act=ACT)


DEEDS = {
    "create": create,
    "prepare": prepare,
    "in_steps": in_steps,
    "seal": seal,
    "restore": restore,
    "rotate": rotate,
    "rekey": rekey,
    "revoke": revoke,
    "destroy": destroy,
    "reencrypt": reencrypt,
    "settle": settle,
}


def holds(directory):
    """Check everything that must hold after any crash, and that work goes on."""
    keyring = Keyring.unlock(directory / "keyring", KeyFile(directory / "key"))
    if (directory / "born").exists():
        Keyring.unlock(directory / "born", KeyFile(directory / "key")).rotate("seal")
    if (directory / "backup").exists():
        if not (directory / "again").exists():
            restored(directory)
        again = Keyring.unlock(directory / "again", KeyFile(directory / "key"))
        assert again.derive("watermark") == keyring.derive("watermark")
    snapshot = keyring.snapshot()
    for purpose in PURPOSES:
        active = [
            m for m in snapshot.content.masters if (m.purpose, m.state) == (purpose, "active")
        ]
        assert len(active) == 1
        keyring.derive(purpose)
    for name in SIGNERS:
        keys = [k for k in snapshot.content.signing_keys if (k.name, k.state) == (name, "active")]
        assert len({k.epoch for k in keys}) == 1
        keyring.sign(name, b"m")
    for key in snapshot.every():
        if key.state == records.DESTROYED:
            assert key.wrapped == b""
            with pytest.raises(KeyDestroyed):
                snapshot.open(key)
        else:
            snapshot.open(key)
    path = directory / "models" / "small.sealed"
    model = sealed.verify(path, keyring=keyring)
    actives = [k for k in keyring.snapshot().content.data_keys if k.state == "active"]
    assert [k.generation for k in actives] == [model.generation]
    with sealed.opened(path, keyring=keyring) as reader:
        image = reader.load()
        os.close(image)
    keyring.rotate("checkpoint")
    again = sealed.reencrypt(path, keyring=keyring)
    assert again.model_digest == model.model_digest
    assert not list((directory / "models").glob(".*.tmp"))
    assert not list((directory / "keyring").glob(".*.tmp"))


def crash_everywhere(place, tmp_path, deed, *, every):
    template = tmp_path / "template"
    shutil.copytree(place, template)
    _, points = in_child(deed, place, at=-1)
    assert points >= 8
    killed = 0
    for at in range(0, points, every):
        shutil.rmtree(place)
        shutil.copytree(template, place)
        assert in_child(deed, place, at=at)[0]
        killed += 1
        holds(place)
    return killed


@pytest.mark.parametrize("name", DEEDS)
def test_a_kill_leaves_the_old_state_or_the_new(place, tmp_path, name):
    assert crash_everywhere(place, tmp_path, DEEDS[name], every=5) >= 2


@pytest.mark.slow
def test_a_kill_at_every_point_leaves_the_old_state_or_the_new(place, tmp_path):
    killed = 0
    for name, deed in DEEDS.items():
        scratch = tmp_path / name
        scratch.mkdir()
        killed += crash_everywhere(made(scratch / "place"), scratch, deed, every=1)
    assert killed >= 200, killed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize(
    "name", ["rotate", "rekey", "destroy", "revoke", "settle", "reencrypt", "seal"]
)
def test_a_failing_disk_leaves_what_was_there(place, monkeypatch, name, call, number):
    keyring = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
    before = (place / "keyring" / "keyring.json").read_bytes()
    model = (place / "models" / "small.sealed").read_bytes()
    real = getattr(os, call)

    def fail(path, *arguments, **options):
        if call == "open" and not arguments[0] & os.O_CREAT:
            return real(path, *arguments, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises((KeyringUnusable, SealUnwritable)):
        DEEDS[name](place, keyring)
    monkeypatch.undo()
    assert (place / "keyring" / "keyring.json").read_bytes() == before
    assert (place / "models" / "small.sealed").read_bytes() == model
    # The keyring in memory says what the file says, too.
    assert keyring.snapshot().content.kek_epoch == 1
    assert keyring.active_epoch("watermark") == 2
    holds(place)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "rename", "replace", "open"])
@pytest.mark.parametrize(("name", "made"), [("create", "born"), ("restore", "again")])
def test_a_failing_disk_makes_no_keyring(place, monkeypatch, name, made, call, number):
    keyring = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
    DEEDS["restore"](place, keyring)
    shutil.rmtree(place / "again")
    real = getattr(os, call)

    def fail(path, *arguments, **options):
        if call == "open" and not arguments[0] & os.O_CREAT:
            return real(path, *arguments, **options)
        raise OSError(number, os.strerror(number))

    before = sorted(place.iterdir())
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(KeyringUnusable):
        DEEDS[name](place, keyring)
    monkeypatch.undo()
    assert sorted(place.iterdir()) == before
    # Once the disk is well, the same deed succeeds.
    DEEDS[name](place, keyring)
    Keyring.unlock(place / made, KeyFile(place / "key"))


FULL = """
import sys
from pathlib import Path
from privacy.custodians.keyfile import KeyFile
from privacy.errors import KeyringUnusable
from privacy.keyring import Keyring
home = Path(sys.argv[1])
keyring = Keyring.create(home / "keyring", KeyFile.create(home / "key"))
kept = [keyring.derive("watermark")]
try:
    while len(kept) < 1000:
        keyring.rotate("watermark")
        kept.append(keyring.derive("watermark"))
except KeyringUnusable as error:
    print(error)
again = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
assert [again.derive("watermark", epoch=e + 1) for e in range(len(kept))] == kept
assert again.active_epoch("watermark") == len(kept) < 1000
(home / "filler").unlink(missing_ok=True)
"""


@pytest.mark.parametrize(
    ("options", "said"),
    [("size=48k", "No space left"), ("size=1m", "Read-only")],
)
def test_a_real_full_or_read_only_file_system(tmp_path, options, said):
    script = tmp_path / "full.py"
    remount = f"import os; os.system('mount -o remount,ro {tmp_path}/fs')"
    body = FULL if "space" in said else FULL.replace("try:", f"{remount}\ntry:")
    script.write_text(body.replace('(home / "filler").unlink(missing_ok=True)\n', ""))
    (tmp_path / "fs").mkdir()
    mount = f"mount -t tmpfs -o {options} tmpfs {tmp_path}/fs"
    command = f"{mount} && exec {sys.executable} {script} {tmp_path}/fs"
    unshared = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*unshared, mount], check=False, capture_output=True).returncode:
        pytest.skip("This kernel lets nobody mount in a namespace of their own.")
    done = subprocess.run([*unshared, command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_rotations_by_processes_at_once_lose_nothing(place):
    each, processes = 6, 4
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                keyring = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
                for turn in range(each):
                    keyring.rotate("watermark")
                    if (turn + number) % 3 == 0:
                        keyring.rekey(act=ACT)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    keyring = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
    assert keyring.active_epoch("watermark") == 2 + each * processes
    assert len({keyring.derive("watermark", epoch=e) for e in keyring.epochs("watermark")}) == 26
    holds(place)


def test_keyring_that_is_rekeyed_while_it_is_unlocked_opens(place):
    class Slow:
        """A custodian during whose first answer another process replaces the KEK."""

        def __init__(self):
            self.file, self.asked = KeyFile(place / "key"), 0

        def unwrap(self, record):
            kek = self.file.unwrap(record)
            self.asked += 1
            if self.asked == 1:
                Keyring.unlock(place / "keyring", self.file).rekey(act=ACT)
            return kek

    opened = Keyring.unlock(place / "keyring", Slow())
    fresh = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
    assert opened.derive("watermark") == fresh.derive("watermark")


def test_two_reencryptions_at_once_take_turns(place):
    path = place / "models" / "small.sealed"
    threads = [
        threading.Thread(
            target=reencrypt,
            args=(place, Keyring.unlock(place / "keyring", KeyFile(place / "key"))),
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keyring = Keyring.unlock(place / "keyring", KeyFile(place / "key"))
    assert sealed.verify(path, keyring=keyring).generation == 4
    holds(place)
