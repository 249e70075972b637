"""A manifest that was signed and says what cannot be is refused, as if it had not been signed."""

import msgspec
import pytest

from privacy.container import CHUNK_BYTES, HEADER_BYTES, MESSAGE_LIMIT_BYTES, Header, sealed_size
from privacy.errors import SealBroken
from privacy.manifest import FORMAT, Graph, Manifest, Message, decode

FILE_ID, KEY_ID, DIGEST = bytes([1] * 16), bytes([2] * 16), "0" * 64


def message(position, length, offset):
    return Message("graph", position, sealed_size(length), DIGEST, offset, length)


FIRST = message(HEADER_BYTES, 100, 0)
SECOND = message(HEADER_BYTES + FIRST.size, 50, 128)
ASIDE = message(HEADER_BYTES + FIRST.size + SECOND.size, 9, None)
MESSAGES = [FIRST, SECOND, ASIDE]
END = ASIDE.position + ASIDE.size
WHOLE = Manifest(
    format=FORMAT,
    file_id=FILE_ID.hex(),
    key_id=KEY_ID.hex(),
    model_id="small",
    generation=3,
    created_s=0,
    model_digest=f"sha256:{DIGEST}",
    config={},
    image_length=178,
    graph=Graph(0, 100, DIGEST),
    tensors=[],
    assets=[],
    messages=MESSAGES,
)


def decoded(manifest, *, end=END, model_id="small", generation=3):
    header = Header(FILE_ID, KEY_ID, end, 1)
    data = manifest if isinstance(manifest, bytes) else manifest.encode()
    return decode(data, header=header, model_id=model_id, generation=generation)


def changed(**parts):
    return msgspec.structs.replace(WHOLE, **parts)


def moved(at, **parts):
    messages = list(MESSAGES)
    messages[at] = msgspec.structs.replace(messages[at], **parts)
    return changed(messages=messages)


def test_whole_manifest_is_accepted():
    assert decoded(WHOLE) == WHOLE


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", WHOLE.encode()[:-1] + b',"more":1}'])
def test_what_is_no_manifest_of_this_version_is_refused(data):
    with pytest.raises(SealBroken, match="not of this version"):
        decoded(data)


@pytest.mark.parametrize("part", ["format", "file_id", "key_id"])
def test_manifest_of_another_file_is_refused(part):
    with pytest.raises(SealBroken, match="another file's"):
        decoded(changed(**{part: "another"}))


@pytest.mark.parametrize("opened_as", [{"model_id": "large"}, {"generation": 2}])
def test_manifest_of_another_model_or_generation_is_refused(opened_as):
    with pytest.raises(SealBroken, match="another model or generation"):
        decoded(WHOLE, **opened_as)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (moved(0, position=HEADER_BYTES + 1), "do not follow"),
        (moved(1, position=SECOND.position - 1), "do not follow"),
        (moved(1, length=-1), "do not follow"),
        (moved(1, length=MESSAGE_LIMIT_BYTES + 1), "do not follow"),
        (moved(1, size=SECOND.size + 1), "another length than it says"),
        (moved(1, length=50 + CHUNK_BYTES), "another length than it says"),
        (moved(1, offset=99), "overlap in memory"),
        (changed(image_length=177), "do not fill it"),
        (changed(messages=MESSAGES[:-1]), "do not fill it"),
    ],
)
def test_messages_with_a_gap_or_an_overlap_are_refused(manifest, said):
    with pytest.raises(SealBroken, match=said):
        decoded(manifest)


def test_longer_file_than_its_messages_is_refused():
    with pytest.raises(SealBroken, match="do not fill it"):
        decoded(WHOLE, end=END + 1)
