"""The console's edge over ASGI: headers, cookies, forms of other sites, roles, throttling."""

import itertools
import re
from datetime import UTC, datetime

import pytest

from gateway.app import create_app
from gateway.console.forms import own_path
from gateway.console.headers import POLICY
from gateway.console.mount import routes
from gateway.identity import Role
from tests.unit.gateway.console_parts import (
    Browser,
    answered,
    entries,
    gateway,
    record,
    refused,
)
from tests.unit.gateway.issued import issue

OFFICER, AUDITOR, SECURITY = "officer", "auditor", "security"
PAGES = {
    "/console": {OFFICER, AUDITOR, SECURITY},
    "/console/events": {OFFICER, AUDITOR},
    "/console/events/0": {OFFICER, AUDITOR},
    "/console/proof/req_1": {OFFICER, AUDITOR},
    "/console/proof/req_1/document": {OFFICER, AUDITOR},
    "/console/receipt/req_1": {OFFICER, AUDITOR},
    "/console/text": {OFFICER, AUDITOR},
    "/console/reports": {OFFICER, AUDITOR},
    "/console/policy": {OFFICER, AUDITOR, SECURITY},
    "/console/keys": {SECURITY},
    "/console/credentials": {SECURITY},
}
FORMS = {
    "/console/text": {OFFICER, AUDITOR},
    "/console/reports": {OFFICER},
    "/console/reports/schedules": {OFFICER},
    "/console/reports/schedules/sch_1/end": {OFFICER},
    "/console/reports/check": {OFFICER, AUDITOR},
    "/console/keys/rotate": {SECURITY},
    "/console/keys/destroy": {SECURITY},
    "/console/credentials": {SECURITY},
    "/console/credentials/cred_1/rotate": {SECURITY},
    "/console/credentials/cred_1/revoke": {SECURITY},
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("console") / "home") as parts:
        record(parts, *answered("req_1"), refused("req_2"))
        yield parts


@pytest.fixture(scope="module")
def app(parts):
    return create_app(parts)


@pytest.fixture
def browser(app):
    return Browser(app)


def signed_in(app, parts, role, **options):
    browser = Browser(app, **options)
    assert browser.sign_in(parts.keys[role].key).status == 303
    return browser


def test_every_route_is_among_those_that_are_tried(parts):
    tried = {*PAGES, *FORMS}
    open_to_all = {"/sign-in", "/language", "/static/", "/sign-out", "/{rest"}
    for route in routes(parts, pace=None):
        path = route.path.replace("{index:int}", "0").replace("{request_id}", "req_1")
        path = path.replace("{schedule_id}", "sch_1").replace("{id}", "cred_1")
        if not any(word in path for word in open_to_all) and "{report_id}" not in path:
            assert path in tried


@pytest.mark.parametrize("path", PAGES)
def test_page_is_for_its_roles_alone(app, parts, path):
    for role in (OFFICER, AUDITOR, SECURITY):
        answer = signed_in(app, parts, role).get(path)
        assert answer.status == (200 if role in PAGES[path] else 403), role
        if role not in PAGES[path]:
            assert "Not for your role" in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_form_is_for_its_roles_alone(app, parts, path):
    for role in {OFFICER, AUDITOR, SECURITY} - FORMS[path]:
        browser = signed_in(app, parts, role)
        answer = browser.post(path, {"framework": "hipaa"})
        assert (answer.status, "Not for your role" in answer.text) == (403, True)
    assert parts.reports.shelf.newest() == []


def test_refusal_for_a_role_is_an_entry_with_the_name(app, parts):
    signed_in(app, parts, SECURITY).get("/console/events")
    last = entries(parts, "audit.search")[-1]
    assert last["sealgate"] == {"phase": "denied", "reason": "insufficient_role"}
    assert last["actor"]["user"]["name"] == "Ann security"


def test_application_is_turned_away_with_a_page_that_says_why(app, parts):
    browser = Browser(app)
    answer = browser.sign_in(parts.keys["client"].key)
    assert answer.status == 403
    assert "Applications use the API" in answer.text
    assert "sealgate_session" not in browser.cookies
    last = entries(parts, "console.sign_in")[-1]
    assert last["sealgate"]["reason"] == "insufficient_role"


@pytest.mark.parametrize("path", PAGES)
def test_page_without_a_session_leads_to_the_sign_in(browser, path):
    answer = browser.get(f"{path}?x=1")
    assert answer.status == 303
    assert answer.headers["location"].startswith("/console/sign-in?next=%2Fconsole")


@pytest.mark.parametrize("path", FORMS)
def test_form_without_a_session_does_nothing(browser, path):
    browser.get("/console/sign-in")
    answer = browser.post(path, {"name": "watermark"})
    assert answer.status == 401
    assert "You are signed out" in answer.text
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/console/sign-in", "/console", "/console/nowhere", "/console/keys"]
)
def test_every_page_forbids_what_it_does_not_need(app, parts, path):
    headers = signed_in(app, parts, OFFICER).get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-request-id"].startswith("req_")


def test_policy_allows_nothing_inline_and_nobody_else():
    assert POLICY.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in POLICY
    assert not re.search(r"unsafe|nonce|data:|https?:|\*", POLICY)


@pytest.mark.parametrize("role", [OFFICER, SECURITY])
def test_no_page_has_inline_script_or_style(app, parts, role):
    browser = signed_in(app, parts, role)
    for path in (p for p, roles in PAGES.items() if role in roles and "receipt" not in p):
        text = browser.get(path).text
        assert not re.search(
            r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text
        )


def test_static_files_are_kept_only_by_the_address_that_names_their_content(browser):
    page = browser.get("/console/sign-in").text
    address = re.search(r'href="(/console/static/console\.css\?v=[0-9a-f]{16})"', page)[1]
    assert browser.get(address).headers["cache-control"] == "public, max-age=31536000, immutable"
    assert browser.get("/console/static/console.css").headers["cache-control"] == "no-store"
    assert "set-cookie" not in browser.get(address).headers
    for name in ("../gate.py", "..%2fgate.py", "nothing.css", "__init__.py"):
        assert browser.get(f"/console/static/{name}").status == 404


def test_cookies_are_for_this_site_and_no_script(app, parts):
    browser = Browser(app)
    browser.get("/console/sign-in")
    answer = browser.post("/console/sign-in", {"key": parts.keys[OFFICER].key})
    (line,) = (c for c in answer.all("set-cookie") if c.startswith("sealgate_session="))
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in line.split(";")}
    assert "Secure" not in line
    assert "Domain" not in line
    assert "Max-Age" not in line


def test_cookies_under_tls_are_of_this_very_host(app, parts):
    browser = Browser(app, client="10.0.0.7", scheme="https")
    browser.get("/console/sign-in")
    answer = browser.post("/console/sign-in", {"key": parts.keys[OFFICER].key})
    lines = answer.all("set-cookie")
    assert all(line.startswith("__Host-sealgate_") and "Secure" in line for line in lines)
    assert answer.headers["strict-transport-security"] == "max-age=63072000"


def test_cookie_without_the_hosts_prefix_opens_nothing_under_tls(app, parts):
    plain = signed_in(app, parts, OFFICER)
    secure = Browser(app, scheme="https")
    secure.cookies = {"sealgate_session": plain.cookies["sealgate_session"]}
    assert secure.get("/console").status == 303


def test_plain_http_from_elsewhere_is_refused(app, parts):
    browser = Browser(app, client="10.0.0.7")
    for path in ("/console/sign-in", "/console", "/console/events"):
        answer = browser.get(path)
        assert answer.status == 403
        assert "A private connection is needed" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://console.test:8081"},
    ],
    ids=str,
)
def test_form_of_another_site_is_refused_even_with_the_right_token(app, parts, headers):
    browser = signed_in(app, parts, SECURITY)
    browser.get("/console/credentials")
    answer = browser.post("/console/credentials", {"name": "x", "tenant": "t"}, **headers)
    assert (answer.status, "The form was not accepted" in answer.text) == (403, True)


@pytest.mark.parametrize("path", [p for p in FORMS if SECURITY in FORMS[p]])
def test_form_without_its_token_is_refused_and_recorded(app, parts, path):
    browser = signed_in(app, parts, SECURITY)
    other = signed_in(app, parts, SECURITY)
    other.get("/console/credentials")
    before = parts.doorkeeper.credentials.list()
    for token in (False, "x", other.token):
        answer = browser.post(path, {"name": "watermark", "tenant": "t"}, token=token)
        assert (answer.status, "The form was not accepted" in answer.text) == (403, True)
    assert parts.doorkeeper.credentials.list() == before
    operation = {"/console/credentials": "credentials.add"}.get(path)
    if operation:
        last = entries(parts, operation)[-1]
        assert last["sealgate"]["reason"] == "form_refused"
        assert last["actor"]["user"]["name"] == "Ann security"


def test_sign_in_of_another_site_signs_nobody_in(app, parts):
    victim, attacker = Browser(app), Browser(app)
    victim.get("/console/sign-in")
    attacker.get("/console/sign-in")
    fields = {"key": parts.keys[OFFICER].key}
    assert victim.post("/console/sign-in", fields, token=attacker.token).status == 403
    bare = Browser(app)
    assert bare.post("/console/sign-in", fields, token=attacker.token).status == 403
    assert "sealgate_session" not in bare.cookies


def test_form_of_the_page_from_before_sign_in_is_no_use_after(app, parts):
    browser = Browser(app)
    browser.get("/console/sign-in")
    before = browser.token
    browser.sign_in(parts.keys[SECURITY].key)
    assert browser.post("/console/keys/rotate", {"name": "report"}, token=before).status == 403


def test_wrong_key_is_told_plainly_and_recorded(app, parts):
    browser = Browser(app)
    for wrong in ("", "sg-", "sg-" + "x" * 43, "a.b.c", "Bearer x", "x" * 5000):
        answer = browser.sign_in(wrong)
        assert answer.status == 401
        assert "This key does not work here" in answer.text
        assert "www-authenticate" not in answer.headers
    last = entries(parts, "console.sign_in")[-1]
    assert last["sealgate"]["reason"] == "invalid_api_key"
    assert last["actor"]["user"]["type"] == "anonymous"


def test_page_never_repeats_a_key(app, parts):
    browser = Browser(app)
    wrong = "sg-" + "Q" * 43
    assert "QQQQ" not in browser.sign_in(wrong).text


def test_guessing_is_throttled_and_the_right_key_waits_too(tmp_path):
    with gateway(tmp_path / "home", throttle=3) as parts:
        browser = Browser(create_app(parts))
        for _ in range(3):
            assert browser.sign_in("sg-" + "x" * 43).status == 401
        answer = browser.sign_in(parts.keys[OFFICER].key)
        assert answer.status == 429
        assert "Too many attempts" in answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert entries(parts, "console.sign_in")[-1]["sealgate"]["reason"] == "too_many_attempts"


def test_sign_in_and_out_are_entries_and_the_session_is_gone(app, parts):
    browser = signed_in(app, parts, AUDITOR)
    kept = dict(browser.cookies)
    assert browser.get("/console/policy").status == 200
    answer = browser.post("/console/sign-out")
    assert (answer.status, answer.headers["location"]) == (303, "/console/sign-in")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "sealgate_session" not in browser.cookies
    browser.cookies = kept
    assert browser.get("/console/policy").status == 303
    for operation in ("console.sign_in", "console.sign_out"):
        last = entries(parts, operation)[-1]
        assert last["actor"]["user"]["name"] == "Ann auditor"
        assert last["sealgate"]["phase"] == "access"


def test_sign_in_gives_a_fresh_session_and_ends_one_that_was_planted(app, parts):
    browser = signed_in(app, parts, AUDITOR)
    planted = browser.cookies["sealgate_session"]
    browser.get("/console/policy")
    answer = browser.post("/console/sign-in", {"key": parts.keys[OFFICER].key})
    assert answer.status == 303
    assert browser.cookies["sealgate_session"] != planted
    browser.cookies["sealgate_session"] = planted
    assert browser.get("/console").status == 303


def test_revoked_credential_signs_its_sessions_out(app, parts):
    credentials = parts.doorkeeper.credentials
    made, key = issue(credentials, name="Temp", role=Role.AUDITOR, now=datetime.now(UTC))
    browser = Browser(app)
    assert browser.sign_in(key).status == 303
    security = signed_in(app, parts, SECURITY)
    security.get("/console/credentials")
    security.post(f"/console/credentials/{made.credential_id}/revoke")
    answer = browser.get("/console/policy")
    assert (answer.status, "ended=1" in answer.headers["location"]) == (303, True)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/console/events?tenant=a", "/console/events?tenant=a"),
        ("/console", "/console"),
        ("https://evil.example/console/", "/console"),
        ("//evil.example/console", "/console"),
        ("/\\evil.example", "/console"),
        ("/console\\..\\x", "/console"),
        ("javascript:alert(1)", "/console"),
        ("/v1/models", "/console"),
        ("/consolex", "/console"),
        ("/console/\r\nset-cookie: a=b", "/console"),
        ("", "/console"),
        (None, "/console"),
    ],
)
def test_place_to_go_on_is_in_the_console(given, path):
    assert own_path(given, otherwise="/console") == path


def test_sign_in_leads_where_the_visitor_wanted_to_go(app, parts):
    browser = Browser(app)
    browser.get("/console/sign-in?next=%2Fconsole%2Fevents%3Ftenant%3Da")
    fields = {"key": parts.keys[OFFICER].key, "next": "/console/events?tenant=a"}
    assert (
        browser.post("/console/sign-in", fields).headers["location"] == "/console/events?tenant=a"
    )
    other = Browser(app)
    other.get("/console/sign-in")
    fields["next"] = "https://evil.example/"
    assert other.post("/console/sign-in", fields).headers["location"] == "/console"


def test_part_of_a_page_after_the_session_ended_leads_the_whole_page_away(browser):
    answer = browser.get("/console/events", hx_request="true")
    assert answer.status == 204
    assert answer.headers["hx-redirect"].startswith("/console/sign-in?next=")


_HALF_A_CHARACTER = (
    b'--x\r\ncontent-disposition: form-data; name="form_token"\r\n\r\n+2AA-\r\n--x--\r\n'
)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe=1", "application/x-www-form-urlencoded"),
        (b"a=1&" * 200, "application/x-www-form-urlencoded"),
        (b'{"a": 1}', "application/json"),
        (b"", ""),
        (b"--x\r\nrubbish", "multipart/form-data; boundary=x"),
        (b"rubbish", "multipart/form-data"),
        (_HALF_A_CHARACTER, "multipart/form-data; boundary=x; charset=utf-7"),
        (b"x" * 70_000, "application/x-www-form-urlencoded"),
    ],
    ids=range(8),
)
def test_rubbish_for_a_form_is_refused_with_a_page(app, parts, body, kind):
    browser = signed_in(app, parts, SECURITY)
    answer = browser.ask("POST", "/console/credentials", body, {"content_type": kind})
    assert answer.status in (400, 403, 413)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_log_that_takes_no_entry_shows_no_page(tmp_path):
    with gateway(tmp_path / "home") as parts:
        app = create_app(parts)
        browser = signed_in(app, parts, OFFICER)
        parts.sequencer.close()
        for path in ("/console", "/console/events", "/console/policy"):
            answer = browser.get(path)
            assert (answer.status, "The log cannot be used" in answer.text) == (503, True)


def test_console_that_is_off_has_no_routes(tmp_path):
    with gateway(tmp_path / "home", console=False) as parts:
        answer = Browser(create_app(parts)).get("/console")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


def test_language_is_the_browsers_and_then_the_visitors_choice(app, parts):
    browser = Browser(app, language="fr;q=0.9, zh-CN;q=0.8, en;q=0.7")
    page = browser.get("/console/sign-in").text
    assert '<html lang="zh-Hans">' in page
    answer = browser.post("/console/language", {"language": "en", "back": "/console/sign-in"})
    assert (answer.status, answer.headers["location"]) == (303, "/console/sign-in")
    assert '<html lang="en">' in browser.get("/console/sign-in").text
    browser.get("/console/sign-in")
    assert browser.post("/console/language", {"language": "xx"}).status == 400


def test_every_page_is_in_both_languages(app, parts):
    for role, language in itertools.product((OFFICER, SECURITY), ("en", "zh")):
        browser = signed_in(app, parts, role, language=language)
        for path in (p for p, roles in PAGES.items() if role in roles):
            assert browser.get(path).status == 200
