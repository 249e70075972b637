"""Where keys must not be: arguments, environments, logs, representations, core dumps, swap."""

import logging
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.custodians.passphrase import Cost, Passphrase
from privacy.errors import KeyringLocked, PrivacyError, SealBroken
from privacy.keyring import Keyring
from privacy.memory import LockedBytes, huge_memory, lock_memory

SECRET = bytes(range(100, 132))


@pytest.fixture
def keyring(tmp_path):
    return Keyring.create(tmp_path / "ring", KeyFile.create(tmp_path / "key"))


def forms(secret):
    return [secret, secret.hex().encode(), repr(secret).encode()[2:-1]]


def smaps(address):
    """Return the kernel's flags of the mapping that holds an address."""
    found = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if head:
            found = int(head[1], 16) <= address < int(head[2], 16)
        elif found and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


def address_of(page):
    import ctypes  # noqa: PLC0415

    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def test_a_locked_secret_is_locked_undumpable_and_wiped():
    secret = LockedBytes(SECRET)
    page = secret._page
    flags = smaps(address_of(page))
    assert "dd" in flags  # MADV_DONTDUMP
    assert "wf" in flags  # MADV_WIPEONFORK
    assert ("lo" in flags) is secret.locked
    assert secret.read() == SECRET
    secret.wipe()
    assert secret.read() == bytes(32)
    assert SECRET.hex() not in repr(LockedBytes(SECRET))


def test_a_forked_child_finds_no_secret():
    secret = LockedBytes(SECRET)
    child = os.fork()
    if child == 0:
        os._exit(0 if secret.read() == bytes(32) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert secret.read() == SECRET


def test_memory_that_held_a_secret_is_wiped_when_it_goes():
    secret = LockedBytes(SECRET)
    page = secret._page
    del secret
    assert page[:32] == bytes(32)


def test_decrypted_weights_are_out_of_core_dumps():
    memory = huge_memory(8192, lambda _: None)
    assert "dd" in smaps(address_of(memory))


def test_a_failed_fill_leaves_zeros():
    seen = []

    def fill(view):
        view[:32] = SECRET
        seen.append(view.obj)
        raise SealBroken("no")

    with pytest.raises(SealBroken):
        huge_memory(4096, fill)
    assert seen[0][:32] == bytes(32)
    assert isinstance(seen[0], mmap.mmap)


def test_the_process_can_lock_what_it_has():
    script = (
        "from privacy.memory import lock_memory; from pathlib import Path\n"
        "granted = lock_memory()\n"
        "locked = [l for l in Path('/proc/self/status').read_text().splitlines() if 'VmLck' in l]\n"
        "assert (int(locked[0].split()[1]) > 0) is granted, locked\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert callable(lock_memory)


def test_no_representation_shows_a_key(keyring, tmp_path):
    passphrase = Passphrase(b"correct horse battery", cost=Cost(1, 1, 64))
    Keyring.create(tmp_path / "other", passphrase)
    kek = keyring.snapshot().kek.read()
    key = keyring.fresh_data_key("m")
    shown = " ".join(
        repr(each)
        for each in (keyring, keyring.snapshot(), keyring._store, passphrase, key, keyring.__dict__)
    ).encode()
    for secret in (kek, key.key, b"correct horse battery"):
        assert not any(form in shown for form in forms(secret))


def test_no_error_or_log_line_shows_a_key(keyring, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    secret = b"correct horse battery"
    ring = Keyring.create(tmp_path / "other", Passphrase(secret, cost=Cost(1, 1, 64)))
    told = []
    for attempt in (
        lambda: Keyring.unlock(tmp_path / "other", Passphrase(b"wrong" + secret)),
        lambda: Keyring.unlock(tmp_path / "other", KeyFile(tmp_path / "key")),
        lambda: keyring.derive("none"),
        lambda: keyring.data_key("00"),
        lambda: sealed.verify(tmp_path / "none", keyring=keyring),
    ):
        with pytest.raises(PrivacyError) as caught:
            attempt()
        told.append(str(caught.value))
        told.append(repr(caught.value.__context__))
    text = " ".join([*told, caplog.text]).encode()
    for each in (secret, ring.snapshot().kek.read(), keyring.snapshot().kek.read()):
        assert not any(form in text for form in forms(each))


def test_a_wrong_passphrase_costs_what_a_right_one_does(tmp_path, monkeypatch):
    """Every try is one Argon2id of the stored cost, and says nothing else."""
    Keyring.create(tmp_path / "ring2", Passphrase(b"right words here", cost=Cost(1, 1, 64)))
    paid = []
    real = Passphrase._argon2id
    monkeypatch.setattr(Passphrase, "_argon2id", lambda *g: paid.append(g[2]) or real(*g))
    messages = set()
    for guess in (b"wrong", b"right words her", b"right words here "):
        with pytest.raises(KeyringLocked) as caught:
            Keyring.unlock(tmp_path / "ring2", Passphrase(guess))
        messages.add(str(caught.value))
    assert paid == [Cost(1, 1, 64)] * 3
    assert len(messages) == 1


def test_the_key_brokers_arguments_and_environment_hold_no_secret(tmp_path, monkeypatch):
    from gateway import keybroker  # noqa: PLC0415
    from gateway.custody import Secret  # noqa: PLC0415
    from gateway.home import create  # noqa: PLC0415

    secret = b"correct horse battery"
    home = create(tmp_path / "home")
    Keyring.create(home.keyring, Passphrase(secret, cost=Cost(1, 1, 64)))
    monkeypatch.setenv("SEALGATE_TEST", "inherited")
    seen = []
    real = subprocess.Popen

    def started(*arguments, **options):
        process = real(*arguments, **options)
        seen.append(process.pid)
        return process

    monkeypatch.setattr(keybroker.subprocess, "Popen", started)
    with keybroker.running(home, Secret("passphrase", secret)) as client:
        client.derive("watermark")
        [pid] = seen
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert not any(form in content for form in forms(secret))
        # Only what measures branches passes itself on (tests/measuring.py).
        given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert [each for each in given if not each.startswith(b"COVERAGE_")] == [b""]


def test_a_command_is_undumpable_before_it_opens_anything():
    script = (
        "import ctypes, resource, sys\n"
        "from gateway.cli import keys, main\n"
        "def opened(_):\n"
        "    told = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE\n"
        "    print('dumpable', told, resource.getrlimit(resource.RLIMIT_CORE))\n"
        "    sys.exit(0)\n"
        "keys.opened = opened\n"
        "sys.argv = ['sealgate', 'keys', 'list']\n"
        "main.main()\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "dumpable 0 (0, 0)\n", done.stderr


def regions(pid):
    """Yield the readable stretches of a process's memory, and whether each is locked."""
    found = []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        if head:
            found.append([int(head[1], 16), int(head[2], 16), head[3], head[4], False])
        elif line.startswith("VmFlags:"):
            found[-1][-1] = "lo" in line.split()
    for start, end, rights, name, locked in found:
        if "r" in rights and not name.startswith("[v"):
            yield start, end, locked


def copies(pid, secret):
    """Count a secret in a process's memory: in locked stretches, and in others."""
    counted = {True: 0, False: 0}
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end, locked in regions(pid):
            try:
                content = os.pread(memory.fileno(), end - start, start)
            except OSError:
                continue
            counted[locked] += content.count(secret)
    return counted


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root reads an undumpable process's memory.")
def test_what_the_key_broker_holds_is_locked_and_what_it_used_is_gone(tmp_path, monkeypatch):
    from gateway import keybroker  # noqa: PLC0415
    from gateway.custody import Secret  # noqa: PLC0415
    from gateway.home import create  # noqa: PLC0415

    home = create(tmp_path / "home")
    KeyFile.create(tmp_path / "key")
    keyring = Keyring.create(home.keyring, KeyFile(tmp_path / "key"))
    seen, real = [], subprocess.Popen

    def started(*arguments, **options):
        process = real(*arguments, **options)
        seen.append(process.pid)
        return process

    monkeypatch.setattr(keybroker.subprocess, "Popen", started)
    with keybroker.running(home, Secret("keyfile", str(tmp_path / "key").encode())) as client:
        for number in range(50):
            client.derive("watermark", b"%d" % number)
            client.sign("checkpoint", b"%d" % number)
        snapshot = keyring.snapshot()
        kek = copies(seen[0], snapshot.kek.read())
        assert kek[True] >= 1
        assert kek[False] == 0
        for used in (
            (tmp_path / "key").read_bytes(),
            snapshot.open(snapshot.master("watermark", None)),
            snapshot.open(snapshot.signing_key("checkpoint", "Ed25519")),
        ):
            assert copies(seen[0], used)[False] == 0
