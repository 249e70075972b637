"""What the console's pages do over ASGI: search, proofs, tracing, keys, credentials, policy."""

import asyncio
import html
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from audit.errors import LogUnavailable
from audit.proof import verify_proof
from gateway.api.asgi import ADMISSION, REQUEST_ID, RULING
from gateway.app import create_app
from gateway.doorkeeper import Admission
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from tests.unit.gateway.console_parts import (
    HOSTILE,
    MARKED,
    ORIGIN,
    Browser,
    answered,
    entries,
    gateway,
    record,
    refused,
)

POLICY = b"""version = 1

[[rule]]
name = "no-research"
classes = ["phi"]
purposes = ["research"]
allow = false

[[rule]]
name = "clinic"
tenants = ["clinic"]
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pages")
    (directory / "policy.toml").write_bytes(POLICY)
    with gateway(directory / "home", policy_file=directory / "policy.toml") as parts:
        record(parts, *answered("req_1", name=HOSTILE), refused("req_2"))
        record(parts, *(e for n in range(60) for e in answered(f"req_many{n}", name="Bulk")))
        record(parts, *answered("req_old", now=datetime(2026, 1, 31, 23, 59, tzinfo=UTC)))
        yield parts


@pytest.fixture(scope="module")
def app(parts):
    return create_app(parts)


@pytest.fixture
def sign_in(app, parts):
    def sign_in(role, **options):
        browser = Browser(app, **options)
        assert browser.sign_in(parts.keys[role].key).status == 303
        return browser

    return sign_in


def found(page):
    """Return the indices of the entries that a page lists."""
    return [int(n) for n in re.findall(r'href="/console/events/(\d+)"', page.text)]


def test_search_finds_the_newest_first_a_page_at_a_time(sign_in):
    browser = sign_in("auditor")
    first = browser.get("/console/events?actor=Bulk")
    assert len(found(first)) == 50
    assert found(first) == sorted(found(first), reverse=True)
    older = html.unescape(re.search(r'href="(/console/events\?[^"]*before=\d+)"', first.text)[1])
    assert "actor=Bulk" in older
    second = browser.get(older)
    assert not set(found(first)) & set(found(second))
    assert len(found(second)) == 50


@pytest.mark.parametrize(
    ("query", "indices"),
    [
        ("request=req_1", [1, 0]),
        ("decision=denied&request=req_2", [2]),
        ("from=2026-01-31&to=2026-01-31", [124, 123]),
        ("to=2026-01-30", []),
        ("from=2999-01-01", []),
        ("tenant=nobody", []),
        ("tenant=%20clinic%20&request=req_1", [1, 0]),
    ],
)
def test_search_finds_what_the_form_asks_for(sign_in, query, indices):
    assert found(sign_in("officer").get(f"/console/events?{query}")) == indices


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("from=yesterday", "A day cannot be read"),
        ("to=9999-12-31", "A day cannot be read"),
        ("from=2026-02-01&to=2026-01-01", "lies before the first"),
        ("actor=%00", "A filter is too long"),
        ("tenant=" + "x" * 300, "A filter is too long"),
        ("before=-1", "A filter is too long"),
        ("before=" + "9" * 40, "A filter is too long"),
    ],
)
def test_search_that_is_unclear_says_what_to_mend(sign_in, query, told):
    answer = sign_in("officer").get(f"/console/events?{query}")
    assert answer.status == 400
    assert told in answer.text


def test_search_is_an_entry_with_what_was_asked(sign_in, parts):
    sign_in("auditor").get("/console/events?tenant=clinic&decision=denied&colour=red")
    last = entries(parts, "audit.search")[-1]
    assert last["sealgate"]["detail"]["query"] == {"tenant": "clinic", "decision": "denied"}
    assert last["actor"]["user"]["name"] == "Ann auditor"


def test_open_page_gets_the_part_that_it_asked_for(sign_in):
    browser = sign_in("auditor")
    browser.get("/console/text")
    answer = browser.post("/console/text", {"text": MARKED}, hx_request="true")
    assert "<html" not in answer.text
    assert "<mark>" in answer.text
    refused = browser.post("/console/text", {"text": MARKED}, token="x", hx_request="true")
    assert (refused.status, refused.headers["hx-retarget"]) == (403, "body")
    assert "<html" in refused.text


def test_names_in_entries_are_text(sign_in):
    browser = sign_in("officer")
    paths = ("events?request=req_1", "events/0", "proof/req_1", "policy?request=req_1")
    for path in paths:
        page = browser.get(f"/console/{path}").text
        assert "&lt;script&gt;document.title" in page
        assert HOSTILE not in page


def test_what_is_asked_comes_back_as_text(sign_in):
    browser = sign_in("officer")
    hostile = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
    for path in (
        f"events?actor={hostile}",
        f"policy?request={hostile}",
        f"{hostile}",
        f"proof/{hostile}",
        f"reports/{hostile}",
    ):
        assert "<script>alert" not in browser.get(f"/console/{path}").text


def test_entry_is_shown_whole_with_its_fellows(sign_in):
    page = sign_in("auditor").get("/console/events/1").text
    assert "Entry 1" in page
    assert "health data (PHI)" not in page
    assert "&#34;output_hmac&#34;" in page
    assert 'href="/console/events/0"' in page
    assert 'href="/console/receipt/req_1"' in page
    assert (
        'href="/console/policy?request=req_2"' in sign_in("auditor").get("/console/events/2").text
    )


def test_entry_that_is_not_there_is_not_found(sign_in):
    assert sign_in("auditor").get(f"/console/events/{2**70}").status == 404
    answer = sign_in("auditor").get("/console/events/999999999")
    assert (answer.status, "No such entry" in answer.text) == (404, True)
    assert sign_in("auditor").get("/console/events/x").status == 404


def test_proof_is_shown_and_downloads_as_one_that_verifies(sign_in, parts):
    browser = sign_in("auditor")
    page = browser.get("/console/proof/req_1")
    assert "The proof holds: 2 of " in page.text
    answer = browser.get("/console/proof/req_1/document")
    assert answer.headers["content-disposition"] == 'attachment; filename="req_1.proof.json"'
    public = parts.broker.public_key("checkpoint")
    proved = verify_proof(answer.body, origin=ORIGIN, public_key=public)
    assert [entry.index for entry in proved.entries] == [0, 1]
    assert browser.get("/console/proof/req_none").status == 404
    assert entries(parts, "audit.prove")[-1]["sealgate"]["phase"] in ("access", "denied")


def test_receipt_downloads_and_is_an_entry(sign_in, parts):
    answer = sign_in("officer").get("/console/receipt/req_1")
    assert answer.body == b"receipt.of.req_1"
    assert "attachment" in answer.headers["content-disposition"]
    assert entries(parts, "receipts.get")[-1]["sealgate"]["detail"] == {"request": "req_1"}


def test_text_is_traced_with_its_mark_shown_and_its_reader_recorded(sign_in, parts):
    browser = sign_in("officer")
    browser.get("/console/text")
    answer = browser.post("/console/text", {"text": f"Before {HOSTILE} {MARKED} after"})
    assert answer.status == 200
    assert "This text comes from here." in answer.text
    assert "at most one in 10 billion (10¹⁰)" in answer.text
    marked = re.search(r"<mark>(.*?)</mark>", answer.text, re.DOTALL)[1]
    assert MARKED in html.unescape(marked)
    assert HOSTILE not in answer.text
    last = entries(parts, "provenance.verify")[-1]
    assert last["sealgate"]["detail"] == {
        "verdict": "traced",
        "traced_request": "req_1",
        "p_value": "3.2e-11",
    }
    assert MARKED not in json.dumps(last)


def test_text_comes_as_a_file_too(sign_in):
    browser = sign_in("auditor")
    browser.get("/console/text")
    head = f'--b\r\ncontent-disposition: form-data; name="form_token"\r\n\r\n{browser.token}\r\n'
    part = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    for content, status, told in (
        (f"\ufeff{MARKED}".encode(), 200, "This text comes from here."),
        (b"Some other text.", 200, "No mark was found."),
        (b"\xff\xfe\x00rubbish", 400, "Not plain text"),
    ):
        body = head.encode() + part.encode() + content + b"\r\n--b--\r\n"
        kind = {"content_type": "multipart/form-data; boundary=b"}
        answer = browser.ask("POST", "/console/text", body, kind)
        assert (answer.status, told in answer.text) == (status, True)


def test_no_text_says_what_to_do(sign_in):
    browser = sign_in("auditor")
    browser.get("/console/text")
    answer = browser.post("/console/text", {"text": "  \n"})
    assert (answer.status, "Paste a text or choose a file" in answer.text) == (400, True)


def test_tracing_is_paced_together_with_the_api(tmp_path):
    with gateway(tmp_path / "home", verifications_per_minute=2) as parts:
        browser = Browser(create_app(parts))
        browser.sign_in(parts.keys["officer"].key)
        browser.get("/console/text")
        statuses = [browser.post("/console/text", {"text": "a b c"}).status for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_overview_counts_what_the_log_holds_and_then_what_is_new(sign_in, parts):
    browser = sign_in("officer")
    before = browser.get("/console").text
    requests = int(re.search(r"<dt>Requests</dt><dd>(\d+)", before)[1])
    record(parts, *answered(f"req_new{datetime.now(UTC).timestamp()}", mark="weak"))
    after = browser.get("/console").text
    assert int(re.search(r"<dt>Requests</dt><dd>(\d+)", after)[1]) == requests + 1
    assert "not anchored" in after
    assert "watermark@1" in after


def test_policy_says_why_a_request_was_refused(sign_in):
    browser = sign_in("security")
    page = browser.get("/console/policy?request=req_2").text
    assert "key not valid" in page
    assert "mistyped, expired or revoked" in page
    assert "was not refused" in browser.get("/console/policy?request=req_1").text
    assert "holds no request of that id" in browser.get("/console/policy?request=nothing").text


def test_policy_says_which_rule_refused_a_request(sign_in, parts):
    caller = Principal("cred_app", "clinic", "Ward app", Role.CLIENT)
    policy = parts.policy.current

    def ruled(purpose):
        return policy.rule(caller, declared="phi", purpose=purpose, identifying=lambda: False)

    def refuse(request_id, refused, **scope):
        scope |= {REQUEST_ID: request_id, ADMISSION: Admission(caller, "chat"), "headers": []}
        asyncio.run(parts.doorkeeper.refused(scope, refused))
        return sign_in("security").get(f"/console/policy?request={request_id}").text

    with pytest.raises(RequestRefused) as refused:
        ruled("research")
    page = refuse("req_ruled", refused.value)
    for told in ("policy forbids it", "<code>no-research</code>", "research", policy.digest):
        assert told in page
    # Refused later, by a tier that the rule does not name: the ruling is at hand.
    late = RequestRefused("No tier.", status=403, code="policy_denied")
    page = refuse("req_late", late, **{RULING: ruled("treatment")})
    assert "<code>clinic</code>" in page
    told = entries(parts, "chat")[-1]["sealgate"]["policy"]
    assert told == {
        "digest": policy.digest,
        "data_class": "phi",
        "purpose": "treatment",
        "rule": "clinic",
    }


def test_policy_explains_a_request_that_might_come(sign_in):
    browser = sign_in("security")
    ask = "/console/policy?data_class={}&purpose={}&role=client&tenant={}"
    page = browser.get(ask.format("phi", "research", "clinic")).text
    assert "Refused by the rule no-research." in page
    page = browser.get(ask.format("phi", "treatment", "clinic")).text
    assert "Allowed by the rule clinic." in page
    assert "passed over; it is for the purpose" in page
    page = browser.get(ask.format("public", "treatment", "elsewhere")).text
    assert "Refused: no rule allows it." in page
    for wrong in (("secret", "research", "x"), ("phi", "fun", "x"), ("phi", "research", "../x")):
        assert browser.get(ask.format(*wrong)).status == 400


def test_key_is_rotated_with_name_and_reason_in_the_log(sign_in, parts):
    browser = sign_in("security")
    browser.get("/console/keys")
    answer = browser.post("/console/keys/rotate", {"name": "cache-salt", "reason": "yearly"})
    assert answer.headers["location"] == "/console/keys?done=rotated"
    page = browser.get("/console/keys?done=rotated").text
    assert "The key was rotated." in page
    assert "cache-salt@2" in page
    last = entries(parts, "key.rotated")[-1]
    assert last["sealgate"]["detail"]["reason"] == "yearly"
    assert last["actor"]["user"]["name"] == "Ann security"


@pytest.mark.parametrize("name", ["kek", "model:small", "cache-salt@1", "nothing", ""])
def test_what_does_not_rotate_here_is_refused(sign_in, name):
    browser = sign_in("security")
    browser.get("/console/keys")
    assert browser.post("/console/keys/rotate", {"name": name}).status == 400


def test_key_is_destroyed_by_two_who_each_show_their_key(sign_in, parts):
    ann, bo = sign_in("security"), sign_in("second")
    for browser in (ann, bo):
        browser.get("/console/keys")
    ann.post("/console/keys/rotate", {"name": "report", "reason": "x"})
    form = {"key": "report@1", "typed": "report@1", "reason": "leaked"}
    mine, theirs = (parts.keys[role].key for role in ("security", "second"))

    def destroy(browser, **changes):
        return browser.post("/console/keys/destroy", form | changes)

    for changes, told in (
        ({"credential": mine, "typed": "report@2"}, "name that you typed is not"),
        ({"credential": mine, "reason": ""}, "Give a reason"),
        ({"credential": "sg-" + "x" * 43}, "no API key of role security"),
        ({"credential": parts.keys["officer"].key}, "no API key of role security"),
        ({"credential": ""}, "no API key of role security"),
        ({"credential": mine, "key": "report@2", "typed": "report@2"}, "is in use"),
    ):
        answer = destroy(ann, **changes)
        assert answer.status >= 400
        assert told in html.unescape(answer.text)
    assert destroy(ann, credential=mine).headers["location"].endswith("destruction-requested")
    assert "Waiting for a second person" in bo.get("/console/keys").text
    again = destroy(ann, credential=mine)
    assert (again.status, "another security principal" in again.text) == (409, True)
    # It is the key that is shown that counts, not who is signed in.
    assert destroy(ann, credential=theirs).headers["location"].endswith("=destroyed")
    states = {each["name"]: each["state"] for each in parts.broker.list_keys()}
    assert states["report@1"] == "destroyed"
    last = entries(parts, "key.destroyed")[-1]["sealgate"]["detail"]
    assert last["confirmed_by"]["name"] == "Bo Second"


def test_one_person_with_a_credential_that_they_issued_is_not_two(sign_in, parts):
    ann = sign_in("security")
    ann.get("/console/keys")
    ann.post("/console/keys/rotate", {"name": "receipt", "reason": "x"})
    form = {"key": "receipt@1", "typed": "receipt@1", "reason": "mine alone"}
    second = parts.keys["second"]

    def issued(path, **fields):
        answer = ann.post(path, {"name": "Somebody Else", "tenant": "clinic"} | fields)
        return re.search(r"sg-[\w-]{40,}", answer.text)[0]

    def destroy(key):
        return ann.post("/console/keys/destroy", form | {"credential": key})

    mine = [
        issued("/console/credentials", role="security"),
        issued(f"/console/credentials/{second.id}/rotate", hours="24"),
    ]
    assert destroy(mine[0]).status == 303
    for key in (mine[1], parts.keys["security"].key):
        answer = destroy(key)
        assert (answer.status, "One person issued both" in answer.text) == (409, True)
    assert destroy(second.key).headers["location"].endswith("=destroyed")


def test_console_that_may_not_change_keys_says_where_to(tmp_path):
    with gateway(tmp_path / "home", console_key_changes=False) as parts:
        browser = Browser(create_app(parts))
        browser.sign_in(parts.keys["security"].key)
        page = browser.get("/console/keys").text
        assert "console_key_changes is off" in page
        assert "/console/keys/rotate" not in page
        browser.get("/console/credentials")
        answer = browser.post("/console/keys/rotate", {"name": "watermark"})
        assert (answer.status, "may not change keys" in answer.text) == (409, True)


def test_credential_is_made_shown_once_and_works(sign_in, parts):
    browser = sign_in("security")
    browser.get("/console/credentials")
    form = {"name": HOSTILE, "tenant": "ward-9", "role": "client", "days": "30", "scopes": "chat"}
    answer = browser.post("/console/credentials", form)
    assert answer.status == 201
    key = re.search(r'id="secret">(sg-[A-Za-z0-9_-]{43})<', answer.text)[1]
    assert HOSTILE not in answer.text
    principal = parts.doorkeeper.credentials.principal(key, now=datetime.now(UTC))
    assert (principal.tenant, principal.name, principal.scopes) == ("ward-9", HOSTILE, {"chat"})
    assert key not in browser.get("/console/credentials").text
    last = entries(parts, "credential.added")[-1]
    assert last["sealgate"]["detail"]["name"] == HOSTILE
    assert last["actor"]["user"]["name"] == "Ann security"
    assert key not in json.dumps(entries(parts, "credential.added"))


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "a b"},
        {"tenant": ""},
        {"name": ""},
        {"role": "emperor"},
        {"days": "0"},
        {"days": "-1"},
        {"days": "x"},
        {"scopes": "everything"},
    ],
    ids=str,
)
def test_credential_that_cannot_be_is_not_made(sign_in, parts, changes):
    browser = sign_in("security")
    browser.get("/console/credentials")
    before = parts.doorkeeper.credentials.list()
    form = {"name": "a", "tenant": "t", "role": "client", "days": "", "scopes": ""} | changes
    assert browser.post("/console/credentials", form).status == 400
    assert parts.doorkeeper.credentials.list() == before


def test_credential_is_rotated_with_overlap_and_revoked(sign_in, parts):
    browser = sign_in("security")
    browser.get("/console/credentials")
    form = {"name": "Pharmacy", "tenant": "clinic", "role": "client"}
    browser.post("/console/credentials", form)
    old = next(c for c in parts.doorkeeper.credentials.list() if c.name == "Pharmacy")
    path = f"/console/credentials/{old.credential_id}"
    assert browser.post(f"{path}/rotate", {"hours": "9999"}).status == 400
    answer = browser.post(f"{path}/rotate", {"hours": "2"})
    assert answer.status == 201
    detail = entries(parts, "credential.added")[-1]["sealgate"]["detail"]
    assert detail["succeeds"] == old.credential_id
    known = {c.credential_id: c for c in parts.doorkeeper.credentials.list()}
    left_ms = known[old.credential_id].expires_ms - datetime.now(UTC).timestamp() * 1000
    assert left_ms <= timedelta(hours=2).total_seconds() * 1000
    assert browser.post(f"{path}/revoke").headers["location"] == "/console/credentials?done=revoked"
    assert browser.post(f"{path}/revoke").status == 404
    assert browser.post("/console/credentials/cred_none/rotate", {"hours": "1"}).status == 404


@pytest.mark.parametrize("change", ["", "/rotate", "/revoke"])
def test_credentials_stay_as_they_were_where_no_entry_can_be_written(
    sign_in, parts, monkeypatch, change
):
    browser = sign_in("security")
    browser.get("/console/credentials")
    browser.post("/console/credentials", {"name": "App", "tenant": "clinic", "role": "client"})
    before = parts.doorkeeper.credentials.list()
    path = "/console/credentials"
    if change:
        path += f"/{before[-1].credential_id}{change}"
    form = {"name": "Other", "tenant": "clinic", "role": "client", "hours": "0"}

    async def refuse(*_, **__):
        raise LogUnavailable("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(type(parts.recorder), "record", refuse)
        assert browser.post(path, form).status == 503
    assert parts.doorkeeper.credentials.list() == before
    assert browser.post(path, form).status in (201, 303)
    assert parts.doorkeeper.credentials.list() != before
