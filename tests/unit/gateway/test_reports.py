"""Reports asked for over HTTP: real credentials' roles, log, keyring, key broker and process."""

import asyncio
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from audit import evidence
from audit.report.signature import verify_signature
from audit.sequencer import Sequencer
from audit.store import open_log
from gateway import logbook
from gateway.app import create_app
from gateway.catalogue import Catalogue
from gateway.doorkeeper import Doorkeeper
from gateway.home import create
from gateway.identity import Principal, Role
from gateway.recorder import Recorder
from gateway.report_calendar import Cadence
from gateway.reports import QUEUE_LIMIT, Reports, Workshop, kept
from gateway.settings import Settings
from gateway.throttle import Throttle
from privacy.broker import BrokerClient, serve
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring

NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y-%m-%d}"


class Credentials:
    """Knows a key for each role."""

    quick = True

    def principal(self, key, *, now):  # noqa: ARG002 - As the real one is called.
        if key not in set(Role):
            return None
        return Principal(f"cred_{key}", "clinic", key, Role(key))


class Parts(SimpleNamespace):
    """A gateway of these parts alone; what other routes need, nobody has."""

    def __getattr__(self, name):
        return None


@pytest.fixture
def shop(tmp_path):
    """A home with a log of some entries, and its keyring behind a broker in a thread."""
    home = create(tmp_path / "home")
    keyring = Keyring.create(home.keyring, KeyFile.create(tmp_path / "key"))
    ours, theirs = socket.socketpair()
    thread = threading.Thread(
        target=serve, args=(theirs,), kwargs={"keyring": keyring, "models": home.models}
    )
    thread.start()
    keys = BrokerClient(ours)
    settings = Settings(home=home.path, origin="sealgate.test/log")
    engine = open_log(home.database)
    sequencer = Sequencer(
        engine,
        origin=settings.origin,
        public_key=keys.public_key("checkpoint"),
        sign=lambda message: keys.sign("checkpoint", message),
    )
    sequencer.start()
    for number in range(3):
        event = logbook.system("gateway.start", uid=f"sys_{number}", now=NOW, detail={"tls": True})
        sequencer.submit(event).result(60)
    recorder = Recorder(sequencer, acknowledgement_s=60)
    yield Workshop(settings, home, engine, keys, Catalogue({}), recorder)
    sequencer.close()
    engine.dispose()
    ours.close()
    thread.join()
    theirs.close()


def asking(shop, reports):
    """Return what sends a request to an application over these reports."""
    door = Doorkeeper(
        Credentials(), shop.recorder, Throttle(most=100, window_s=60, clock=time.monotonic)
    )
    app = create_app(
        Parts(settings=shop.settings, doorkeeper=door, recorder=shop.recorder, reports=reports)
    )

    async def ask(method, path, body=None, role="officer"):
        status, headers, content = await _ask(app, method, path, body, role)
        shown = headers.get("content-type", "").startswith("application/json")
        return status, json.loads(content) if shown and content else content

    return ask


async def _ask(app, method, path, body, role):
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {role}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }
    sent = []
    content = b"" if body is None else json.dumps(body).encode()

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


async def made(ask, report_id, *, limit_s=150):
    """Wait until a report is ready or failed."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        _, shown = await ask("GET", f"/reports/{report_id}")
        if shown["status"] in ("ready", "failed"):
            return shown
        await asyncio.sleep(0.1)
    pytest.fail("The report was not made in time.")


def operations(shop):
    return [event["api"]["operation"] for _, event in evidence.events(shop.engine)]


def test_report_is_made_signed_recorded_and_fetched_in_every_form(shop):
    async def scenario():
        async with kept(shop) as reports:
            ask = asking(shop, reports)
            status, asked = await ask(
                "POST", "/reports", {"framework": "hipaa", "from": TODAY, "to": TODAY}
            )
            assert (status, asked["status"], asked["from"]) == (202, "queued", TODAY)
            shown = await made(ask, asked["id"])
            assert shown["status"] == "ready", shown
            forms = {}
            for form in ("pdf", "p7s", "json", "summary.json"):
                path = f"/reports/{asked['id']}.{form}"
                status, forms[form] = await ask("GET", path, role="auditor")
                assert status == 200
            status, listed = await ask("GET", "/reports", role="auditor")
            return shown, forms, listed

    shown, forms, listed = asyncio.run(scenario())
    signed = verify_signature(forms["pdf"], public_keys=[shop.keys.document_key().public])
    assert json.loads(signed.attachments["oscal.json"]) == forms["json"]
    assert json.loads(signed.attachments["summary.json"]) == forms["summary.json"]
    assert forms["summary.json"]["figures"]["system_facts"]["data"]["tls"] is True
    assert forms["p7s"].hex().upper().encode() in forms["pdf"]
    assert [each["id"] for each in listed["data"]] == [shown["id"]]
    (recorded,) = [
        event["sealgate"]["detail"]
        for _, event in evidence.events(shop.engine)
        if event["api"]["operation"] == "report.generated"
    ]
    assert recorded["sha256"] == shown["sha256"]
    assert recorded["requested_by"] == "cred_officer"
    told = operations(shop)
    assert told.count("reports.download") == 4
    assert {"reports.create", "reports.get", "reports.list"} <= set(told)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"framework": "sox"}, "unknown_framework"),
        ({"from": "2999-01-01"}, "invalid_period"),
        ({"from": TODAY, "to": "2020-01-01"}, "invalid_period"),
        ({"from": "31.1.2026"}, "invalid_period"),
        ({"from": 5}, None),
        ({"frm": TODAY}, None),
        ([], None),
    ],
)
def test_what_cannot_be_reported_is_refused_and_not_queued(shop, body, code):
    reports = Reports(shop)
    status, told = asyncio.run(asking(shop, reports)("POST", "/reports", body))
    assert (status, told["error"]["code"]) == (400, code)
    assert reports.shelf.newest() == []


@pytest.mark.parametrize("role", ["client", "security", "auditor"])
def test_officers_alone_ask_and_schedule(shop, role):
    ask = asking(shop, Reports(shop))
    for method, path in (
        ("POST", "/reports"),
        ("POST", "/reports/schedules"),
        ("DELETE", "/reports/schedules/sch_1"),
    ):
        assert asyncio.run(ask(method, path, {}, role))[0] == 403


@pytest.mark.parametrize("role", ["client", "security"])
def test_others_read_no_report(shop, role):
    ask = asking(shop, Reports(shop))
    for path in ("", "/rep_1", "/rep_1.pdf", "/rep_1.json", "/rep_1.p7s", "/schedules"):
        assert asyncio.run(ask("GET", f"/reports{path}", role=role))[0] == 403


def test_report_that_is_not_there_or_not_ready_is_said_to_be_so(shop):
    reports = Reports(shop)
    ask = asking(shop, reports)
    assert asyncio.run(ask("GET", "/reports/rep_1.pdf"))[1]["error"]["code"] == "report_not_found"
    assert asyncio.run(ask("GET", "/reports/rep_1"))[1]["error"]["code"] == "report_not_found"
    _, asked = asyncio.run(ask("POST", "/reports", {}))
    status, told = asyncio.run(ask("GET", f"/reports/{asked['id']}.pdf"))
    assert (status, told["error"]["code"]) == (409, "report_not_ready")
    reports.shelf.finish(asked["id"], file="gone.pdf", sha256="", told={}, now=NOW)
    status, told = asyncio.run(ask("GET", f"/reports/{asked['id']}.pdf"))
    assert (status, told["error"]["code"]) == (404, "report_file_missing")


def test_queue_is_bounded(shop):
    async def crowd():
        reports = Reports(shop)
        ask = asking(shop, reports)
        told = await asyncio.gather(*(ask("POST", "/reports", {}) for _ in range(50)))
        return told, len(reports.shelf.newest())

    told, queued = asyncio.run(crowd())
    assert queued == QUEUE_LIMIT
    refused = [answer for status, answer in told if status != 202]
    assert len(refused) == 50 - QUEUE_LIMIT
    assert {each["error"]["code"] for each in refused} == {"too_many_reports"}


def test_report_whose_gateway_stopped_is_made_by_the_next_and_not_for_ever(shop):
    reports = Reports(shop)
    shelf, maker = reports.shelf, shop.maker
    _, asked = asyncio.run(asking(shop, reports)("POST", "/reports", {}))
    for _ in range(3):
        assert shelf.take(maker).id == asked["id"]
        assert shelf.take(maker) is None
        assert shelf.take("another") is None
        shelf.resume("another", now=NOW)
        assert shelf.find(asked["id"]).status == "running"
        shelf.resume(maker, now=NOW)
    assert shelf.find(asked["id"]).status == "failed"


def test_whatever_a_report_dies_of_is_told_and_the_next_is_made(shop, monkeypatch):
    async def refused(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    def broken(*_):
        raise KeyError("nobody thought of this")

    async def scenario():
        async with kept(shop) as reports:
            ask = asking(shop, reports)
            with monkeypatch.context() as patch:
                patch.setattr(asyncio, "create_subprocess_exec", refused)
                _, asked = await ask("POST", "/reports", {})
                failed = await made(ask, asked["id"])
            with monkeypatch.context() as patch:
                patch.setattr(reports, "_order", broken)
                _, asked = await ask("POST", "/reports", {})
                while reports.shelf.find(asked["id"]).status != "running":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.2)
            await ask("POST", "/reports", {})
            return failed, await made(ask, asked["id"])

    failed, ready = asyncio.run(scenario())
    assert failed["status"] == "failed"
    assert "did not start" in failed["problem"]
    assert ready["status"] == "ready"


def test_report_that_was_changed_on_disk_is_not_given_out(shop):
    async def scenario():
        async with kept(shop) as reports:
            ask = asking(shop, reports)
            _, asked = await ask("POST", "/reports", {})
            await made(ask, asked["id"])
            filed = reports.shelf.find(asked["id"])
            with (shop.home.reports / filed.file).open("ab") as file:
                file.write(b" ")
            path = f"/reports/{asked['id']}"
            return [await ask("GET", f"{path}.{form}") for form in ("pdf", "p7s")]

    told = asyncio.run(scenario())
    assert [status for status, _ in told] == [404, 404]
    assert {answer["error"]["code"] for _, answer in told} == {"report_file_missing"}


def test_schedule_is_made_listed_and_ended(shop):
    ask = asking(shop, Reports(shop))
    body = {"framework": "gdpr", "every": "quarterly"}
    status, made = asyncio.run(ask("POST", "/reports/schedules", body))
    assert (status, made["every"]) == (201, "quarterly")
    assert asyncio.run(ask("POST", "/reports/schedules", body))[0] == 409
    assert asyncio.run(ask("POST", "/reports/schedules", body | {"every": "daily"}))[0] == 400
    assert asyncio.run(ask("POST", "/reports/schedules", body | {"framework": "x"}))[0] == 400
    _, listed = asyncio.run(ask("GET", "/reports/schedules", role="auditor"))
    assert listed["data"] == [made]
    path = f"/reports/schedules/{made['id']}"
    assert asyncio.run(ask("DELETE", path))[0] == 204
    assert asyncio.run(ask("DELETE", path))[0] == 404
    told = operations(shop)
    assert {"reports.schedules.create", "reports.schedules.delete"} <= set(told)


def test_scheduled_report_of_an_ended_month_is_made_by_itself(shop):
    reports, now = Reports(shop), datetime.now(UTC)
    month_ago = now.replace(day=1) - timedelta(days=1)
    schedule = reports.schedules.draw("hipaa", Cadence.MONTHLY, now=month_ago)
    reports.schedules.add(schedule)

    async def scenario():
        async with kept(shop) as serving:
            serving.schedules.plan(shop.maker, now=now)
            (filed,) = serving.shelf.newest()
            return await made(asking(shop, serving), filed.id)

    shown = asyncio.run(scenario())
    assert shown["status"] == "ready"
    assert shown["schedule"] == schedule.id
    assert shown["from"] == f"{month_ago:%Y-%m}-01"
    assert shown["to"] == f"{month_ago:%Y-%m-%d}"


def test_report_that_cannot_be_written_fails_and_the_next_is_made(shop):
    # Something stands where the file is to go.
    async def scenario():
        async with kept(shop) as reports:
            ask = asking(shop, reports)
            shop.home.reports.rmdir()
            shop.home.reports.write_text("in the way")
            _, asked = await ask("POST", "/reports", {})
            failed = await made(ask, asked["id"])
            shop.home.reports.unlink()
            shop.home.reports.mkdir()
            _, asked = await ask("POST", "/reports", {})
            return failed, await made(ask, asked["id"])

    failed, ready = asyncio.run(scenario())
    assert failed["status"] == "failed"
    assert "cannot be written" in failed["problem"]
    assert ready["status"] == "ready"
    assert operations(shop).count("report.failed") == 1
