"""A deployment to test from outside: its home, its serving process, its keys and its log."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

MODEL = "smollm2-135m"
START_LIMIT_S = 90
# Bars the tokens by which the model ends an answer: it is as long as it may be.
ENDLESS = {"0": -100, "2": -100}


@dataclass(frozen=True)
class Gateway:
    """A serving gateway. keys: API keys of tenant `clinic`, by role."""

    home: Path
    url: str
    pid: int
    keys: dict

    def client(self, role="client", **options):
        """An openai client that never retries and ignores proxies of the environment."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=self.keys[role],
            http_client=openai.DefaultHttpxClient(trust_env=False),
            max_retries=0,
            timeout=120,
            **options,
        )

    def events(self, request_id=None):
        """The log's entries, all or of one request, as an auditor's copy of the file shows them."""
        query = "SELECT body FROM leaf WHERE ?1 IS NULL OR request_id = ?1 ORDER BY idx"
        path = f"file:{self.home / 'sealgate.db'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as log:
            return [json.loads(body) for (body,) in log.execute(query, (request_id,))]

    def workers(self):
        """Process ids of the sandboxes that live now: grandchildren, of the zygote."""
        return {
            worker
            for child in children(self.pid)
            if b"sandbox.zygote" in told(child, "cmdline")
            for zygote in (children(child) if told(child, "comm") == b"bwrap\n" else [child])
            for worker in children(zygote)
        }


def told(pid, name):
    """Return what the kernel tells of a process: nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def children(pid):
    return [int(each) for each in told(pid, f"task/{pid}/children").split()]


def sealgate(*arguments, home, check=True, text=None, limit_s=120, **options):
    """Run one command to its end."""
    command = [sys.executable, "-m", "gateway", *arguments, "--home", str(home)]
    return subprocess.run(
        command, capture_output=True, input=text, text=True, check=check, timeout=limit_s, **options
    )


def eventually(condition, *, limit_s=90.0):
    """Wait until a condition holds, and say whether it did."""
    deadline = time.monotonic() + limit_s
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


@contextmanager
def serve(home, *, told=None, **settings):
    """Serve a home in a child process; settings become its `SEALGATE_*`. told: takes its errors."""
    environment = os.environ | {f"SEALGATE_{k.upper()}": str(v) for k, v in settings.items()}
    command = [sys.executable, "-m", "gateway", "serve", "--json", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--home", str(home)], stdout=subprocess.PIPE, stderr=told, env=environment
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            pytest.fail("The gateway did not start; its error stands above.")
        yield process, json.loads(line)["url"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=90)
        process.stdout.close()


def add_keys(home, tenant="clinic"):
    keys = {}
    for role in ("client", "officer"):
        arguments = ["--name", f"e2e {role}", "--tenant", tenant, "--role", role, "--json"]
        made = sealgate("clients", "add", *arguments, home=home)
        keys[role] = json.loads(made.stdout)["key"]
    return keys


def make_home(directory, gguf):
    home = directory / "home"
    sealgate("init", "--key-file", str(directory / "key"), home=home)
    sealgate("models", "import", str(gguf), "--id", MODEL, home=home)
    return home
