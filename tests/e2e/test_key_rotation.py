"""Keys rotate under a serving gateway: no request fails, and what is old still verifies."""

import json
import threading
import time
from collections import Counter

import pytest

from tests.e2e.deployment import MODEL, Gateway, sealgate, serve

CLIENTS = 16
TEXT_TOKENS = 160
ATTEMPTS = 8


class Load:
    """Clients that ask one question after the other until they are stopped."""

    def __init__(self, gateway, clients):
        self.outcomes, self._stop = Counter(), threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(gateway.client(),)) for _ in range(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client):
        with client:
            while not self._stop.is_set():
                try:
                    client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=4
                    )
                    self.outcomes["answered"] += 1
                except Exception as error:  # noqa: BLE001 - Every failure counts, whatever it is.
                    self.outcomes[f"{type(error).__name__}: {error}"] += 1


def say(gateway, tokens=TEXT_TOKENS):
    with gateway.client() as client:
        return client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell a long story about a lighthouse."}],
            max_tokens=tokens,
            temperature=1.0,
        )


def say_traceably(gateway):
    """Ask until an answer is long and free enough that its own mark says it can be traced."""
    for _ in range(ATTEMPTS):
        answer = say(gateway)
        [choice] = entry(gateway, answer, "outcome")["choices"]
        if choice["mark"] == "traceable":
            return answer
    pytest.fail("No answer could be traced.")


def entry(gateway, answer, phase):
    [found] = [
        event["sealgate"]
        for event in gateway.events(answer._request_id)
        if event["sealgate"]["phase"] == phase
    ]
    return found


def epoch_of(gateway, answer):
    return entry(gateway, answer, "intent")["watermark"]["epoch"]


def run(gateway, *arguments):
    done = sealgate(*arguments, home=gateway.home, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_rotates_under_load_without_a_failed_request(idle_home, tmp_path):
    home, keys = idle_home
    with serve(home, workers=2, concurrency=4, queue_s=90, deadline_s=120) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        first = say_traceably(gateway)
        epoch = epoch_of(gateway, first)
        proof = tmp_path / "old.proof"
        run(gateway, "audit", "prove", first._request_id, "--out", str(proof))
        with Load(gateway, CLIENTS) as load:
            run(gateway, "keys", "rotate", "--all")
            at_rotation = load.outcomes["answered"]
            # The next answer that begins is of the new epoch.
            assert epoch_of(gateway, say(gateway, tokens=4)) == epoch + 1
            run(gateway, "keys", "reencrypt", MODEL)
            run(gateway, "keys", "rotate", "kek", "checkpoint", "watermark")
            deadline = time.monotonic() + 60
            while load.outcomes["answered"] < at_rotation + CLIENTS:
                assert time.monotonic() < deadline, load.outcomes
                time.sleep(0.1)
        assert set(load.outcomes) == {"answered"}, load.outcomes
        # A credential that is made under the new pepper works at once, the old one still.
        made = run(
            gateway, "clients", "add", "--name", "new", "--tenant", "clinic", "--role", "client",
            "--json",
        )  # fmt: skip
        newer = Gateway(home, url, process.pid, {**keys, "client": json.loads(made.stdout)["key"]})
        assert say(newer, tokens=4).choices
        second = say_traceably(gateway)
        assert epoch_of(gateway, second) == epoch + 2
        # Old and new marks lead to their requests, old proofs, checkpoints and seals verify.
        for answer in (first, second):
            text = answer.choices[0].message.content
            arguments = ("watermark", "verify", "-", "--json")
            told = json.loads(sealgate(*arguments, home=home, text=text, check=False).stdout)
            assert told["verdict"] == "traced", told
            assert told["request_id"] == answer._request_id
        run(gateway, "audit", "verify-proof", str(proof))
        run(gateway, "audit", "verify")
        run(gateway, "models", "verify", MODEL)
    # The next start finds everything under the new keys.
    with serve(home, workers=1, concurrency=1) as (process, url):
        assert say(Gateway(home, url, process.pid, keys), tokens=4).choices
