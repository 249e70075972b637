"""Attacks on sealed files: each must fail, and leave nothing in plaintext behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.cobblestone import Cobblestone256Encryptor

from privacy import sealed
from privacy.container import HEADER_BYTES, Header, message_context, signed_message
from privacy.custodians.keyfile import KeyFile
from privacy.errors import KeyringUnusable, SealBroken
from privacy.keyring import Keyring
from privacy.memory import sealed_memory
from privacy.messages import Ciphertext, Room, decrypt_into

CANARY = np.random.default_rng(7).integers(0, 256, 4096, dtype=np.uint8)


@pytest.fixture
def home(tmp_path):
    keyring = Keyring.create(tmp_path / "keyring", KeyFile.create(tmp_path / "key"))
    (tmp_path / "models").mkdir()
    return tmp_path, keyring


def seal(home, model_id="m", *, name=None, **changes):
    directory, keyring = home
    parts = {
        "config": {"n": 1},
        "graph": b"graph",
        "tensors": {"w": np.arange(16, dtype=np.uint8)},
        "assets": {"a": b"asset"},
    }
    path = directory / "models" / f"{name or model_id}.sealed"
    return sealed.seal(path, keyring=keyring, model_id=model_id, **(parts | changes))


def read_everything(path, keyring):
    """Do what a gateway does with a file, and no more: open, read the asset, load."""
    with sealed.opened(path, keyring=keyring, model_id="m") as reader:
        asset = reader.asset("a")
        os.close(reader.load())
    return asset


def test_no_byte_can_be_flipped(home):
    path, keyring = seal(home).path, home[1]
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at, byte in enumerate(content):
            os.pwrite(file.fileno(), bytes([byte ^ (1 << at % 8)]), at)
            with pytest.raises(SealBroken):
                read_everything(path, keyring)
            os.pwrite(file.fileno(), bytes([byte]), at)
    assert read_everything(path, keyring) == b"asset"


def test_no_length_but_its_own_is_accepted(home):
    path, keyring = seal(home).path, home[1]
    content = path.read_bytes()
    for length in range(len(content) - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(SealBroken):
            read_everything(path, keyring)
    for trailing in (b"\0", b"x" * 16, content):
        path.write_bytes(content + trailing)
        with pytest.raises(SealBroken):
            read_everything(path, keyring)
    path.write_bytes(content)
    assert read_everything(path, keyring) == b"asset"


def test_a_file_cut_while_it_is_open_breaks_the_load(home):
    made = seal(home, tensors={"w": np.ones(1 << 21)})
    with sealed.opened(made.path, keyring=home[1]) as reader:
        os.truncate(made.path, made.size_bytes // 2)
        with pytest.raises(SealBroken, match="too early"):
            reader.load()


def large(value):
    """A tensor that fills a message of its own."""
    return np.full((64 << 20) - 64, value, dtype=np.uint8)


def messages_of(path, keyring):
    with sealed.opened(path, keyring=keyring) as reader:
        return {message["name"]: message for message in reader.manifest["messages"]}


def place(path, message, ciphertext):
    with path.open("r+b") as file:
        file.seek(message["position"])
        file.write(ciphertext)


def cut(path, message):
    with path.open("rb") as file:
        file.seek(message["position"])
        return file.read(message["size"])


def test_equal_sized_messages_cannot_be_swapped(home):
    keyring = home[1]
    path = seal(home, tensors={"a": large(1), "b": large(2)}).path
    messages = messages_of(path, keyring)
    first, second = messages["tensors/0"], messages["tensors/1"]
    assert first["size"] == second["size"]
    swapped = cut(path, second), cut(path, first)
    place(path, first, swapped[0])
    place(path, second, swapped[1])
    with pytest.raises(SealBroken):
        read_everything(path, keyring)
    with pytest.raises(SealBroken):
        sealed.verify(path, keyring=keyring)


@pytest.mark.parametrize("part", ["graph", "tensors/0", "asset/a"])
def test_a_message_of_another_generation_does_not_fit(home, part):
    keyring = home[1]
    old = seal(home).path
    shutil.copy(old, home[0] / "old")
    new = seal(home).path
    with sealed.opened(new, keyring=keyring) as reader:
        message = next(m for m in reader.manifest["messages"] if m["name"] == part)
    place(new, message, cut(home[0] / "old", message))
    with pytest.raises(SealBroken):
        read_everything(new, keyring)


def test_a_message_of_another_file_does_not_fit_under_the_same_key(home):
    """The context, not the key alone, holds a message to its file, place and name."""
    keyring = home[1]
    path = seal(home).path
    with sealed.opened(path, keyring=keyring) as reader:
        manifest = reader.manifest
    key, message = keyring.data_key(manifest["key_id"]), manifest["messages"][0]
    file_id = bytes.fromhex(manifest["file_id"])
    for context in (
        message_context(bytes(16), 1, 0, "graph"),
        message_context(file_id, 2, 0, "graph"),
        message_context(file_id, 1, 1, "graph"),
        message_context(file_id, 1, 0, "asset/a"),
    ):
        encryptor = Cobblestone256Encryptor(key.key, context)
        place(path, message, encryptor.update(b"graph") + encryptor.finalize())
        with pytest.raises(SealBroken):
            read_everything(path, keyring)
    encryptor = Cobblestone256Encryptor(key.key, message_context(file_id, 1, 0, "graph"))
    place(path, message, encryptor.update(b"graph") + encryptor.finalize())
    assert read_everything(path, keyring) == b"asset"
    # Even the key's holder leaves a trace: the signed ciphertext digests are compared by verify.
    with pytest.raises(SealBroken, match="digest"):
        sealed.verify(path, keyring=keyring)


def test_a_manifest_of_an_earlier_file_does_not_fit(home):
    keyring = home[1]
    old = seal(home).path.read_bytes()
    path = seal(home).path
    new = path.read_bytes()
    header = Header.decode(new[:HEADER_BYTES], file_size=len(new))
    position = header.manifest_position
    for forged in (
        new[:position] + old[position:],
        old[:position] + new[position:],
        old[:HEADER_BYTES] + new[HEADER_BYTES:],
        new[:HEADER_BYTES] + old[HEADER_BYTES:],
    ):
        path.write_bytes(forged)
        with pytest.raises(SealBroken):
            read_everything(path, keyring)


def test_an_older_generation_is_refused(home):
    keyring = home[1]
    path = seal(home).path
    old = path.read_bytes()
    seal(home)
    path.write_bytes(old)
    with pytest.raises(SealBroken, match="older generation"):
        read_everything(path, keyring)
    with pytest.raises(SealBroken, match="older generation"):
        sealed.verify(path, keyring=keyring)


def test_one_model_cannot_stand_in_for_another(home):
    path = seal(home, "other").path
    shutil.copy(path, home[0] / "models" / "m.sealed")
    with pytest.raises(SealBroken, match="another model"):
        read_everything(home[0] / "models" / "m.sealed", home[1])


def test_another_keyring_does_not_open_it(home, tmp_path):
    other = Keyring.create(tmp_path / "other", KeyFile(tmp_path / "key"))
    with pytest.raises(SealBroken, match="no key"):
        read_everything(seal(home).path, other)


def test_a_stolen_data_key_does_not_make_a_seal(home, tmp_path):
    """The data key alone decrypts; only the keyring's two signing keys can announce content."""
    keyring, path = home[1], seal(home).path
    thief = Keyring.create(tmp_path / "thief", KeyFile.create(tmp_path / "thief-key"))
    content = path.read_bytes()
    header = Header.decode(content[:HEADER_BYTES], file_size=len(content))
    end = header.manifest_position + header.manifest_size
    message = signed_message(content[:HEADER_BYTES], content[header.manifest_position : end])
    path.write_bytes(content[:end] + thief.sign_seal(message))
    with pytest.raises(SealBroken, match="signature"):
        read_everything(path, keyring)


def test_a_bad_tag_leaves_nothing_in_the_buffer(home):
    keyring = home[1]
    path = seal(home, tensors={"w": np.tile(CANARY, 100)}).path
    with sealed.opened(path, keyring=keyring) as reader:
        manifest = reader.manifest
    message = manifest["messages"][1]
    with path.open("r+b") as file:
        file.seek(message["position"] + message["size"] - 1)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([last ^ 1]))
    buffer = bytearray(b"\xaa" * message["length"])
    context = message_context(bytes.fromhex(manifest["file_id"]), 1, 1, message["name"])
    key = keyring.data_key(manifest["key_id"]).key
    with path.open("rb") as file:
        place = (message["position"], message["size"])
        ciphertext = Ciphertext(file.fileno(), *place, key, context)
        with pytest.raises(SealBroken):
            decrypt_into(memoryview(buffer), ciphertext, room=Room())
    assert not any(buffer)


@pytest.mark.parametrize("chunk", [0, 3, 20, 39])
def test_only_chunks_that_verified_reach_the_memory_of_a_load(home, monkeypatch, chunk):
    """A tag that fails in the middle: what follows is never written, what came before is wiped."""
    weights = np.random.default_rng(3).integers(1, 256, 40 * 16384 - 9, dtype=np.uint8)
    path = seal(home, tensors={"w": weights}).path
    with sealed.opened(path, keyring=home[1]) as reader:
        message = reader.manifest["messages"][1]
    at = message["position"] + 56 + chunk * 16400 + 5
    with path.open("r+b", buffering=0) as file:
        [byte] = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)
    written, held, real = [], [], os.pwrite

    def watched(descriptor, data, offset):
        if not held:
            held.append(os.dup(descriptor))
        if bytes(data).strip(b"\0"):
            written.append(bytes(data))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    with sealed.opened(path, keyring=home[1]) as reader, pytest.raises(SealBroken):
        reader.load(threads=1)
    monkeypatch.undo()
    plain = b"".join(written)
    assert len(plain) <= chunk * 16384
    assert plain == weights.tobytes()[: len(plain)]
    for memory in held:
        assert not any(os.pread(memory, weights.nbytes, 0))
        os.close(memory)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_broken_message_ends_the_work_of_every_thread(home, threads):
    tensors = {f"w{n}": np.full(5 << 20, n + 1, np.uint8) for n in range(6)}
    path = seal(home, tensors=tensors).path
    with sealed.opened(path, keyring=home[1]) as reader:
        for load in (reader.load, reader.image):
            made = load(threads=threads)
            if isinstance(made, int):
                os.close(made)
        position = reader.manifest["messages"][3]["position"]
        with path.open("r+b", buffering=0) as file:
            [byte] = os.pread(file.fileno(), 1, position + 100)
            os.pwrite(file.fileno(), bytes([byte ^ 1]), position + 100)
        for load in (reader.load, reader.image):
            with pytest.raises(SealBroken):
                load(threads=threads)


def test_memory_of_a_broken_load_is_wiped():
    seen = []

    def fill(descriptor):
        # With a hole: what was not written takes no memory to wipe.
        os.pwrite(descriptor, b"s" * (3 << 20), 0)
        os.pwrite(descriptor, b"s" * 5000, (60 << 20) + 7)
        seen.append(os.dup(descriptor))
        raise SealBroken("later")

    with pytest.raises(SealBroken):
        sealed_memory(64 << 20, fill)
    assert not any(os.pread(seen[0], 64 << 20, 0))
    assert os.fstat(seen[0]).st_blocks * 512 <= 4 << 20
    os.close(seen[0])


def test_plaintext_is_in_no_file_that_is_written(home, monkeypatch):
    """Neither in the sealed file nor in any other file the process opened, at any rename."""
    written, seen = set(), []
    real_open, real_replace = os.open, os.replace

    def watch_open(path, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR):
            written.add(Path(path))
        return real_open(path, flags, *rest, **options)

    def watch_replace(source, target):
        seen.append(Path(source).read_bytes())
        return real_replace(source, target)

    monkeypatch.setattr(os, "open", watch_open)
    monkeypatch.setattr(os, "replace", watch_replace)
    text = "a system prompt that nobody may read"
    made = seal(
        home,
        config={"secret": text},
        graph=CANARY.tobytes(),
        tensors={text: CANARY, "again": CANARY.astype(np.float32)},
        assets={"a": text.encode()},
    )
    assert read_everything(made.path, home[1]) == text.encode()
    monkeypatch.undo()
    assert written
    assert all(path.parent in {home[0] / "models", home[0] / "keyring"} for path in written)
    seen += [path.read_bytes() for path in home[0].rglob("*") if path.is_file()]
    for content in seen:
        assert text.encode() not in content
        for start in range(0, len(CANARY), 512):
            assert CANARY[start : start + 32].tobytes() not in content
            assert CANARY[start : start + 8].astype(np.float32).tobytes() not in content


def test_sealing_the_same_model_twice_shares_no_block(home):
    """Nonces and keys are fresh: equal plaintext is never recognisable as such."""
    one = seal(home, tensors={"w": np.zeros(4096, np.uint8)}).path.read_bytes()
    two = seal(home, tensors={"w": np.zeros(4096, np.uint8)}).path.read_bytes()
    blocks = [
        {content[at : at + 16] for at in range(HEADER_BYTES, len(content) - 3373, 16)}
        for content in (one, two)
    ]
    assert blocks[0].isdisjoint(blocks[1])
    assert len(blocks[0]) > 256


KILLED = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring

home = Path(sys.argv[1])
path = home / "models" / "m.sealed"

def seal(mark):
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
    tensors = {"w": np.arange(16, dtype=np.uint8)}
    sealed.seal(path, keyring=keyring, model_id="m", config={}, graph=b"graph",
                tensors=tensors, assets={"a": mark.encode()})

def dying(function, point, calls):
    def call(*arguments):
        calls.append(function)
        if len(calls) == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

for point in range(1, 50):
    child = os.fork()
    if child == 0:
        calls = []
        for name in ("fsync", "replace"):
            setattr(os, name, dying(getattr(os, name), point, calls))
        seal(str(point))
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
    floor = keyring.smallest_generation("m")
    with sealed.opened(path, keyring=keyring, model_id="m") as reader:
        os.close(reader.load())
        state = {"point": point, "killed": killed, "mark": reader.asset("a").decode(),
                 "generation": reader.generation, "floor": floor}
    state["after"] = keyring.smallest_generation("m")
    print(json.dumps(state))
    if not killed:
        break
"""


def test_a_kill_at_any_sync_or_rename_leaves_the_old_or_the_new(home):
    seal(home, assets={"a": b"0"})
    command = [sys.executable, "-c", KILLED, str(home[0])]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    states = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [state["killed"] for state in states] == [True] * (len(states) - 1) + [False]
    assert len(states) > 8
    mark, generation = "0", 1
    for state in states:
        new = state["mark"] == str(state["point"])
        assert new or (state["mark"], state["generation"]) == (mark, generation)
        assert state["generation"] > generation or not new
        assert state["floor"] <= state["generation"] == state["after"]
        mark, generation = state["mark"], state["generation"]
    assert {state["mark"] == str(state["point"]) for state in states} == {True, False}
    assert [path.name for path in (home[0] / "models").iterdir()] == ["m.sealed"]
    sealed.verify(home[0] / "models" / "m.sealed", keyring=home[1])


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from privacy import sealed
from privacy.custodians.keyfile import KeyFile
from privacy.errors import KeyringUnusable, SealUnwritable
from privacy.keyring import Keyring

home, limit = Path(sys.argv[1]), int(sys.argv[2])
keyring = Keyring.unlock(home / "keyring", KeyFile(home / "key"))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    sealed.seal(home / "models" / "m.sealed", keyring=keyring, model_id="m", config={},
                graph=b"graph", tensors={"w": np.zeros(int(sys.argv[3]), np.uint8)}, assets={})
except (KeyringUnusable, SealUnwritable) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("limit", "tensor", "error"),
    [(1000, 100, "SealUnwritable"), (200_000, 1_000_000, "SealUnwritable")],
)
def test_a_full_disk_leaves_the_old(home, limit, tensor, error):
    made = seal(home)
    before = made.path.read_bytes()
    command = [sys.executable, "-c", FULL, str(home[0]), str(limit), str(tensor)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.startswith(error)
    assert "Mend" in ran.stdout
    assert made.path.read_bytes() == before
    assert read_everything(made.path, home[1]) == b"asset"
    assert [path.name for path in (home[0] / "models").iterdir()] == ["m.sealed"]
    assert seal(home).generation == 2


def test_a_keyring_that_cannot_grow_leaves_the_old_model(home, monkeypatch):
    made = seal(home)
    before = made.path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("privacy.keystore.replace_file", full)
    with pytest.raises(KeyringUnusable, match="No space"):
        seal(home)
    monkeypatch.undo()
    assert made.path.read_bytes() == before
    assert read_everything(made.path, home[1]) == b"asset"
    assert [path.name for path in (home[0] / "models").iterdir()] == ["m.sealed"]
