"""A receipt from the answer itself, from the route and from the command line, checked offline."""

import hashlib
import json
import subprocess
import sys

import openai
import pytest

from tests.e2e.deployment import MODEL, sealgate

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Name three fruits."}]}


@pytest.fixture(scope="module")
def key(gateway, tmp_path_factory):
    path = tmp_path_factory.mktemp("stranger") / "key.json"
    path.write_text(sealgate("receipt", "key", home=gateway.home).stdout)
    return path


@pytest.fixture
def check(key, tmp_path):
    """Verify as a stranger: with the public key, and a home that does not exist."""

    def run(receipt, text):
        (tmp_path / "receipt").write_text(receipt)
        (tmp_path / "text").write_bytes(text.encode())
        command = ["receipt", "verify", str(tmp_path / "receipt"), "--key", str(key), "--json"]
        command += ["--text", str(tmp_path / "text")]
        return _offline(*command, cwd=tmp_path)

    return run


def _offline(*command, cwd):
    return subprocess.run(
        [sys.executable, "-m", "gateway", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"HOME": str(cwd), "PATH": ""},
        cwd=cwd,
    )


def test_answer_brings_its_receipt_on_request(gateway, check):
    with gateway.client() as client:
        made = client.chat.completions.create(
            **ASK, n=2, max_tokens=24, extra_body={"receipt": True}
        )
    for index, choice in enumerate(made.choices):
        done = check(made.receipt, choice.message.content)
        shown = json.loads(done.stdout)
        assert (shown["valid"], shown["choice"]) == (True, index)
        assert shown["request_id"] == made._request_id
    changed = check(made.receipt, made.choices[0].message.content + ".")
    assert changed.returncode == 1
    assert len(changed.stderr.splitlines()) == 1


def test_stream_ends_with_its_receipt_on_request(gateway, check):
    with gateway.client() as client:
        stream = client.chat.completions.create(
            **ASK, max_tokens=24, stream=True, extra_body={"receipt": True}
        )
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert json.loads(check(chunks[-1].receipt, text).stdout)["valid"] is True
    assert not any(hasattr(chunk, "receipt") for chunk in chunks[:-1])


def test_officer_fetches_a_receipt_later_and_that_is_an_entry(gateway, check):
    with gateway.client() as client:
        made = client.chat.completions.create(**ASK, max_tokens=24)
    with gateway.client("officer") as officer:
        got = officer.get(f"/receipts/{made._request_id}", cast_to=dict)
    assert json.loads(check(got["receipt"], made.choices[0].message.content).stdout)["valid"]
    entry = gateway.events()[-1]
    assert entry["api"]["operation"] == "receipts.get"
    assert entry["sealgate"]["detail"] == {"request": made._request_id}
    offline = sealgate("receipt", "issue", made._request_id, home=gateway.home).stdout
    assert json.loads(check(offline, made.choices[0].message.content).stdout)["valid"]


def test_client_and_unknown_requests_get_none(gateway):
    with gateway.client() as client, pytest.raises(openai.PermissionDeniedError):
        client.get("/receipts/req_1", cast_to=dict)
    with gateway.client("officer") as officer, pytest.raises(openai.NotFoundError) as refused:
        officer.get("/receipts/req_0", cast_to=dict)
    assert refused.value.code == "request_not_found"


def test_log_tells_nothing_of_the_text_that_could_be_guessed(gateway):
    """The commitment is under a salt that the log does not hold."""
    with gateway.client() as client:
        made = client.chat.completions.create(**ASK, max_tokens=1)
    (outcome,) = [
        e for e in gateway.events(made._request_id) if e["sealgate"]["phase"] == "outcome"
    ]
    told = outcome["sealgate"]["choices"][0]["output_commitment"]
    text = made.choices[0].message.content.encode()
    assert told != hashlib.sha256(text).hexdigest()
