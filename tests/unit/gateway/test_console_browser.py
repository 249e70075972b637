"""The console in a real Chromium: keyboard, forms, downloads, attacks, accessibility.

axe-core looks at every page in both themes and both languages. Skipped where there is no Chromium.
"""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from audit.report.signature import verify_signature
from tests.loopback import Answering, serving
from tests.unit.gateway.console_parts import (
    HOSTILE,
    MARKED,
    answered,
    entries,
    gateway,
    record,
    refused,
    served,
)
from tests.unit.gateway.test_console_issuer import issuing

CHROMIUM = shutil.which("chromium")
# Of one step on a page: the machine may be busy.
LIMIT_MS = 60_000
expect.set_options(timeout=LIMIT_MS)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGES = {
    "officer": [
        "/console",
        "/console/events",
        "/console/events?from=2999-01-01",
        "/console/events?from=never",
        "/console/events/1",
        "/console/proof/req_1",
        "/console/text",
        "/console/reports",
        "/console/policy?request=req_2",
        "/console/policy?data_class=phi&purpose=research&role=client&tenant=clinic",
        "/console/nowhere",
    ],
    "security": ["/console/keys", "/console/credentials", "/console/events"],
}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            downloads_path=tmp_path_factory.mktemp("downloads"),
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("browser") / "home") as parts:
        record(parts, *answered("req_1", name=HOSTILE), refused("req_2", HOSTILE))
        record(parts, *(e for n in range(55) for e in answered(f"req_many{n}")))
        yield parts


@pytest.fixture(scope="module")
def url(parts):
    with served(parts) as url:
        yield url


@contextmanager
def opened(chromium, **options):
    """Yield a page of a fresh profile; fail on what a page says is wrong with it."""
    context = chromium.new_context(**{"locale": "en-GB", "accept_downloads": True} | options)
    page, problems = context.new_page(), []
    page.set_default_timeout(LIMIT_MS)
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
    try:
        yield page
        # Chromium reports a page's own status as an error too.
        told = [p for p in problems if "the server responded with a status of" not in p]
        assert told == []
    finally:
        context.close()


def sign_in(page, url, key):
    page.goto(f"{url}/console/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/console")


@pytest.fixture
def officer(chromium, parts, url):
    with opened(chromium) as page:
        sign_in(page, url, parts.keys["officer"].key)
        yield page


def test_sign_in_and_out_by_keyboard_alone(chromium, parts, url):
    with opened(chromium) as page:
        page.goto(f"{url}/console/events")
        expect(page).to_have_title("Sign in · Sealgate")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type("sg-" + "x" * 43)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("This key does not work here")
        page.get_by_label("API key").focus()
        page.keyboard.type(parts.keys["officer"].key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Events")
        page.get_by_role("button", name="Sign out").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/console/sign-in")
        page.go_back()
        expect(page).to_have_title("Sign in · Sealgate")


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_search_finds_and_shows_an_entry_and_its_proof(chromium, parts, url, scripts):
    with opened(chromium, java_script_enabled=scripts) as page:
        sign_in(page, url, parts.keys["officer"].key)
        page.get_by_role("link", name="Events").click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_label("Request").fill("req_1")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tbody tr")).to_have_count(2)
        assert "request=req_1" in page.url
        page.get_by_role("link", name="1", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Entry 1")
        page.get_by_role("link", name="Show the proof").click()
        expect(page.get_by_role("status")).to_contain_text("The proof holds")
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download the proof").click()
        assert waiting.value.suggested_filename == "req_1.proof.json"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_text_is_traced_and_its_mark_shown(chromium, parts, url, scripts):
    with opened(chromium, java_script_enabled=scripts) as page:
        sign_in(page, url, parts.keys["officer"].key)
        page.get_by_role("link", name="Whose text is this?").click()
        page.get_by_label("Text", exact=True).fill(f"{HOSTILE} Before. {MARKED} After.")
        page.get_by_role("button", name="Trace it").click()
        expect(page.locator("mark")).to_contain_text(MARKED)
        expect(page.get_by_role("heading", level=2)).to_have_text("This text comes from here.")
        assert page.title() != "owned"
        page.get_by_role("link", name="Show the proof").click()
        expect(page.get_by_role("status")).to_contain_text("The proof holds")


def test_text_is_traced_from_a_file(officer, url, tmp_path):
    file = tmp_path / "letter.txt"
    file.write_text("Nothing of ours.", encoding="utf-8")
    officer.goto(f"{url}/console/text")
    officer.get_by_label("or a text file").set_input_files(file)
    officer.get_by_role("button", name="Trace it").click()
    expect(officer.get_by_role("heading", level=2)).to_have_text("No mark was found.")


def test_report_is_made_downloaded_and_checked(officer, parts, url, tmp_path):
    officer.goto(f"{url}/console/reports")
    officer.get_by_role("button", name="Make it").click()
    for _ in range(500):
        if "ready" in officer.locator("h2").first.inner_text():
            break
        officer.wait_for_timeout(200)
        officer.get_by_role("link", name="Look again").click()
    with officer.expect_download() as waiting:
        officer.get_by_role("link", name="Download the PDF").click()
    pdf = tmp_path / "report.pdf"
    waiting.value.save_as(pdf)
    content = pdf.read_bytes()
    # Apart from this thread, in which Playwright runs a loop of its own.
    with ThreadPoolExecutor() as beside:
        public = [parts.broker.document_key().public]
        beside.submit(verify_signature, content, public_keys=public).result()
    made = entries(parts, "report.generated")[-1]["sealgate"]["detail"]
    assert made["sha256"] == hashlib.sha256(content).hexdigest()
    for link, ending in (("OSCAL", ".json"), ("Signature (CMS)", ".p7s")):
        with officer.expect_download() as waiting:
            officer.get_by_role("link", name=link).click()
        assert waiting.value.suggested_filename.endswith(ending)
    officer.goto(f"{url}/console/reports")
    officer.get_by_label("PDF").set_input_files(pdf)
    officer.get_by_role("button", name="Check it").click()
    expect(officer.get_by_role("status")).to_contain_text("made here and is unchanged")
    pdf.write_bytes(content[:-40] + b"0" + content[-39:])
    officer.get_by_label("PDF").set_input_files(pdf)
    officer.get_by_role("button", name="Check it").click()
    expect(officer.get_by_role("alert")).to_contain_text("Do not rely on this file")


def test_report_is_scheduled_and_the_schedule_ended(officer, parts, url):
    officer.goto(f"{url}/console/reports")
    officer.get_by_label("How often").select_option("quarterly")
    officer.get_by_role("button", name="Schedule it").click()
    expect(officer.get_by_role("status")).to_have_text("The schedule is set.")
    assert [each.cadence for each in parts.reports.schedules.every()] == ["quarterly"]
    officer.get_by_role("button", name="End").click()
    expect(officer.get_by_role("status")).to_contain_text("has ended")
    assert parts.reports.schedules.every() == []


def test_pages_of_other_roles_are_neither_in_the_menu_nor_open(chromium, parts, url):
    with opened(chromium) as page:
        sign_in(page, url, parts.keys["auditor"].key)
        menu = page.get_by_role("navigation").get_by_role("link")
        assert menu.all_inner_texts() == [
            "Overview",
            "Events",
            "Whose text is this?",
            "Reports",
            "Policy",
        ]
        page.goto(f"{url}/console/reports")
        expect(page.get_by_role("button", name="Make it")).to_have_count(0)
        page.goto(f"{url}/console/keys")
        expect(page.get_by_role("heading", level=1)).to_have_text("Not for your role")
    with opened(chromium) as page:
        page.goto(f"{url}/console/sign-in")
        page.get_by_label("API key").fill(parts.keys["client"].key)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Not for your role")


def test_key_is_rotated_and_destroyed_by_two(chromium, parts, url):
    def destroy(page, credential):
        page.get_by_label("Key", exact=True).select_option("receipt@1")
        page.get_by_label("Type the key").fill("receipt@1")
        form = page.locator("form[action='/console/keys/destroy']")
        form.get_by_label("Reason").fill("leaked")
        page.get_by_label("Your API key of role security").fill(credential)
        page.get_by_role("button", name="Ask or confirm").click()

    with opened(chromium) as ann, opened(chromium) as bo:
        sign_in(ann, url, parts.keys["security"].key)
        ann.goto(f"{url}/console/keys")
        row = ann.locator("tr", has_text="receipt@1")
        row.get_by_text("Rotate").first.click()
        row.get_by_label("Reason").fill("yearly")
        row.get_by_role("button", name="Rotate receipt").click()
        expect(ann.get_by_role("status")).to_have_text("The key was rotated.")
        destroy(ann, parts.keys["security"].key)
        expect(ann.get_by_role("status")).to_contain_text("Another security person has an hour")
        sign_in(bo, url, parts.keys["second"].key)
        bo.goto(f"{url}/console/keys")
        expect(bo.get_by_role("heading", name="Waiting for a second person")).to_be_visible()
        destroy(bo, parts.keys["second"].key)
        expect(bo.get_by_role("status")).to_have_text("The key was destroyed.")
    states = {each["name"]: each["state"] for each in parts.broker.list_keys()}
    assert (states["receipt@1"], states["receipt@2"]) == ("destroyed", "active")


def test_credential_is_made_and_its_key_shown_once(chromium, parts, url):
    with opened(chromium) as page:
        sign_in(page, url, parts.keys["security"].key)
        page.goto(f"{url}/console/credentials")
        page.get_by_label("Name", exact=True).fill(HOSTILE)
        page.get_by_label("Tenant", exact=True).fill("ward-3")
        page.get_by_role("button", name="Add it").click()
        expect(page.locator("#secret")).to_contain_text("sg-")
        key = page.locator("#secret").inner_text()
        page.goto(f"{url}/console/credentials")
        assert key not in page.content()
        row = page.locator("tr", has_text="ward-3").first
        row.get_by_text("Change").first.click()
        row.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("status")).to_have_text("The credential was revoked.")


@contextmanager
def elsewhere(html):
    """Serve a page of another origin, as an attacker would."""

    class Handler(Answering):
        def get(self):
            self.answer(200, html.encode(), "text/html")

    with serving(Handler) as server:
        yield server.server_port


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another site", "same site"])
def test_form_of_another_page_does_nothing_in_a_visitors_name(chromium, parts, url, host):
    attack = f"""<form method=post action="{url}/console/credentials">
      <input name=name value=evil><input name=tenant value=evil><input name=role value=security>
      </form><script>document.forms[0].submit()</script>"""
    before = parts.doorkeeper.credentials.list()
    with opened(chromium) as page, elsewhere(attack) as port:
        sign_in(page, url, parts.keys["security"].key)
        page.goto(f"http://{host}:{port}/")
        page.wait_for_url(f"{url}/console/credentials")
        # Another site's request comes without the session; another origin's with it, and in vain.
        told = "You are signed out" if host == "localhost" else "The form was not accepted"
        expect(page.get_by_role("heading", level=1)).to_have_text(told)
    assert parts.doorkeeper.credentials.list() == before


def test_page_cannot_be_framed(chromium, parts, url):
    frame = f'<iframe id="it" src="{url}/console/sign-in"></iframe>'
    context = chromium.new_context()
    page = context.new_page()
    with elsewhere(frame) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_timeout(500)
        assert "API key" not in page.frames[-1].content()
    context.close()


def test_inline_script_does_not_run_even_if_it_came_to_be_there(chromium, parts, url):
    context = chromium.new_context()
    page = context.new_page()
    sign_in(page, url, parts.keys["officer"].key)
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = "document.title = 'owned'";
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="document.title=1">');
        }"""
    )
    page.wait_for_timeout(300)
    assert page.title() == "Overview · Sealgate"
    context.close()


def test_hostile_names_are_text_on_every_page(officer, url):
    for path in PAGES["officer"]:
        officer.goto(f"{url}{path}")
        assert "owned" not in officer.title()
    officer.goto(f"{url}/console/events?request=req_1&actor=%22%3E{HOSTILE}")
    assert officer.get_by_label("Who (id or name)").input_value() == f'">{HOSTILE}'


def test_session_that_timed_out_asks_again_and_goes_on_where_it_was(chromium, parts, url):
    with opened(chromium) as page:
        sign_in(page, url, parts.keys["auditor"].key)
        page.goto(f"{url}/console/events?request=req_1")
        with parts.log.begin() as connection:
            connection.exec_driver_sql("UPDATE console_session SET seen_ms = seen_ms - 901000")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("status")).to_contain_text("Your session ended")
        page.get_by_label("API key").fill(parts.keys["auditor"].key)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.locator("tbody tr")).to_have_count(2)


def test_session_that_timed_out_under_an_open_page_says_so(chromium, parts, url):
    with opened(chromium) as page:
        sign_in(page, url, parts.keys["auditor"].key)
        page.goto(f"{url}/console/text")
        page.get_by_label("Text", exact=True).fill(MARKED)
        with parts.log.begin() as connection:
            connection.exec_driver_sql("DELETE FROM console_session")
        page.get_by_role("button", name="Trace it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
        page.get_by_role("main").get_by_role("link", name="Sign in").click()
        page.wait_for_url(f"{url}/console/sign-in")


def test_person_signs_in_at_an_issuer_of_another_site(chromium, tmp_path):
    with (
        issuing(tmp_path, host="localhost") as (_, parts),
        served(parts) as url,
        opened(chromium) as page,
    ):
        page.goto(f"{url}/console/policy")
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.wait_for_url(f"{url}/console/policy")
        expect(page.get_by_text("Ann of the issuer")).to_be_visible()


def test_browser_keeps_nothing_of_the_pages(officer, url):
    officer.goto(f"{url}/console/text")
    officer.get_by_label("Text", exact=True).fill(MARKED)
    officer.get_by_role("button", name="Trace it").click()
    expect(officer.locator("mark")).to_have_count(1)
    officer.goto(f"{url}/console/events?pseudonym=ps_17")
    # htmx notes the page that it is on, and it is on one page alone.
    kept = officer.evaluate(
        "() => [...Object.values(localStorage), ...Object.values(sessionStorage)]"
    )
    assert kept == ["/console/text"]
    assert officer.evaluate("() => document.cookie") == ""


@pytest.mark.parametrize(
    ("theme", "language"),
    [
        ("light", "en-GB"),
        ("dark", "zh-CN"),
        pytest.param("light", "zh-CN", marks=pytest.mark.slow),
        pytest.param("dark", "en-GB", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(chromium, parts, url, theme, language):
    found = []
    for role, paths in PAGES.items():
        options = {"color_scheme": theme, "locale": language}
        with opened(chromium, **options) as page:
            page.goto(f"{url}/console/sign-in")
            found += serious(page)
            page.locator("#key").fill(parts.keys[role].key)
            page.locator("button.primary").click()
            page.wait_for_url(f"{url}/console")
            for path in paths:
                page.goto(f"{url}{path}")
                assert page.locator("html").get_attribute("lang")[:2] == language[:2]
                open_all(page)
                found += serious(page)
            if role == "officer":
                page.goto(f"{url}/console/text")
                page.locator("#text").fill(MARKED)
                page.locator("form.card button.primary").click()
                page.locator("mark").wait_for()
                found += serious(page)
    assert found == []


def open_all(page):
    """Open every part that folds, so that it is looked at too."""
    page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")


def serious(page):
    violations = Axe().run(page).response["violations"]
    return [
        (page.url, each["id"], node["html"][:200])
        for each in violations
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("width", [360, 820])
def test_no_page_is_wider_than_the_screen(chromium, parts, url, width):
    for role, paths in PAGES.items():
        with opened(chromium, viewport={"width": width, "height": 800}) as page:
            sign_in(page, url, parts.keys[role].key)
            for path in paths:
                page.goto(f"{url}{path}")
                wide = page.evaluate("() => document.documentElement.scrollWidth")
                assert wide <= width, (path, wide)


def test_static_files_are_the_only_ones_a_page_asks_for(chromium, parts, url):
    with opened(chromium) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        sign_in(page, url, parts.keys["officer"].key)
        page.goto(f"{url}/console/text")
    assert all(each.startswith(url) for each in asked)
    names = {Path(each.split("?")[0]).name for each in asked if "/static/" in each}
    assert names == {"console.css", "htmx-2.0.11.min.js", "seal.svg"}
