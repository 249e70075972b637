"""The sealed container's manifest: what is in the file and where, docs/formats/sealed-v1.md."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import rfc8785

from privacy.container import HEADER_BYTES, MESSAGE_LIMIT_BYTES, Header, broken, sealed_size
from privacy.derivation import bind

FORMAT = "sealgate/sealed-v1"
GRAPH = "graph"
ASSET_PREFIX = "asset/"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every part of a manifest is: immutable, and of exactly these members."""


class Graph(Entry, frozen=True):
    """The graph in the image. sha256: of the plaintext, 64 hex digits, here and below."""

    offset: int
    length: int
    sha256: str


class Tensor(Entry, frozen=True):
    """A tensor in the image. dtype: NumPy's name. offset, length: bytes."""

    name: str
    dtype: str
    shape: list[int]
    offset: int
    length: int
    sha256: str

    @property
    def end(self) -> int:
        """Where in the image it ends."""
        return self.offset + self.length


class Asset(Entry, frozen=True):
    """A file that goes with the model."""

    name: str
    length: int
    sha256: str


class Message(Entry, frozen=True):
    """One encrypted message. position, size, sha256: of its ciphertext in the file.

    offset: place of its `length` plaintext bytes in the image, or None if it has none there.
    """

    name: str
    position: int
    size: int
    sha256: str
    offset: int | None
    length: int


class Manifest(Entry, frozen=True):
    """Everything a file holds. model_digest: `sha256:` and 64 hex digits."""

    format: str
    file_id: str
    key_id: str
    model_id: str
    generation: int
    created_s: int
    model_digest: str
    config: dict[str, Any]
    image_length: int
    graph: Graph
    tensors: list[Tensor]
    assets: list[Asset]
    messages: list[Message]

    def encode(self) -> bytes:
        """Return its canonical JSON."""
        return rfc8785.dumps(self.builtins())

    def builtins(self) -> dict[str, Any]:
        """Return it as plain dicts and lists."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def decode(data: bytes, *, header: Header, model_id: str, generation: int) -> Manifest:
    """Decode an authenticated manifest and hold it against header and keyring.

    Raises:
        SealBroken: It is of another file, model or generation, or does not fill the file.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError:
        raise broken("the manifest is not of this version") from None
    said = (manifest.format, manifest.file_id, manifest.key_id)
    if said != (FORMAT, header.file_id.hex(), header.key_id.hex()):
        raise broken("the manifest is another file's")
    if (manifest.model_id, manifest.generation) != (model_id, generation):
        raise broken("the manifest names another model or generation than its key")
    _require_whole(manifest, header)
    return manifest


def model_digest(
    config: Mapping[str, Any], graph: Graph, tensors: list[Tensor], assets: list[Asset]
) -> str:
    """Name the content alone, whatever id, key and generation it is sealed under."""
    content: dict[str, Any] = {
        "config": config,
        "graph": graph.sha256,
        "tensors": [
            {"name": t.name, "dtype": t.dtype, "shape": t.shape, "sha256": t.sha256}
            for t in sorted(tensors, key=lambda tensor: tensor.name)
        ],
        "assets": {asset.name: asset.sha256 for asset in assets},
    }
    message = bind(b"sealgate/sealed-v1/model", rfc8785.dumps(content))
    return "sha256:" + hashlib.sha256(message).hexdigest()


def _require_whole(manifest: Manifest, header: Header) -> None:
    """Require messages without gap or overlap, in the file and, in order, in the image."""
    position, offset = HEADER_BYTES, 0
    for message in manifest.messages:
        if message.position != position or not 0 <= message.length <= MESSAGE_LIMIT_BYTES:
            raise broken("its messages do not follow each other")
        if message.size != sealed_size(message.length):
            raise broken("a message has another length than it says")
        position += message.size
        if message.offset is not None:
            if message.offset < offset:
                raise broken("its messages overlap in memory")
            offset = message.offset + message.length
    if position != header.manifest_position or offset > manifest.image_length:
        raise broken("its messages do not fill it")
