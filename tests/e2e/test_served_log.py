"""A serving gateway's log as others see it: routes, anchors, tiles; and one log of two gateways."""

import json
import shutil
import urllib.request
from pathlib import Path

import openai
import pytest

from audit.checkpoint import VerifierKey, verify
from audit.publication import verify_tiles
from audit.verify import verify_proof
from tests.e2e.deployment import MODEL, add_keys, eventually, sealgate, serve
from tests.postgres_server import serving


def get(url, path, key):
    request = urllib.request.Request(  # noqa: S310 - Our own gateway.
        f"{url}{path}", headers={"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - As above.
        return response.read().decode()


def ask(url, key, **headers):
    """Ask for a short answer and return its request id."""
    with openai.OpenAI(
        base_url=f"{url}/v1",
        api_key=key,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        max_retries=0,
        timeout=120,
    ) as client:
        answer = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Name a colour."}],
            max_tokens=4,
            extra_headers=headers,
        )
    return answer.headers["x-request-id"]


def verifier_key(home):
    return VerifierKey.decode(
        json.loads(sealgate("keys", "list", "--json", home=home).stdout)["vkey"]
    )


def test_served_log_is_anchored_published_and_open_to_officers(idle_home, tmp_path):
    home, keys = idle_home
    file, tiles = tmp_path / "anchors.jsonl", tmp_path / "tiles"
    settings = {"anchor_file": file, "anchor_every_s": 1, "tiles_directory": tiles}
    key = verifier_key(home)
    trust = {"origin": key.name, "public_key": key.public_key}
    with serve(home, acknowledgement_s=30, workers=1, **settings) as (_, url):
        request_id = ask(url, keys["client"], **{"x-sealgate-pseudonym": "ps_7"})
        officer = keys["officer"]
        head = verify(get(url, "/audit/checkpoint", officer), **trust)
        proved = verify_proof(get(url, f"/audit/proof/{request_id}", officer), **trust)
        assert proved.checkpoint.size >= head.size
        (told,) = json.loads(get(url, "/audit/disclosures/ps_7", officer))["data"]
        assert told["request_id"] == request_id
        found = json.loads(get(url, "/audit/events?pseudonym=ps_7", officer))["data"]
        assert [each["event"]["sealgate"]["phase"] for each in found] == ["intent", "outcome"]
        assert eventually(lambda: file.exists() and (tiles / "checkpoint").exists())
    # It anchors and publishes its last entry too.
    last = json.loads(file.read_text("utf-8").splitlines()[-1])["checkpoint"]
    size = verify(last, **trust).size
    assert verify_tiles(tiles, **trust).checkpoint.size == size
    told = sealgate("audit", "verify", "--json", home=home)
    assert json.loads(told.stdout)["size"] == size
    assert json.loads(told.stdout)["anchors"][0]["size"] == size


def test_gateway_does_not_start_on_a_log_that_its_anchor_contradicts(idle_home, tmp_path):
    home, _ = idle_home
    file = tmp_path / "anchors.jsonl"
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    settings = {"SEALGATE_ANCHOR_FILE": str(file)}
    sealgate("audit", "search", home=home)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        sealgate("audit", "anchor", home=home)
        refused = sealgate("serve", "--port", "0", home=copy, check=False)
    assert refused.returncode == 1
    assert "does not extend" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_gateways_share_one_database(idle_home, tmp_path):
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    home, _ = idle_home
    twin = tmp_path / "twin"
    with serving() as database, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALGATE_DATABASE_URL", database)
        # The first to come makes the log; the homes share keys and models, and no file.
        shared = tmp_path / "shared"
        shutil.copytree(home, shared, ignore=shutil.ignore_patterns("sealgate.db*", "serving.lock"))
        shutil.copytree(shared, twin)
        from audit.store import open_log  # noqa: PLC0415 - Only where PostgreSQL is.

        open_log(database).dispose()
        keys = add_keys(shared)
        options = {"acknowledgement_s": 10, "workers": 1}
        with serve(shared, **options) as (_, one), serve(twin, **options) as (_, two):
            requests = [ask(url, keys["client"]) for url in (one, two, one, two)]
            proof = get(two, f"/audit/proof/{requests[0]}", keys["officer"])
        key = verifier_key(shared)
        verify_proof(proof, origin=key.name, public_key=key.public_key)
        told = json.loads(sealgate("audit", "verify", "--json", home=twin).stdout)
        assert told["dangling"] == []
        assert told["phases"]["outcome"] == len(requests)
        assert not list(Path(shared).glob("sealgate.db*"))
