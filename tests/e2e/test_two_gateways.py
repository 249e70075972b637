"""Two gateways over one PostgreSQL behind a real load balancer: one leaves, one is killed."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager

import pytest

from audit.store import open_log
from gateway.upkeep import FLUSH_S
from tests.e2e.deployment import MODEL, add_keys, eventually, make_home, sealgate, serve
from tests.ports import unused
from tests.postgres_server import serving

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
pytestmark = [
    pytest.mark.slow,
    # Four starts of a gateway, each of which may take its time on a busy machine.
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.path.exists(HAPROXY), reason="haproxy is not installed"),  # noqa: PTH110
]
CONFIG = """
defaults
    mode http
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    # A server that is gone before it took the request costs the client nothing.
    option redispatch
    retries 3
    retry-on conn-failure empty-response
frontend in
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk GET /readyz
    default-server inter 200ms fall 1 rise 1 check observe layer4 on-error mark-down error-limit 1
{servers}
"""


POLICY = """
version = 1

[[rule]]
name = "here"

[[limit]]
tenant = "lab"
tokens_per_day = 150
"""


@contextmanager
def balanced(directory, ports):
    """Run haproxy before the gateways' ports."""
    port = unused()
    servers = "\n".join(f"    server g{n} 127.0.0.1:{p}" for n, p in enumerate(ports))
    file = directory / "haproxy.cfg"
    file.write_text(CONFIG.format(port=port, servers=servers))
    process = subprocess.Popen([HAPROXY, "-db", "-f", str(file)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def ask(url, key):
    """Ask once, without any retry of the client's, and return the status."""
    body = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=100) as response:  # noqa: S310 - our own
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        error.close()
        return error.code
    except OSError:
        return 0


def ready(url):
    """Return the status of a gateway's own word whether it is to be asked."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as response:  # noqa: S310 - our own
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def stored(database):
    """Return what the database knows of the laboratory's spending."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(database) as connection:
        query = "SELECT coalesce(sum(tokens), 0) FROM spending WHERE subject LIKE '%lab%'"
        return int(connection.execute(query).fetchone()[0])


class Traffic:
    """Clients that ask one question after another until they are told to stop."""

    def __init__(self, url, key, clients=2):
        self.statuses = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, key)) for _ in range(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url, key):
        while not self._stop.is_set():
            self.statuses.append(ask(url, key))
            time.sleep(0.05)

    def more(self, count):
        """Wait for so many further answers."""
        wanted = len(self.statuses) + count
        assert eventually(lambda: len(self.statuses) >= wanted, limit_s=120)


def test_one_leaves_and_one_is_killed_and_the_log_stays_whole(
    reference_gguf, tmp_path, monkeypatch
):
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with serving() as database, ExitStack() as stack:
        made = make_home(tmp_path, reference_gguf)
        homes = [tmp_path / "first", tmp_path / "second"]
        for each in homes:
            # The two share keys and models, and no file.
            shutil.copytree(made, each, ignore=shutil.ignore_patterns("sealgate.db*"))
        open_log(database).dispose()
        monkeypatch.setenv("SEALGATE_DATABASE_URL", database)
        key = add_keys(homes[0])["client"]
        lab = add_keys(homes[0], tenant="lab")["client"]
        policy = tmp_path / "policy.toml"
        policy.write_text(POLICY)
        settings = {"acknowledgement_s": 10, "workers": 1, "concurrency": 2, "policy_file": policy}
        gateways = [serve(each, **settings) for each in homes]
        running = [stack.enter_context(gateway) for gateway in gateways]
        ports = [int(url.rpartition(":")[2]) for _, url in running]
        url = stack.enter_context(balanced(tmp_path, ports))
        assert eventually(lambda: ask(url, key) == 200, limit_s=90)

        # What a tenant may spend in a day it has spent at both, whichever it asked.
        spent = [ask(running[0][1], lab) for _ in range(10)]
        assert (spent[0], spent[-1]) == (200, 429)
        assert eventually(lambda: stored(database) >= 100)
        time.sleep(2 * FLUSH_S)
        assert ask(running[1][1], lab) == 429

        # A rolling restart: one is drained, leaves in order, and no request fails.
        with Traffic(url, key) as traffic:
            traffic.more(6)
            assert ready(running[1][1]) == 200
            sealgate("route", "drain", "--replica", home=homes[1])
            assert ready(running[1][1]) == 503
            traffic.more(6)
            running[1][0].send_signal(signal.SIGTERM)
            assert running[1][0].wait(timeout=60) == 0
            traffic.more(6)
        assert set(traffic.statuses) == {200}
        sealgate("route", "resume", "--replica", home=homes[1])

        # One comes back and the other is killed: at most what it was answering is lost.
        again = stack.enter_context(serve(homes[1], **settings))
        ports = [ports[0], int(again[1].rpartition(":")[2])]
        url = stack.enter_context(balanced(tmp_path, ports))
        assert eventually(lambda: ask(url, key) == 200, limit_s=90)
        with Traffic(url, key) as traffic:
            traffic.more(6)
            running[0][0].kill()
            running[0][0].wait(timeout=30)
            traffic.more(6)
        lost = [status for status in traffic.statuses if status != 200]
        assert len(lost) <= 2
        assert traffic.statuses[-1] == 200

        checked = sealgate("audit", "verify", "--json", home=homes[0], check=False)
        assert checked.returncode == 0, checked.stderr
        told = json.loads(checked.stdout)
        assert told["size"] > 2 * len(traffic.statuses)
