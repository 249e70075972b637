"""Checkpoints against a second implementation of C2SP signed notes, and against forgery."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.checkpoint import Checkpoint, VerifierKey, sign, verify
from audit.errors import CheckpointInvalid

ORIGIN = "sealgate.test/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ROOT = hashlib.sha256(b"root").digest()
HEAD = Checkpoint(ORIGIN, 20_852_163, ROOT)


def signed(head=HEAD, key=KEY):
    public_key = key.public_key().public_bytes_raw()
    return sign(head, public_key=public_key, signer=key.sign)


def checked(note, *, origin=ORIGIN, public_key=PUBLIC):
    return verify(note, origin=origin, public_key=public_key)


def independent_open(note, vkey):
    """Open a note as golang.org/x/mod/sumdb/note does, written from the C2SP page alone."""
    name, key_hash, encoded = vkey.split("+", 2)
    material = base64.b64decode(encoded)
    assert material[0] == 1
    assert hashlib.sha256(f"{name}\n".encode() + material).hexdigest()[:8] == key_hash
    body, _, signatures = note.rpartition("\n\n")
    line = signatures.splitlines()[0]
    dash, signer, blob = line.split(" ")
    raw = base64.b64decode(blob)
    assert (dash, signer, raw[:4].hex()) == ("—", name, key_hash)
    Ed25519PublicKey.from_public_bytes(material[1:]).verify(raw[4:], f"{body}\n".encode())
    return body.split("\n")


def independent_sign(text, name, key):
    """Sign a note without the code under test."""
    material = b"\x01" + key.public_key().public_bytes_raw()
    key_hash = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    blob = base64.b64encode(key_hash + key.sign(text.encode())).decode()
    return f"{text}\n— {name} {blob}\n"


def text(*lines):
    return "".join(f"{line}\n" for line in lines)


ROOT64 = base64.b64encode(ROOT).decode()
GOOD = text(ORIGIN, "20852163", ROOT64)


def test_stranger_opens_our_note():
    lines = independent_open(signed(), VerifierKey(ORIGIN, PUBLIC).encode())
    assert lines == [ORIGIN, "20852163", ROOT64]


def test_we_open_a_strangers_note():
    assert checked(independent_sign(GOOD, ORIGIN, KEY)) == HEAD


def test_key_of_go_sumdb_is_read_and_written_alike():
    # The public Go checksum database's key, as the go command carries it.
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    key = VerifierKey.decode(vkey)
    assert key.name == "sum.golang.org"
    assert key.encode() == vkey


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "sum.golang.org",
        "sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "sum.golang.com+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuA==",
        "sum.golang.org+033de0ae+As4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    ],
)
def test_malformed_verifier_key_is_refused(vkey):
    with pytest.raises(CheckpointInvalid):
        VerifierKey.decode(vkey)


def test_cosignatures_of_witnesses_are_ignored():
    witness = independent_sign(GOOD, "witness.test/w", OTHER).rpartition("\n\n")[2]
    note = signed()
    assert checked(note + witness) == HEAD
    body, _, ours = note.rpartition("\n\n")
    assert checked(f"{body}\n\n{witness}{ours}") == HEAD


def test_signature_of_another_key_under_our_name_does_not_count():
    with pytest.raises(CheckpointInvalid, match="No signature"):
        checked(signed(key=OTHER))


def test_signature_with_our_key_id_must_hold():
    note = signed()
    body, _, line = note.rpartition("\n\n")
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    raw[-1] ^= 1
    forged = f"— {ORIGIN} {base64.b64encode(raw).decode()}\n"
    for each in (f"{body}\n\n{forged}", f"{note}{forged}"):
        with pytest.raises(CheckpointInvalid, match="does not hold"):
            checked(each)


def test_wrong_key_id_is_refused():
    body, _, line = signed().rpartition("\n\n")
    raw = base64.b64decode(line.split(" ")[2])
    blob = base64.b64encode(b"\x00\x00\x00\x00" + raw[4:]).decode()
    with pytest.raises(CheckpointInvalid, match="No signature"):
        checked(f"{body}\n\n— {ORIGIN} {blob}\n")


def test_stripped_signature_is_refused():
    for note in (GOOD, f"{GOOD}\n", GOOD.rstrip("\n")):
        with pytest.raises(CheckpointInvalid):
            checked(note)


def test_another_origin_is_refused_even_if_the_key_signed_it():
    foreign = text("other.test/log", "20852163", ROOT64)
    with pytest.raises(CheckpointInvalid, match="of the log"):
        checked(independent_sign(foreign, ORIGIN, KEY))
    with pytest.raises(CheckpointInvalid):
        checked(signed(), origin="other.test/log")


@pytest.mark.parametrize(
    "altered",
    [
        text(ORIGIN, "20852164", ROOT64),
        text(ORIGIN, "20852163", base64.b64encode(bytes(32)).decode()),
    ],
)
def test_altered_size_or_root_is_refused(altered):
    with pytest.raises(CheckpointInvalid, match="does not hold"):
        checked(signed().replace(GOOD, altered))


@pytest.mark.parametrize(
    "malformed",
    [
        text(ORIGIN, "020852163", ROOT64),
        text(ORIGIN, "-1", ROOT64),
        text(ORIGIN, "٣", ROOT64),
        text(ORIGIN, "1" * 20, ROOT64),
        text(ORIGIN, "20852163", "AAAA"),
        text(ORIGIN, "20852163", ROOT64 + "\n"),
        text(ORIGIN, "20852163", ROOT64, "an extension"),
        text(ORIGIN, "20852163"),
        text(ORIGIN + "\r", "20852163", ROOT64),
    ],
    ids=repr,
)
def test_malformed_text_is_refused_though_signed(malformed):
    with pytest.raises(CheckpointInvalid):
        checked(independent_sign(malformed, ORIGIN, KEY))


def test_endless_note_is_refused():
    with pytest.raises(CheckpointInvalid, match="too long"):
        checked(signed() + f"— witness.test/w {'A' * 70_000}\n")


def test_signer_with_another_key_is_found_out_at_once():
    with pytest.raises(CheckpointInvalid):
        sign(HEAD, public_key=PUBLIC, signer=OTHER.sign)


def test_log_that_was_given_another_name_is_told_to_keep_its_own():
    note = signed(Checkpoint("old.test/log", 7, ROOT))
    with pytest.raises(CheckpointInvalid, match=r"set `origin` to 'old\.test/log' again"):
        checked(note)
    with pytest.raises(CheckpointInvalid) as found:
        checked(note, public_key=OTHER.public_key().public_bytes_raw())
    assert "again" not in str(found.value)
