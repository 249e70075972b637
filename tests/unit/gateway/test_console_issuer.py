"""Signing in at an OpenID Connect issuer: a small real one, the code flow, and its attackers."""

import base64
import hashlib
import json
import secrets
import threading
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.app import create_app
from gateway.console.codeflow import CALLBACK, WAITING_LIMIT, Client, CodeFlow, client
from gateway.errors import RequestRefused, SettingsInvalid
from gateway.settings import Settings
from gateway.tokens import Issuer as Issued
from gateway.tokens import Tokens
from tests.loopback import Answering, serving
from tests.unit.gateway.console_parts import Browser, entries
from tests.unit.gateway.console_parts import gateway as gateway_parts

CLIENT, SECRET = "sealgate-console", "s3cret+/ü"
OWN = "http://console.test"


class Issuer:
    """An issuer on the loopback interface that keeps to RFC 6749, RFC 7636 and OIDC Core.

    claims: of the ID token, changed at will. codes: what was given out, each good once.
    """

    def __init__(self, host="127.0.0.1"):
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.claims, self.codes, self.fails, self.answer = {}, {}, False, None
        outer = self

        class Handler(Answering):
            def get(self):
                outer.get(self)

            def post(self):
                outer.post(self, self.body().decode())

        self.running = ExitStack()
        server = self.running.enter_context(serving(Handler))
        self.url = f"http://{host}:{server.server_port}/realm"

    def get(self, handler):
        parts = urlsplit(handler.path)
        if parts.path.endswith("/authorize"):
            location = self.authorize({k: v[0] for k, v in parse_qs(parts.query).items()})
            handler.send_response(302)
            handler.send_header("location", location)
            handler.send_header("content-length", "0")
            handler.end_headers()
        elif parts.path.endswith("/openid-configuration"):
            self.send(handler, 200, self.document())
        else:
            self.send(handler, 200, {"keys": [self.key.as_dict(private=False)]})

    def document(self):
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }

    def authorize(self, asked):
        """Give out a code for what was asked; return where the browser goes back to."""
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        joined = urlencode({"code": code, "state": asked["state"], "iss": self.url})
        return f"{asked['redirect_uri']}?{joined}"

    def post(self, handler, body):
        given = {k: v[0] for k, v in parse_qs(body).items()}
        if self.fails:
            handler.send_response(500)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        asked = self.codes.pop(given.get("code", ""), None)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        good = (
            asked is not None
            and challenge == asked["code_challenge"]
            and given["redirect_uri"] == asked["redirect_uri"]
            and self.authenticated(handler)
        )
        if not good:
            self.send(handler, 400, {"error": "invalid_grant"})
            return
        token = self.token(nonce=asked["nonce"])
        self.send(handler, 200, self.answer or {"id_token": token, "token_type": "Bearer"})

    @staticmethod
    def authenticated(handler):
        kind, _, value = handler.headers.get("authorization", "").partition(" ")
        return kind == "Basic" and base64.b64decode(value) == (
            b"sealgate-console:s3cret%2B%2F%C3%BC"
        )

    def token(self, **claims):
        given = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "ann:7",
            "exp": int(time.time()) + 600,
            "sealgate_tenant": "clinic",
            "sealgate_role": "auditor",
            "name": "Ann of the issuer",
        }
        given |= claims | self.claims
        given = {name: value for name, value in given.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "one"}, given, self.key, algorithms=["RS256"])

    def send(self, handler, status, document):
        handler.answer(status, json.dumps(document).encode())

    def close(self):
        self.running.close()


@contextmanager
def issuing(directory, host="127.0.0.1", **settings):
    """Yield an issuer and a gateway that signs people in at it."""
    issuer = Issuer(host)
    secret = directory / "client-secret"
    secret.write_text(f"{SECRET}\nanother line\n", encoding="utf-8")
    try:
        with gateway_parts(
            directory / "home",
            oidc_issuer=issuer.url,
            console_oidc_client=CLIENT,
            console_oidc_secret_file=secret,
            **settings,
        ) as parts:
            yield issuer, parts
    finally:
        issuer.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with issuing(tmp_path_factory.mktemp("issuer")) as both:
        yield both


@pytest.fixture
def issuer(both):
    issuer = both[0]
    issuer.claims, issuer.fails, issuer.answer = {}, False, None
    return issuer


@pytest.fixture
def parts(both):
    return both[1]


@pytest.fixture
def browser(both):
    return Browser(create_app(both[1]))


def leave(browser, wanted="/console/policy"):
    """Go to the issuer; return what it is asked."""
    answer = browser.get(f"/console/sign-in/issuer?{urlencode({'next': wanted})}")
    assert answer.status == 303
    return urlsplit(answer.headers["location"])


def come_back(browser, issuer, wanted="/console/policy"):
    """Go to the issuer and back again."""
    asked = {k: v[0] for k, v in parse_qs(leave(browser, wanted).query).items()}
    back = urlsplit(issuer.authorize(asked))
    return browser.get(f"{back.path}?{back.query}")


def test_person_signs_in_at_the_issuer_and_goes_where_they_wanted(browser, issuer, parts):
    assert "Sign in with your organisation" in browser.get("/console/sign-in").text
    answer = come_back(browser, issuer, "/console/events?tenant=clinic")
    assert answer.status == 200
    assert (
        '<meta http-equiv="refresh" content="0; url=/console/events?tenant=clinic">' in answer.text
    )
    page = browser.get("/console/policy")
    assert page.status == 200
    assert "Ann of the issuer" in page.text
    last = entries(parts, "console.sign_in")[-1]
    assert last["sealgate"]["detail"] == {"method": "oidc"}
    assert last["actor"]["user"]["uid"] == "oidc:ann:7"


def test_what_the_issuer_is_asked_binds_code_token_and_browser(browser, issuer):
    asked = leave(browser)
    query = {k: v[0] for k, v in parse_qs(asked.query).items()}
    assert f"{asked.scheme}://{asked.netloc}{asked.path}" == f"{issuer.url}/authorize"
    assert query["redirect_uri"] == f"{OWN}{CALLBACK}"
    assert query["client_id"] == CLIENT
    kept = browser.cookies["sealgate_leaving"]
    state, nonce, verifier, _ = kept.split(".")
    assert (query["state"], query["nonce"]) == (state, nonce)
    assert verifier not in asked.query
    assert min(map(len, (state, nonce, verifier))) >= 43


def test_cookie_of_the_way_is_lax_short_and_gone_afterwards(browser, issuer):
    answer = browser.get("/console/sign-in/issuer")
    (line,) = answer.all("set-cookie")
    assert "SameSite=lax" in line
    assert "Max-Age=600" in line
    assert "HttpOnly" in line
    asked = {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    back = urlsplit(issuer.authorize(asked))
    browser.get(f"{back.path}?{back.query}")
    assert "sealgate_leaving" not in browser.cookies
    assert "sealgate_session" in browser.cookies


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "sealgate"},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"iss": "https://evil.example"},
        {"exp": 1_700_000_000},
        {"sub": None},
        {"sealgate_role": None},
        {"sealgate_role": "emperor"},
        {"sealgate_tenant": "../x"},
    ],
    ids=str,
)
def test_token_that_does_not_hold_signs_nobody_in(browser, issuer, parts, claims):
    issuer.claims = claims
    answer = come_back(browser, issuer)
    assert (answer.status, "The sign-in was not completed" in answer.text) == (401, True)
    assert "sealgate_session" not in browser.cookies
    assert entries(parts, "console.sign_in")[-1]["sealgate"]["reason"] == "sign_in_refused"


def test_application_of_the_issuer_is_turned_away(browser, issuer):
    issuer.claims = {"sealgate_role": "client"}
    answer = come_back(browser, issuer)
    assert (answer.status, "Applications use the API" in answer.text) == (403, True)
    assert "sealgate_session" not in browser.cookies


def test_answer_to_another_browser_signs_nobody_in(browser, issuer, both):
    asked = {k: v[0] for k, v in parse_qs(leave(browser).query).items()}
    back = urlsplit(issuer.authorize(asked))
    victim = Browser(create_app(both[1]))
    assert victim.get(f"{back.path}?{back.query}").status == 401
    leave(victim)
    assert victim.get(f"{back.path}?{back.query}").status == 401
    assert "sealgate_session" not in victim.cookies


@pytest.mark.parametrize(
    "query", ["", "code=x", "state=x", "error=access_denied", "state=&code=x"], ids=str
)
def test_answer_that_is_none_signs_nobody_in(browser, query):
    leave(browser)
    assert browser.get(f"{CALLBACK}?{query}").status == 401


def test_code_serves_once(browser, issuer):
    asked = {k: v[0] for k, v in parse_qs(leave(browser).query).items()}
    kept = browser.cookies["sealgate_leaving"]
    back = urlsplit(issuer.authorize(asked))
    assert browser.get(f"{back.path}?{back.query}").status == 200
    browser.cookies = {"sealgate_leaving": kept}
    assert browser.get(f"{back.path}?{back.query}").status == 401


def test_answer_of_another_issuer_is_none(browser, issuer):
    asked = {k: v[0] for k, v in parse_qs(leave(browser).query).items()}
    code = parse_qs(urlsplit(issuer.authorize(asked)).query)["code"][0]
    query = urlencode({"code": code, "state": asked["state"], "iss": "https://evil.example"})
    assert browser.get(f"{CALLBACK}?{query}").status == 401


@pytest.mark.parametrize("answer", [{"access_token": "x"}, {"id_token": 7}, ["x"]], ids=str)
def test_issuer_that_gives_no_token_signs_nobody_in(browser, issuer, answer):
    issuer.answer = answer
    assert come_back(browser, issuer).status in (401, 503)


def test_session_is_over_when_the_token_is(browser, issuer):
    issuer.claims = {"exp": int(time.time()) + 1}
    assert come_back(browser, issuer).status == 200
    time.sleep(1.1)
    assert browser.get("/console/policy").status == 303


def test_issuer_that_fails_is_told_and_credentials_still_work(browser, issuer, parts):
    issuer.fails = True
    assert come_back(browser, issuer).status == 401
    assert browser.sign_in(parts.keys["officer"].key).status == 303


def test_strangers_who_wait_for_a_slow_issuer_keep_few_threads():
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def slow(_):
        waiting.release()
        go_on.wait(60)
        raise OSError

    flow = CodeFlow(Client(Issued("https://issuer.example", CLIENT), CLIENT))
    flow._tokens = Tokens(Issued("https://issuer.example", CLIENT), fetch=slow)
    told = []

    def begin():
        try:
            flow.begin(origin=OWN)
        except RequestRefused as refused:
            told.append(refused.code)

    threads = [threading.Thread(target=begin) for _ in range(WAITING_LIMIT)]
    for thread in threads:
        thread.start()
        assert waiting.acquire(timeout=60)
    begin()
    assert told == ["issuer_unavailable"]
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert told == ["issuer_unavailable"] * (WAITING_LIMIT + 1)


def test_issuers_document_is_asked_for_once_in_a_while(browser, issuer, monkeypatch):
    leave(browser)
    monkeypatch.setattr(issuer, "document", lambda: pytest.fail("asked again"))
    assert leave(browser).path.endswith("/authorize")


def test_issuer_that_is_gone_is_told(tmp_path):
    with issuing(tmp_path) as (issuer, parts):
        browser = Browser(create_app(parts))
        issuer.close()
        answer = browser.get("/console/sign-in/issuer")
        assert (answer.status, "does not answer" in answer.text) == (503, True)


def test_way_back_is_the_configured_address_behind_a_proxy(tmp_path):
    with issuing(tmp_path, console_url="https://gateway.example") as (_, parts):
        browser = Browser(create_app(parts), client="10.0.0.7")
        answer = browser.get("/console/sign-in/issuer", host="inner:8080")
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query["redirect_uri"] == [f"https://gateway.example{CALLBACK}"]
        assert answer.all("set-cookie")[0].startswith("__Host-sealgate_leaving=")


def test_no_issuer_no_way_there(tmp_path):
    with gateway_parts(tmp_path / "home") as parts:
        browser = Browser(create_app(parts))
        assert "organisation" not in browser.get("/console/sign-in").text
        assert browser.get("/console/sign-in/issuer").status == 404
        assert browser.get(CALLBACK).status == 404


@pytest.mark.parametrize(
    "settings",
    [
        {"console_oidc_client": CLIENT},
        {
            "console_oidc_client": CLIENT,
            "oidc_issuer": "https://a.example",
            "console_oidc_secret_file": "/nowhere",
        },
    ],
    ids=["no issuer", "no secret file"],
)
def test_sign_in_that_is_half_set_up_stops_the_start(settings):
    with pytest.raises(SettingsInvalid):
        client(Settings(**settings))
