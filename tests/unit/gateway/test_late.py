"""What is loaded late: once, beside other requests, and never for those that need none of it."""

import asyncio
import json
import subprocess
import sys
import threading

import pytest

from gateway.api.asgi import REQUEST_ID, Direct, Late, RequestIds, reply

# An application over no parts, asked for what a prober asks, and then for a route of the office.
PROBED = """
import asyncio, sys
from types import SimpleNamespace
from gateway.app import create_app
from gateway.settings import Settings
names = "catalogue doorkeeper answers limits policy metrics receipt recorder routes spans".split()
parts = SimpleNamespace(
    settings=Settings(console=False), checks=lambda: {"log": True}, **dict.fromkeys(names)
)
app = create_app(parts)
async def ask(method, path):
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(),
             "query_string": b"", "headers": [], "root_path": "", "http_version": "1.1",
             "scheme": "http", "server": ("gateway", 80), "client": ("127.0.0.1", 1)}
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app(scope, receive, send)
    return sent[0]["status"]
def loaded():
    return [name for name in ("fastapi", "starlette", "gateway.office") if name in sys.modules]
print([asyncio.run(ask("GET", path)) for path in ("/healthz", "/readyz")], loaded())
found = [("GET", "/openapi.json"), ("POST", "/healthz"), ("GET", "/nowhere"), ("GET", "/healthz")]
print([asyncio.run(ask(*each)) for each in found], loaded())
"""


class Sent(list):
    async def __call__(self, message):
        self.append(message)


def scope(path="/late"):
    return {"type": "http", "method": "GET", "path": path, "headers": []}


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def told(_scope, _receive, send):
    await reply(send, b"{}")


def test_a_prober_never_loads_the_framework_and_an_officer_does():
    done = subprocess.run(
        [sys.executable, "-c", PROBED], capture_output=True, text=True, timeout=120, check=False
    )
    first, second = done.stdout.splitlines() or [done.stderr, ""]
    assert first == "[200, 200] []"
    assert second == "[200, 405, 404, 200] ['fastapi', 'starlette', 'gateway.office']"


async def test_requests_that_come_together_make_it_once_while_others_are_served():
    made, release = [], threading.Event()
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def make():
        made.append(threading.current_thread())
        loop.call_soon_threadsafe(begun.set)
        assert release.wait(60)
        return told

    app = Direct({("GET", "/quick"): told}, Late(make))
    waiting = [asyncio.create_task(app(scope(), receive, Sent())) for _ in range(50)]
    await asyncio.wait_for(begun.wait(), 60)
    quick = Sent()
    await app(scope("/quick"), receive, quick)
    assert quick[0]["status"] == 200
    # However many wait, the threads that answers need are free.
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 60) == "free"
    assert not any(task.done() for task in waiting)
    release.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 60)
    assert len(made) == 1
    assert made[0] is not threading.main_thread()


async def test_what_cannot_be_made_is_an_error_in_the_envelope_and_tried_again(caplog):
    failures = [ImportError("/a/path/of/ours"), None]

    def make():
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        return told

    app = RequestIds(Late(make))
    failed, served = Sent(), Sent()
    await app(scope(), receive, failed)
    assert failed[0]["status"] == 500
    assert json.loads(failed[1]["body"])["error"]["code"] == "internal_error"
    assert b"/a/path" not in failed[1]["body"]
    assert b"x-request-id" in dict(failed[0]["headers"])
    assert "failed" in caplog.text
    await app(scope(), receive, served)
    assert served[0]["status"] == 200


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_handed_on(kind):
    seen = []

    async def app(given, _receive, _send):
        seen.append(given["type"])

    await Late(lambda: app)({"type": kind, REQUEST_ID: ""}, receive, Sent())
    assert seen == [kind]
