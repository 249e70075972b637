import datetime as dt
import ipaddress
import json
import signal
import socket
import ssl
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.e2e.deployment import eventually, sealgate, serve


class Authority:
    """A certificate authority made for one test."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(name, self.key, self.key, name, authority=True)
        self.path = self._written(f"{name}.pem", self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name):
        """Issue a certificate and return the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, key, self.key, self.name, authority=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = self._written(f"{name}-chain.pem", certificate.public_bytes(Encoding.PEM))
        return chain, self._written(f"{name}-key.pem", private), certificate.serial_number

    def _signed(self, name, key, signer, issuer, *, authority):
        now = dt.datetime.now(dt.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(signer, hashes.SHA256())
        )

    def _written(self, name, data):
        path = self.directory / name
        path.write_bytes(data)
        return path


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "hospital")


@pytest.fixture
def served(authority, idle_home):
    home, keys = idle_home
    chain, key, serial = authority.issue("gateway")
    settings = {"tls_certificate": chain, "tls_key": key, "tls_client_ca": authority.path}
    with serve(home, acknowledgement_s=30, wrong_keys_per_minute=5, **settings) as (process, url):
        yield home, keys, process, url, serial


def models(url, context, key=None):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    request = urllib.request.Request(f"{url}/v1/models", headers=headers)  # noqa: S310 - ours
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def shown_serial(url, context):
    host, port = url.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        return shown.serial_number, tls.version()


def test_tls_takes_keys_and_certificates_and_new_files(served, authority, tmp_path):
    home, keys, process, url, serial = served
    trusting = ssl.create_default_context(cafile=authority.path)
    assert url.startswith("https://")
    assert models(url, trusting, keys["client"])[0] == 200
    assert models(url, trusting)[0] == 401
    assert shown_serial(url, trusting) == (serial, "TLSv1.3")

    # A certificate of the authority is nobody until it is made a credential.
    chain, key, _ = authority.issue("ward")
    certified = ssl.create_default_context(cafile=authority.path)
    certified.load_cert_chain(chain, key)
    assert models(url, certified)[0] == 401
    added = ["--name", "ward", "--tenant", "clinic", "--scope", "models", "--json"]
    sealgate("clients", "add", *added, "--certificate", str(chain), home=home)
    assert models(url, certified)[0] == 200
    # A key that is shown wins over the certificate.
    assert models(url, certified, "sg-" + "x" * 43)[0] == 401

    # One of another authority of the same name does not even shake hands.
    (tmp_path / "other").mkdir()
    chain, key, _ = Authority(tmp_path / "other", "hospital").issue("ward")
    strange = ssl.create_default_context(cafile=authority.path)
    strange.load_cert_chain(chain, key)
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        models(url, strange)

    old = ssl.create_default_context(cafile=authority.path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shown_serial(url, old)[1] == "TLSv1.2"

    # New files are served without a restart; broken ones leave the old.
    _, _, renewed = authority.issue("gateway")
    process.send_signal(signal.SIGHUP)
    assert eventually(lambda: shown_serial(url, trusting)[0] == renewed)
    (tmp_path / "gateway-chain.pem").write_text("broken")
    process.send_signal(signal.SIGHUP)
    assert models(url, trusting, keys["client"])[0] == 200
    assert shown_serial(url, trusting)[0] == renewed


def test_address_that_guesses_keys_is_not_listened_to(served, authority):
    _, keys, _, url, _ = served
    trusting = ssl.create_default_context(cafile=authority.path)
    tries = [models(url, trusting, f"sg-{n:043}")[1]["error"]["code"] for n in range(7)]
    assert tries == ["invalid_api_key"] * 5 + ["too_many_attempts"] * 2
    # Not even the right key: who guesses must not learn that one was right.
    assert models(url, trusting, keys["client"])[0] == 429


def test_rotated_key_overlaps_and_scopes_hold(gateway, run_sealgate):
    add = ["clients", "add", "--name", "narrow", "--tenant", "clinic", "--json"]
    made = json.loads(run_sealgate(*add, "--scope", "models", "--scope", "model:other").stdout)
    rotate = ["clients", "rotate", made["id"], "--json"]
    heir = json.loads(run_sealgate(*rotate, "--overlap-hours", "1").stdout)
    assert heir["scopes"] == ["model:other", "models"]
    for key in (made["key"], heir["key"]):
        assert models(gateway.url, None, key)[0] == 200
        request = urllib.request.Request(  # noqa: S310 - ours
            f"{gateway.url}/v1/chat/completions", b"{}", {"authorization": f"Bearer {key}"}
        )
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        with error.value as refused:
            assert json.load(refused)["error"]["code"] == "insufficient_scope"
    last = json.loads(run_sealgate(*rotate, "--overlap-hours", "0").stdout)
    assert models(gateway.url, None, made["key"])[0] == 401
    assert models(gateway.url, None, last["key"])[0] == 200
