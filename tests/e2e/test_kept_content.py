"""A real request's text: kept under its person's key where the policy says so, and forgotten."""

import json
import sqlite3
from contextlib import closing

from tests.e2e.deployment import eventually, sealgate, serve
from tests.e2e.test_policy_in_force import ask

POLICY = """
version = 1

[[rule]]
name = "patients"
classes = ["phi"]
retention_days = 30

[[rule]]
name = "the-rest"
"""


def entries(home, request_id):
    with closing(sqlite3.connect(f"file:{home / 'sealgate.db'}?mode=ro", uri=True)) as log:
        query = "SELECT body FROM leaf WHERE request_id = ? ORDER BY idx"
        return [json.loads(body)["sealgate"] for (body,) in log.execute(query, (request_id,))]


def test_text_is_kept_read_and_shredded(idle_home, tmp_path):
    home, keys = idle_home
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    settings = {"policy_file": policy, "keep_content": "true", "acknowledgement_s": 30}
    with serve(home, **settings, workers=1) as (_, url):
        _, headers, answer = ask(
            url, keys["client"], "My words.", data_class="phi", pseudonym="ps_kept"
        )
        kept = headers["x-request-id"]
        _, headers, _ = ask(url, keys["client"], "Public words.", data_class="public")
        assert all("content" not in each for each in entries(home, headers["x-request-id"]))
        assert eventually(lambda: len(entries(home, kept)) == 2)
        assert all(each["content"]["until_ms"] > 0 for each in entries(home, kept))
        read = json.loads(sealgate("audit", "content", kept, "--json", home=home).stdout)["data"]
        assert "My words." in read[0]["text"]
        texts = json.loads(read[1]["text"])
        assert texts == [choice["message"]["content"] for choice in answer["choices"]]
        assert b"My words." not in (home / "sealgate.db").read_bytes()
        sealgate("audit", "shred", "ps_kept", "--yes", home=home)
        assert sealgate("audit", "content", kept, home=home, check=False).returncode == 2
    assert sealgate("audit", "verify", home=home).returncode == 0
