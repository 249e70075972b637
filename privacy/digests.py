"""Digests of what a container decrypts to, compared with its manifest: `verify`'s second half."""

import hashlib

from privacy.container import broken
from privacy.manifest import ASSET_PREFIX, Manifest, Message, model_digest


class PlaintextDigests:
    """Takes a manifest's messages in order, decrypted, and then compares every digest."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._graph = hashlib.sha256()
        self._tensors = {tensor.name: hashlib.sha256() for tensor in manifest.tensors}
        self._assets = {asset.name: hashlib.sha256() for asset in manifest.assets}

    def take(self, message: Message, content: memoryview) -> None:
        """Add one message's plaintext."""
        if message.offset is None:
            self._assets[message.name.removeprefix(ASSET_PREFIX)].update(content)
            return
        graph, end = self._manifest.graph, message.offset + message.length
        if message.offset < graph.length:
            self._graph.update(content[: graph.length - message.offset])
        for tensor in self._manifest.tensors:
            start, stop = max(tensor.offset, message.offset), min(tensor.end, end)
            if start < stop:
                piece = content[start - message.offset : stop - message.offset]
                self._tensors[tensor.name].update(piece)

    def require(self) -> None:
        """Compare with the manifest.

        Raises:
            SealBroken: A digest differs.
        """
        manifest = self._manifest
        for name, digest, expected in (
            ("graph", self._graph, manifest.graph.sha256),
            *((t.name, self._tensors[t.name], t.sha256) for t in manifest.tensors),
            *((a.name, self._assets[a.name], a.sha256) for a in manifest.assets),
        ):
            if digest.hexdigest() != expected:
                raise broken(f"the content of {name} has another digest than the manifest says")
        content = (manifest.config, manifest.graph, manifest.tensors, manifest.assets)
        if model_digest(*content) != manifest.model_digest:
            raise broken("the model's digest is not its content's")
