"""The console of a serving gateway: real broker, sandboxes and marks behind its pages."""

import html
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from tests.e2e.deployment import ENDLESS, MODEL, sealgate


class Browser:
    """A browser without scripts, over the loopback interface."""

    def __init__(self, url):
        self.url = url
        handlers = (
            urllib.request.HTTPCookieProcessor(CookieJar()),
            urllib.request.ProxyHandler({}),
        )
        self.opener = urllib.request.build_opener(*handlers)

    def ask(self, path, fields=None):
        """Return a page's status and text; its forms' token is sent with the next form."""
        if fields is not None:
            fields = urllib.parse.urlencode(fields | {"form_token": self.token}).encode()
        try:
            with self.opener.open(f"{self.url}{path}", fields, timeout=120) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        text = body.decode(errors="replace")
        if found := re.search(r'name="form_token" value="([^"]+)"', text):
            self.token = found[1]
        return status, html.unescape(text)

    def sign_in(self, key):
        self.ask("/console/sign-in")
        return self.ask("/console/sign-in", {"key": key})


@pytest.fixture
def browser(gateway):
    return Browser(gateway.url)


@pytest.fixture(scope="module")
def security_key(gateway):
    arguments = ("--name", "Sec", "--tenant", "clinic", "--role", "security", "--json")
    return json.loads(sealgate("clients", "add", *arguments, home=gateway.home).stdout)["key"]


def test_officer_traces_an_answer_to_its_request_and_its_proof(gateway, browser):
    with gateway.client() as client:
        asked = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Write about a walk through a forest."}],
            max_tokens=300,
            temperature=1.2,
            logit_bias=ENDLESS,
        )
    request_id, answer = asked._request_id, asked.choices[0].message.content
    status, page = browser.sign_in(gateway.keys["officer"])
    assert (status, "Overview" in page) == (200, True)
    assert f"local/{MODEL}" in page
    status, page = browser.ask("/console/text", {"text": answer})
    assert status == 200
    assert "This text comes from here." in page
    assert f"request={request_id}" in page
    assert "<mark>" in page
    page = browser.ask(f"/console/proof/{request_id}")[1]
    assert "The proof holds: 2 of " in page
    status, receipt = browser.ask(f"/console/receipt/{request_id}")
    assert (status, receipt.count(".")) == (200, 2)


def test_security_rotates_a_key_under_answers_and_the_command_line_agrees(
    gateway, browser, security_key, run_sealgate
):
    assert browser.sign_in(security_key)[0] == 200
    status, page = browser.ask("/console/keys")
    assert (status, "cache-salt@1" in page) == (200, True)
    status, page = browser.ask(
        "/console/keys/rotate", {"name": "cache-salt", "reason": "end to end"}
    )
    assert (status, "The key was rotated." in page) == (200, True)
    listed = json.loads(run_sealgate("keys", "list", "--json").stdout)["keys"]
    states = {each["key"]: each["state"] for each in listed}
    assert (states["cache-salt@1"], states["cache-salt@2"]) == ("decrypt-only", "active")
    details = [e["sealgate"].get("detail", {}) for e in gateway.events()]
    assert "end to end" in {detail.get("reason") for detail in details}
    run_sealgate("audit", "verify")


def test_credential_of_the_console_opens_the_api_and_its_end_closes_it(
    gateway, browser, security_key
):
    browser.sign_in(security_key)
    browser.ask("/console/credentials")
    form = {"name": "Ward", "tenant": "clinic", "role": "officer", "days": "1", "scopes": ""}
    page = browser.ask("/console/credentials", form)[1]
    key = re.search(r'id="secret">(sg-[\w-]{43})<', page)[1]
    other = Browser(gateway.url)
    assert other.sign_in(key)[0] == 200
    identifier = re.search(r"(cred_[0-9a-f]{16})", page)[1]
    page = browser.ask(f"/console/credentials/{identifier}/revoke", {})[1]
    assert "The credential was revoked." in page
    assert "Your session ended" in other.ask("/console/events")[1]
