import json
import threading

import msgspec
import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from privacy import records
from privacy.custodians.keyfile import KeyFile
from privacy.errors import (
    KeyringExists,
    KeyringLocked,
    KeyringMissing,
    KeyringTampered,
    KeyringUnusable,
    KeyUnknown,
    SignatureInvalid,
)
from privacy.keyring import Keyring


@pytest.fixture
def file(tmp_path, keyring):
    return tmp_path / "keyring" / "keyring.json"


def test_an_unlocked_keyring_derives_what_the_created_one_did(tmp_path, keyring, key_file):
    again = Keyring.unlock(tmp_path / "keyring", key_file)
    assert again.derive("watermark", b"clinic") == keyring.derive("watermark", b"clinic")
    assert again.public_key("seal") == keyring.public_key("seal")


def test_derived_keys_differ_by_purpose_epoch_and_context(keyring):
    keyring.rotate("watermark")
    keys = {
        keyring.derive("watermark", b"ab", b"c", epoch=1),
        keyring.derive("watermark", b"a", b"bc", epoch=1),
        keyring.derive("watermark", b"abc", epoch=1),
        keyring.derive("watermark", epoch=1),
        keyring.derive("watermark", b"", epoch=1),
        keyring.derive("watermark", b"ab", b"c", epoch=2),
        keyring.derive("audit-hmac", b"ab", b"c"),
    }
    assert len(keys) == 7
    assert {len(key) for key in keys} == {32}


def test_a_rotation_keeps_earlier_epochs_and_other_purposes(tmp_path, keyring, key_file):
    first, other = keyring.derive("watermark", b"x"), keyring.derive("credential", b"x")
    assert keyring.active_epoch("watermark") == 1
    assert keyring.rotate("watermark") == 2
    again = Keyring.unlock(tmp_path / "keyring", key_file)
    assert again.active_epoch("watermark") == 2
    assert again.derive("watermark", b"x", epoch=1) == first
    assert again.derive("watermark", b"x") == again.derive("watermark", b"x", epoch=2) != first
    assert again.derive("credential", b"x") == other


def test_an_open_keyring_sees_what_another_process_wrote(tmp_path, keyring, key_file):
    Keyring.unlock(tmp_path / "keyring", key_file).rotate("watermark")
    assert keyring.active_epoch("watermark") == 2


def test_writers_at_once_lose_nothing(tmp_path, keyring, key_file):
    def rotate():
        own = Keyring.unlock(tmp_path / "keyring", key_file)
        for _ in range(5):
            own.rotate("watermark")

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keyring.active_epoch("watermark") == 21
    assert len({keyring.derive("watermark", epoch=epoch) for epoch in range(1, 22)}) == 21


@pytest.mark.parametrize("purpose", ["", "Watermark", "seal"])
def test_an_unknown_purpose_is_refused(keyring, purpose):
    for ask in (keyring.derive, keyring.active_epoch, keyring.epochs):
        with pytest.raises(KeyUnknown):
            ask(purpose)


@pytest.mark.parametrize("name", ["", "Watermark", "seal@x", "model:", "watermark@-1"])
def test_a_name_of_no_key_cannot_be_rotated(keyring, name):
    with pytest.raises(KeyUnknown):
        keyring.rotate(name)


@pytest.mark.parametrize("epoch", [0, -1, 2])
def test_an_unknown_epoch_is_refused(keyring, epoch):
    with pytest.raises(KeyUnknown):
        keyring.derive("watermark", epoch=epoch)


def test_signatures_verify_under_their_own_key_alone(keyring):
    signature = keyring.sign("checkpoint", b"message")
    Ed25519PublicKey.from_public_bytes(keyring.public_key("checkpoint")).verify(
        signature, b"message"
    )
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(keyring.public_key("report")).verify(
            signature, b"message"
        )
    with pytest.raises(KeyUnknown):
        keyring.sign("other", b"message")


@pytest.mark.parametrize("at", [0, 63, 64, 3372])
def test_both_halves_of_a_seal_signature_must_verify(keyring, at):
    signature = keyring.sign_seal(b"message")
    keyring.verify_seal(b"message", signature)
    flipped = bytearray(signature)
    flipped[at] ^= 1
    with pytest.raises(SignatureInvalid):
        keyring.verify_seal(b"message", bytes(flipped))
    with pytest.raises(SignatureInvalid):
        keyring.verify_seal(b"other", signature)


def test_a_data_key_is_kept_and_its_generation_counted(keyring):
    key = keyring.fresh_data_key("small")
    assert key.generation == 1
    keyring.store_data_key(key)
    assert keyring.data_key(key.id) == key
    assert keyring.fresh_data_key("small").generation == 2
    assert keyring.fresh_data_key("other").generation == 1
    with pytest.raises(KeyUnknown):
        keyring.data_key("00" * 16)


def test_the_smallest_generation_never_goes_down(keyring):
    keyring.accept_generation("small", 3)
    keyring.accept_generation("small", 2)
    assert keyring.smallest_generation("small") == 3
    assert keyring.fresh_data_key("small").generation == 4


def test_no_key_is_in_a_repr(keyring):
    key = keyring.fresh_data_key("small")
    assert repr(key.key) not in repr(key)
    assert key.key.hex() not in repr(key)
    assert "kek" not in repr(keyring)


def test_files_are_for_their_owner_alone(tmp_path, keyring):
    keyring.rotate("watermark")
    assert (tmp_path / "keyring").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "keyring").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_keyring_is_said_to_be_missing(tmp_path, key_file):
    with pytest.raises(KeyringMissing):
        Keyring.unlock(tmp_path / "absent", key_file)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyringMissing):
        Keyring.unlock(tmp_path / "empty", key_file)


def test_a_keyring_is_never_overwritten(tmp_path, keyring, key_file, file):
    before = file.read_bytes()
    with pytest.raises(KeyringExists):
        Keyring.create(tmp_path / "keyring", key_file)
    assert file.read_bytes() == before


def test_of_two_creations_at_once_one_wins(tmp_path, key_file):
    made, refused = [], []

    def create():
        try:
            made.append(Keyring.create(tmp_path / "new", key_file).public_key("seal"))
        except KeyringExists as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    assert Keyring.unlock(tmp_path / "new", key_file).public_key("seal") == made[0]
    assert not list(tmp_path.glob(".new*"))


def test_another_custodian_does_not_unlock(tmp_path, keyring):
    with pytest.raises(KeyringLocked):
        Keyring.unlock(tmp_path / "keyring", KeyFile.create(tmp_path / "other"))


def test_a_keyring_that_cannot_be_read_is_said_to_be_so(tmp_path, key_file):
    (tmp_path / "odd" / "keyring.json").mkdir(parents=True)
    with pytest.raises(KeyringUnusable):
        Keyring.unlock(tmp_path / "odd", key_file)


def leaves(value, path=()):
    """Yield the path of every scalar in a JSON value, and of every list."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        yield path
        for index, member in enumerate(value):
            yield from leaves(member, (*path, index))
    else:
        yield path


def edited(document, path):
    """Change the value at `path` a little."""
    copy = json.loads(json.dumps(document))
    *parents, last = path
    holder = copy
    for step in parents:
        holder = holder[step]
    value = holder[last]
    if isinstance(value, int):
        holder[last] = value + 1
    elif isinstance(value, list):
        holder[last] = value[1:] if value else [{}]
    elif value is None:
        holder[last] = "active"
    else:
        holder[last] = ("B" if value[:1] == "A" else "A") + value[1:]
    return copy


def test_no_field_can_be_edited(tmp_path, keyring, key_file, file):
    keyring.store_data_key(keyring.fresh_data_key("small"))
    keyring.accept_generation("small", 1)
    document = json.loads(file.read_bytes())
    paths = list(leaves(document))
    assert ("content", "floors", "small") in paths
    for path in paths:
        file.write_bytes(rfc8785.dumps(edited(document, path)))
        with pytest.raises((KeyringTampered, KeyringLocked)):
            Keyring.unlock(tmp_path / "keyring", key_file)
    file.write_bytes(rfc8785.dumps(document))
    Keyring.unlock(tmp_path / "keyring", key_file)


def test_no_field_can_be_taken_from_an_older_file(tmp_path, keyring, key_file, file):
    older = json.loads(file.read_bytes())
    keyring.rotate("watermark")
    keyring.accept_generation("small", 5)
    newer = json.loads(file.read_bytes())
    for name in ("masters", "floors", "revision"):
        mixed = {**newer, "content": {**newer["content"], name: older["content"][name]}}
        file.write_bytes(rfc8785.dumps(mixed))
        with pytest.raises(KeyringTampered):
            Keyring.unlock(tmp_path / "keyring", key_file)


def test_an_open_keyring_refuses_a_file_put_back(keyring, file):
    older = file.read_bytes()
    keyring.accept_generation("small", 5)
    file.write_bytes(older)
    with pytest.raises(KeyringTampered, match="older"):
        keyring.smallest_generation("small")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda raw: raw[:-1],
        lambda raw: raw + b"\n",
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'"content":', b'"content":{},"content":', 1),
        lambda raw: raw.replace(b"keyring-v1", b"keyring-v2", 1),
        lambda raw: b"\xff" + raw,
        lambda _: b"[]",
    ],
)
def test_a_file_that_is_not_canonical_is_refused(tmp_path, keyring, key_file, file, spoil):
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(KeyringTampered):
        Keyring.unlock(tmp_path / "keyring", key_file)


def test_no_key_is_in_the_file(keyring, file):
    key = keyring.fresh_data_key("small")
    keyring.store_data_key(key)
    assert key.key.hex() not in file.read_text()
    assert key.key not in file.read_bytes()


@given(
    text=st.text(max_size=40),
    names=st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), st.text()),
    number=st.integers(0, 2**53 - 1),
    octets=st.binary(max_size=40),
)
def test_the_canonical_form_is_that_of_rfc_8785(text, names, number, octets):
    try:
        text.encode()
        "".join(names.values()).encode()
    except UnicodeEncodeError:
        return
    transition = records.Transition("1", text, None, "new", number, text, text, "", names)
    key = records.SigningKey("n", "a", text, number, octets, octets, 2)
    content = records.Content(
        "f", number, number, {**names}, [], [key], [], {}, transitions=[transition]
    )
    assert records._canonical(content) == rfc8785.dumps(msgspec.to_builtins(content))


def test_an_open_keyring_refuses_a_file_that_was_edited_since(keyring, file):
    keyring.derive("watermark")
    document = json.loads(file.read_bytes())
    document["content"]["floors"] = {"small": 9}
    document["content"]["revision"] += 1
    file.write_bytes(rfc8785.dumps(document))
    with pytest.raises(KeyringTampered, match="changed from outside"):
        keyring.derive("watermark")
