"""A small C2SP witness on loopback, made from its specification and not from its client."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import ProofInvalid
from audit.merkle import EMPTY_ROOT, verify_consistency
from tests.loopback import Answering, serving

NAME = "witness.test/one"
# The published time of every cosignature.
NOW_S = 1_790_000_000


class Witness:
    """Knows one log by its vkey; remembers the newest checkpoint that it signed."""

    def __init__(self, vkey: str) -> None:
        self.origin, self._log_id, material = vkey.split("+", 2)
        self._log_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(material)[1:])
        self.key = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
        self.size, self.root = 0, EMPTY_ROOT
        self.asked: list[int] = []

    @property
    def vkey(self) -> str:
        material = b"\x04" + self.key.public_key().public_bytes_raw()
        key_id = hashlib.sha256(NAME.encode() + b"\n" + material).digest()[:4]
        return f"{NAME}+{key_id.hex()}+{base64.b64encode(material).decode()}"

    def add_checkpoint(self, body: str) -> tuple[int, str]:
        """Answer the one request that there is (tlog-witness, "add-checkpoint")."""
        head, _, note = body.partition("\n\n")
        first, *proof = head.split("\n")
        old = int(first.removeprefix("old "))
        text, _, signatures = note.partition("\n\n")
        origin, size, root = text.split("\n")
        self.asked.append(old)
        if origin != self.origin:
            return 404, ""
        if not self._signed(text, signatures):
            return 403, ""
        if old > int(size):
            return 400, ""
        if old != self.size:
            return 409, f"{self.size}\n"
        try:
            verify_consistency(
                old_size=old,
                size=int(size),
                path=[base64.b64decode(line) for line in proof],
                old_root=self.root,
                root=base64.b64decode(root),
            )
        except ProofInvalid:
            return 422, ""
        self.size, self.root = int(size), base64.b64decode(root)
        return 200, self._cosignature(text)

    def _signed(self, text: str, signatures: str) -> bool:
        for line in signatures.splitlines():
            raw = base64.b64decode(line.rpartition(" ")[2])
            if raw[:4].hex() == self._log_id:
                try:
                    self._log_key.verify(raw[4:], f"{text}\n".encode())
                except InvalidSignature:
                    return False
                return True
        return False

    def _cosignature(self, text: str) -> str:
        signature = self.key.sign(f"cosignature/v1\ntime {NOW_S}\n{text}\n".encode())
        key_id = bytes.fromhex(self.vkey.split("+")[1])
        blob = base64.b64encode(key_id + NOW_S.to_bytes(8, "big") + signature).decode()
        return f"\u2014 {NAME} {blob}\n"


@contextmanager
def listening(answer: "dict[str, object]") -> Iterator[str]:
    """Serve POSTs on loopback and give the URL. answer: path → what takes a body to a reply.

    A reply is status, media type, bytes.
    """

    class Handler(Answering):
        def post(self) -> None:
            status, kind, reply = answer[self.path](self.body())
            self.answer(status, reply, kind)

    with serving(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}"
