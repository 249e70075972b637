import json
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing

from tests import ports
from tests.e2e.deployment import MODEL, eventually, serve

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
POLICY = """
version = 1

[[rule]]
name = "no-research"
purposes = ["research"]
allow = false

[[rule]]
name = "here"
label = true

[[limit]]
each = "credential"
requests_per_minute = {limit}
"""


def ask(url, key, text="Hello.", **headers):
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 2}
    request = urllib.request.Request(  # noqa: S310 - ours
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}"}
        | {f"x-sealgate-{name}".replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        with OPENER.open(request, timeout=60) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def test_policy_decides_is_written_down_and_reloads(idle_home, tmp_path):
    home, keys = idle_home
    port = ports.unused()
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(limit=100))
    settings = {"policy_file": policy, "acknowledgement_s": 30, "admin_port": port}
    with serve(home, **settings, log_format="json") as (process, url):
        status, headers, _ = ask(url, keys["client"], data_class="internal", purpose="treatment")
        assert (status, headers["x-sealgate-label"]) == (200, "machine-generated")
        assert int(headers["x-ratelimit-remaining-requests"]) < 100
        entry = intent(home, headers["x-request-id"])
        assert (entry["data_class"], entry["purpose"]) == ("internal", "treatment")
        assert entry["policy"]["rule"] == "here"
        assert entry["policy"]["digest"].startswith("sha256:")

        _, headers, _ = ask(url, keys["client"], "I am John Smith.", data_class="public")
        raised = intent(home, headers["x-request-id"])
        assert (raised["data_class"], raised["policy"]["raised"]) == ("phi", True)

        for wrong, code in (
            ({"purpose": "research"}, "policy_denied"),
            ({"data_class": "secret"}, "invalid_declaration"),
        ):
            _, headers, answer = ask(url, keys["client"], **wrong)
            assert answer["error"]["code"] == code
            assert intent(home, headers["x-request-id"])["phase"] == "denied"

        policy.write_text(POLICY.format(limit=1))
        process.send_signal(signal.SIGHUP)
        assert eventually(lambda: ask(url, keys["client"])[0] == 429)
        status, headers, answer = ask(url, keys["client"])
        assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(headers["retry-after-ms"]) > 1000 * (int(headers["retry-after"]) - 1) >= 0

        policy.write_text("broken")
        process.send_signal(signal.SIGHUP)
        assert eventually(lambda: b'reloads_total{result="failed"} 1.0' in metrics(port))
        assert ask(url, keys["client"])[0] == 429
        idle = b'sealgate_requests_running{operation="chat.completions.create"} 0.0'
        assert eventually(lambda: idle in metrics(port))
        told = metrics(port)
        assert b'sealgate_rulings_total{data_class="phi",raised="true"} 1.0' in told
        assert b'code="policy_denied"' in told
        assert b"clinic" not in told
        assert eventually(lambda: b"sealgate_connections 0.0" in metrics(port))
        host, served = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(served)), timeout=60):
            assert eventually(lambda: b"sealgate_connections 1.0" in metrics(port))
        assert b"sealgate_log_failures_total 0.0" in told
        assert b"sealgate_log_acknowledgement_seconds_count 0.0" not in told


def metrics(port):
    with OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return answer.read()


def intent(home, request_id):

    path = f"file:{home / 'sealgate.db'}?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as log:
        query = "SELECT body FROM leaf WHERE request_id = ? ORDER BY idx LIMIT 1"
        (body,) = log.execute(query, (request_id,)).fetchone()
    return json.loads(body)["sealgate"]
