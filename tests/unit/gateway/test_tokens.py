import base64
import hmac
import json
from contextlib import ExitStack

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.errors import SettingsInvalid
from gateway.identity import Role
from gateway.tokens import REFETCH_S, Issuer, Tokens
from tests.loopback import Answering, serving

NOW = 1_800_000_000


class IssuerServer:
    """A real issuer on the loopback interface: its document, its keys, its tokens."""

    def __init__(self):
        self.keys = {"one": RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})}
        self.asked = []
        outer = self

        class Handler(Answering):
            def get(self):
                outer.asked.append(self.path)
                self.answer(200, json.dumps(outer.document(self.path)).encode())

        self.running = ExitStack()
        server = self.running.enter_context(serving(Handler))
        self.url = f"http://127.0.0.1:{server.server_port}/realm"

    def document(self, path):
        if path.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": [key.as_dict(private=False) for key in self.keys.values()]}

    def token(self, *, kid="one", key=None, alg="RS256", **claims):
        given = {
            "iss": self.url,
            "aud": "sealgate",
            "sub": "user-7",
            "exp": NOW + 60,
            "sealgate_tenant": "clinic",
            "sealgate_role": "auditor",
            "name": "Ada",
        } | claims
        given = {name: value for name, value in given.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": kid}, given, key or self.keys[kid], algorithms=[alg])

    def close(self):
        self.running.close()


@pytest.fixture(scope="module")
def issuer():
    made = IssuerServer()
    yield made
    made.close()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(issuer, clock):
    return Tokens(Issuer(issuer.url, "sealgate"), clock=clock, now=lambda: NOW)


def test_token_names_its_holder(issuer, tokens):
    principal = tokens.principal(issuer.token())
    assert principal.credential_id == "oidc:user-7"
    assert (principal.tenant, principal.role, principal.name) == ("clinic", Role.AUDITOR, "Ada")
    assert principal.method == "oidc"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 31},
        {"exp": None},
        {"nbf": NOW + 31},
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"sub": None},
        {"sub": ""},
        {"sealgate_tenant": None},
        {"sealgate_tenant": "../x"},
        {"sealgate_role": "emperor"},
        {"sealgate_role": ["client"]},
        {"sealgate_role": None},
    ],
    ids=str,
)
def test_token_that_is_not_for_us_names_nobody(issuer, tokens, claims):
    assert tokens.principal(issuer.token(**claims)) is None


def test_audience_may_be_one_of_several(issuer, tokens):
    assert tokens.principal(issuer.token(aud=["other", "sealgate"]))


def test_token_of_another_key_names_nobody(issuer, tokens):
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    assert tokens.principal(issuer.token(key=stranger)) is None


def test_public_key_as_a_shared_secret_names_nobody(issuer, tokens):
    # The oldest confusion: the key that everybody knows, used as if it were symmetric.
    known = issuer.keys["one"].as_pem(private=False)
    _, body, _ = issuer.token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').decode().rstrip("=")
    code = hmac.digest(known, f"{head}.{body}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(code).decode().rstrip("=")
    assert tokens.principal(f"{head}.{body}.{signature}") is None


def test_token_without_a_signature_names_nobody(issuer, tokens):
    head, body, _ = issuer.token().split(".")
    none = "eyJhbGciOiJub25lIn0"
    for token in (f"{none}.{body}.", f"{head}.{body}.", "a.b.c", "..", "x" * 20_000):
        assert tokens.principal(token) is None


def test_rotated_key_is_fetched_once_it_is_used(issuer, tokens, clock):
    assert tokens.principal(issuer.token())
    issuer.keys["two"] = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
    rotated = issuer.token(kid="two", alg="ES256")
    assert tokens.principal(rotated) is None
    clock.now += REFETCH_S
    assert tokens.principal(rotated)
    del issuer.keys["two"]


def test_unknown_keys_do_not_make_us_ask_all_the_time(issuer, tokens):
    tokens.principal(issuer.token())
    asked = len(issuer.asked)
    stranger = RSAKey.generate_key(2048, {"kid": "nine"})
    for _ in range(5):
        tokens.principal(issuer.token(kid="nine", key=stranger))
    assert len(issuer.asked) == asked


def test_issuer_that_is_down_leaves_its_known_keys(issuer, clock):
    answers = [issuer.document("/.well-known/openid-configuration"), issuer.document("/keys")]

    def fetch(_):
        if not answers:
            raise OSError
        return answers.pop(0)

    tokens = Tokens(Issuer(issuer.url, "sealgate"), fetch=fetch, clock=clock, now=lambda: NOW)
    assert tokens.principal(issuer.token())
    clock.now += 10_000
    assert tokens.principal(issuer.token())


def test_document_of_another_issuer_is_not_believed(issuer, clock):
    def fetch(url):
        return issuer.document(url) | {"issuer": "https://other.example"}

    tokens = Tokens(Issuer(issuer.url, "sealgate"), fetch=fetch, clock=clock, now=lambda: NOW)
    assert tokens.principal(issuer.token()) is None


@pytest.mark.parametrize("url", ["http://issuer.example", "ftp://127.0.0.1", "issuer", "file:///x"])
def test_issuer_without_tls_is_refused(url):
    with pytest.raises(SettingsInvalid):
        Tokens(Issuer(url, "sealgate"))
