import fcntl
import mmap
import os
from contextlib import closing

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from msgspec.structs import replace

from privacy import sealed, states
from privacy.container import MESSAGE_LIMIT_BYTES, message_context
from privacy.custodians.keyfile import KeyFile
from privacy.digests import PlaintextDigests
from privacy.errors import AssetUnknown, ModelUnsealable, SealBroken, SealMissing, SealUnwritable
from privacy.keyring import Keyring
from privacy.messages import Room, decrypt_to
from privacy.references import Reference
from tests import descriptors

ACT = states.Act("operator:ada", "a test", 1)


@pytest.fixture
def image():
    """Load a reader's image and return its bytes."""

    def _image(reader):
        descriptor = reader.load()
        try:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

    return _image


def test_a_sealed_model_comes_back_whole(keyring, model, seal, image):
    made = seal()
    with sealed.opened(made.path, keyring=keyring, model_id="small") as reader:
        manifest, content = reader.manifest, image(reader)
        assert {name: reader.asset(name) for name in model["assets"]} == model["assets"]
    assert manifest["config"] == model["config"]
    graph = manifest["graph"]
    assert content[graph["offset"] :][: graph["length"]] == model["graph"]
    assert [tensor["name"] for tensor in manifest["tensors"]] == list(model["tensors"])
    for tensor in manifest["tensors"]:
        data = content[tensor["offset"] :][: tensor["length"]]
        back = np.frombuffer(data, tensor["dtype"]).reshape(tensor["shape"])
        assert np.array_equal(back, model["tensors"][tensor["name"]])
        assert tensor["offset"] % 64 == 0


def test_verify_says_what_seal_said(keyring, seal):
    made = seal()
    assert sealed.verify(made.path, keyring=keyring) == made
    assert made.generation == 1
    assert made.size_bytes == made.path.stat().st_size
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_sealing_again_makes_the_next_generation_of_the_same_content(keyring, seal):
    first, second = seal(), seal()
    assert (first.generation, second.generation) == (1, 2)
    assert first.model_digest == second.model_digest
    assert keyring.smallest_generation("small") == 2


def test_another_keyring_and_name_keep_the_digest(tmp_path, seal, model):
    other = Keyring.create(tmp_path / "other", KeyFile.create(tmp_path / "otherkey"))
    path = tmp_path / "elsewhere.sealed"
    made = sealed.seal(path, keyring=other, model_id="renamed", **model)
    assert made.model_digest == seal().model_digest


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"eos": [3]}},
        {"graph": b"another graph"},
        {"tensors": {"weight": np.zeros(3, np.float32)}},
        {"tensors": {"weight": np.zeros((3, 1), np.float32)}},
        {"tensors": {"weight": np.zeros(3, np.int32)}},
        {"tensors": {"renamed": np.zeros(3, np.int32)}},
        {"assets": {"tokenizer.json": b""}},
        {"assets": {}},
    ],
)
def test_the_digest_names_all_of_the_content(seal, change):
    seen = {seal(**{"tensors": {}} | change).model_digest, seal(tensors={}).model_digest}
    assert len(seen) == 2


def test_the_order_of_tensors_does_not_change_the_digest(seal, model):
    turned = dict(reversed(model["tensors"].items()))
    assert seal(tensors=turned).model_digest == seal().model_digest


def test_tensors_over_the_limit_of_a_message_come_back(keyring, seal, image):
    large = np.arange((MESSAGE_LIMIT_BYTES >> 3) + 3, dtype=np.int64)
    made = seal(tensors={"first": np.ones(3, np.int8), "large": large, "last": np.ones(3)})
    sealed.verify(made.path, keyring=keyring)
    with sealed.opened(made.path, keyring=keyring) as reader:
        names = [m["name"] for m in reader.manifest["messages"] if m["offset"] is not None]
        tensor = reader.manifest["tensors"][1]
        content = image(reader)
    assert names == ["graph", "tensors/0", "tensors/1", "tensors/2", "tensors/3"]
    back = np.frombuffer(content, np.int64, len(large), tensor["offset"])
    assert np.array_equal(back, large)


def test_a_model_without_tensors_or_assets_can_be_sealed(keyring, seal, image):
    made = seal(tensors={}, assets={})
    sealed.verify(made.path, keyring=keyring)
    with sealed.opened(made.path, keyring=keyring) as reader:
        assert image(reader) == b"a graph of some length"


def test_loaded_memory_cannot_be_changed(keyring, seal):
    with sealed.opened(seal().path, keyring=keyring) as reader:
        descriptor = reader.load()
    try:
        size = os.fstat(descriptor).st_size
        for change in (
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: os.ftruncate(descriptor, size - 1),
            lambda: os.ftruncate(descriptor, size + 1),
            lambda: mmap.mmap(descriptor, size),
            lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0),
        ):
            with pytest.raises(PermissionError):
                change()
        assert not os.get_inheritable(descriptor)
        with mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapping:
            assert mapping[:7] == b"a graph"
    finally:
        os.close(descriptor)


def test_opening_leaks_no_descriptor(tmp_path, keyring, seal):
    path = seal().path
    path.write_bytes(path.read_bytes()[:-1])
    with descriptors.none_left(), pytest.raises(SealBroken):
        sealed.opened(path, keyring=keyring)


def test_an_unknown_asset_is_refused(keyring, seal):
    with sealed.opened(seal().path, keyring=keyring) as reader, pytest.raises(AssetUnknown):
        reader.asset("absent")


def test_a_missing_file_is_said_to_be_missing(tmp_path, keyring):
    with pytest.raises(SealMissing, match="absent"):
        sealed.verify(tmp_path / "absent.sealed", keyring=keyring)


@pytest.mark.parametrize(
    "change",
    [
        {"graph": bytes(MESSAGE_LIMIT_BYTES + 1)},
        {"assets": {"large": bytes(MESSAGE_LIMIT_BYTES + 1)}},
        {"tensors": {"odd": np.array(["text"])}},
        {"config": {"odd": b"bytes"}},
        {"config": {"odd": float("nan")}},
        {"config": {"odd": 1 << 60}},
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, seal, change):
    with pytest.raises(ModelUnsealable):
        seal(**change)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("model_id", ["", "../up", "a/b", ".hidden", "a\n", "ä", "a" * 129])
def test_a_name_that_is_no_file_name_is_refused(tmp_path, keyring, seal, model_id):
    with pytest.raises(ModelUnsealable):
        seal(model_id)
    with pytest.raises(SealMissing):
        sealed.container(tmp_path, model_id)


def test_what_a_crashed_seal_left_goes_at_the_next(tmp_path, seal):
    models = tmp_path / "models"
    models.mkdir()
    (models / ".small.sealed.0123.tmp").write_bytes(b"left over")
    seal()
    assert [path.name for path in models.iterdir()] == ["small.sealed"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path, keyring, model):
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "small.sealed"
    with pytest.raises(SealUnwritable, match="small"):
        sealed.seal(path, keyring=keyring, model_id="small", **model)
    assert keyring.fresh_data_key("small").generation == 1


def test_a_reader_keeps_the_generation_it_opened(keyring, seal, image):
    with closing(sealed.opened(seal(graph=b"old").path, keyring=keyring)) as reader:
        seal(graph=b"new")
        assert image(reader)[:3] == b"old"
        assert reader.generation == 1


def test_no_key_is_in_a_reprs_way(keyring, seal):
    with sealed.opened(seal().path, keyring=keyring) as reader:
        key = keyring.data_key(reader.manifest["key_id"]).key
        assert key.hex() not in repr(reader)
        assert repr(key) not in repr(reader._key)


def test_message_contexts_differ_in_every_part():
    base = (bytes(16), 1, 0, "graph")
    others = [(b"\1" * 16, 1, 0, "graph"), (bytes(16), 2, 0, "graph"), (bytes(16), 1, 1, "graph")]
    contexts = {message_context(*parts) for parts in (base, *others, (bytes(16), 1, 0, "other"))}
    assert len(contexts) == 5


def test_a_stranger_checks_a_seal_with_the_public_keys_alone(keyring, seal):
    """By the text of sealed-v1.md, with nothing of this project's but the two keys."""
    content = seal().path.read_bytes()
    [keys] = keyring.seal_keys()
    position, size = (int.from_bytes(content[at : at + 8], "big") for at in (56, 64))
    parts = (b"sealgate/sealed-v1/signature", content[:72], content[position : position + size])
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    signature = content[position + size :]
    assert len(signature) == 3373
    Ed25519PublicKey.from_public_bytes(keys.ed25519).verify(signature[:64], message)
    second = MLDSA65PublicKey.from_public_bytes(keys.mldsa65)
    second.verify(signature[64:], message, b"sealgate/sealed-v1")
    keyring.rotate("seal")
    assert [each.epoch for each in keyring.seal_keys()] == [2, 1]
    assert keyring.seal_keys()[1] == keys
    keyring.change(lambda s: states.compromised(s, Reference("seal", 1), act=ACT))
    assert [each.epoch for each in keyring.seal_keys()] == [2]


@pytest.mark.parametrize("part", ["graph", "weight", "tokenizer.json", "model"])
def test_content_that_is_not_what_its_manifest_digests_is_noticed(keyring, seal, part):
    # As if whoever may sign seals had signed a manifest of other content.
    with sealed.opened(seal().path, keyring=keyring) as reader:
        signed, other = reader.described, "0" * 64
        wrong = {
            "graph": {"graph": replace(signed.graph, sha256=other)},
            "model": {"model_digest": f"sha256:{other}"},
            "weight": {"tensors": [replace(signed.tensors[0], sha256=other), *signed.tensors[1:]]},
            "tokenizer.json": {
                "assets": [replace(a, sha256=other) if a.name == part else a for a in signed.assets]
            },
        }
        digests, forged = PlaintextDigests(signed), PlaintextDigests(replace(signed, **wrong[part]))
        for message, content in reader.messages():
            digests.take(message, content)
            forged.take(message, content)
    digests.require()
    with pytest.raises(SealBroken, match=part):
        forged.require()


def test_a_file_cut_short_while_it_is_open_gives_zeros_and_an_error(keyring, seal):
    made = seal()
    with sealed.opened(made.path, keyring=keyring) as reader:
        message = reader.described.messages[0]
        out = memoryview(bytearray(b"x" * message.length))
        os.truncate(made.path, message.position + message.size // 2)
        with pytest.raises(SealBroken, match="ends too early"):
            reader.message(0, out, room=Room())
        assert not any(out)


@pytest.mark.parametrize("by", [-1, 1])
def test_a_message_of_another_length_than_it_should_have_is_refused(keyring, seal, by):
    with sealed.opened(seal().path, keyring=keyring) as reader:
        message = reader.described.messages[0]
        target = os.memfd_create("image")
        with pytest.raises(SealBroken, match="does not decrypt"):
            decrypt_to(
                target,
                reader._ciphertext(0, message),
                at=0,
                length=message.length + by,
                room=Room(),
            )
        os.close(target)
