"""`sealgate audit` at a real home, without a model: every command, its exit code, its entry."""

import json
from datetime import UTC, datetime

import pytest

from audit.checkpoint import VerifierKey
from audit.verify import verify_consistency

LAST_MONTH = "2020-01"


def told(sealgate, *words):
    code, out, err = sealgate(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def operations(sealgate):
    return [each["event"]["api"]["operation"] for each in told(sealgate, "audit", "search")["data"]]


def test_unanchored_log_is_told_as_such(sealgate):
    code, out, _ = sealgate("audit", "verify")
    assert code == 0
    assert "unanchored" in out
    assert told(sealgate, "audit", "verify")["anchored"] is False
    code, _, err = sealgate("audit", "anchor")
    assert (code, "unanchored" in err) == (2, True)


def test_anchored_log_names_its_anchor_and_is_held_against_it(sealgate, tmp_path, monkeypatch):
    file = tmp_path / "anchors.jsonl"
    monkeypatch.setenv("SEALGATE_ANCHOR_FILE", str(file))
    assert told(sealgate, "audit", "anchor")["attempts"][0]["problem"] is None
    (anchor,) = told(sealgate, "audit", "verify")["anchors"]
    assert (anchor["kind"], anchor["behind"]) == ("file", 0)
    assert str(file) in sealgate("audit", "verify")[1]
    file.write_text("", "utf-8")
    code, _, err = sealgate("audit", "verify")
    assert (code, "lost it" in err) == (1, True)


def test_anchor_that_cannot_be_reached_is_an_environments_fault(sealgate, tmp_path, monkeypatch):
    monkeypatch.setenv("SEALGATE_ANCHOR_FILE", str(tmp_path / "nowhere" / "file"))
    assert sealgate("audit", "anchor")[0] == 3


@pytest.mark.parametrize(
    ("setting", "value", "missing"),
    [
        ("ANCHOR_TIMESTAMP_URL", "http://127.0.0.1/", "anchor_timestamp_roots"),
        ("ANCHOR_WITNESS_URL", "http://127.0.0.1/", "anchor_witness_key"),
        ("DATABASE_URL", "postgresql://name:secret@host/db", "database_url"),
    ],
)
def test_half_of_a_setting_is_refused_by_name(sealgate, monkeypatch, setting, value, missing):
    monkeypatch.setenv(f"SEALGATE_{setting}", value)
    code, _, err = sealgate("audit", "verify")
    assert (code, missing in err, "secret" in err) == (2, True, False)


def test_database_that_is_gone_is_told_and_not_made_anew(sealgate, home):
    for path in home.glob("sealgate.db*"):
        path.unlink()
    for words in (("audit", "verify"), ("audit", "search"), ("clients", "list")):
        code, _, err = sealgate(*words)
        assert (code, "restore" in err) == (3, True)
    assert list(home.glob("sealgate.db*")) == []


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"no database at all" * 300])
def test_database_that_was_truncated_is_told_and_left(sealgate, home, content):
    for path in home.glob("sealgate.db*"):
        path.unlink()
    (home / "sealgate.db").write_bytes(content)
    assert sealgate("audit", "verify")[0] == 1
    assert sealgate("audit", "search")[0] == 1
    assert (home / "sealgate.db").read_bytes() == content


def test_consistency_is_proved_since_a_checkpoint_that_was_kept(sealgate, tmp_path):
    before = told(sealgate, "audit", "verify")
    kept, out = tmp_path / "kept", tmp_path / "grown.json"
    kept.write_text(before["note"], "utf-8")
    sealgate("audit", "search")
    assert sealgate("audit", "consistency", str(kept), "--out", str(out))[0] == 0
    key = VerifierKey.decode(before["vkey"])
    grown = verify_consistency(out.read_bytes(), origin=key.name, public_key=key.public_key)
    assert grown.new.size == before["size"] + 1
    kept.write_bytes(b"\xff")
    assert sealgate("audit", "consistency", str(kept))[0] == 1
    kept.write_text(before["note"].replace("sealgate.local", "elsewhere.local"), "utf-8")
    assert sealgate("audit", "consistency", str(kept))[0] == 1


def test_every_query_is_an_entry(sealgate, tmp_path):
    told(sealgate, "audit", "search", "--actor", "nobody")
    told(sealgate, "audit", "disclosures", "ps_1")
    assert sealgate("audit", "export", "--format", "csv")[1].startswith("index,time,")
    told(sealgate, "audit", "export", "--tiles", str(tmp_path / "tiles"))
    assert operations(sealgate)[-4:] == [
        "audit.search",
        "audit.disclosures",
        "audit.export",
        "audit.export",
    ]
    assert (tmp_path / "tiles" / "checkpoint").exists()


def test_export_writes_each_form(sealgate, tmp_path):
    for form in ("ocsf", "csv", "fhir"):
        out = tmp_path / form
        assert told(sealgate, "audit", "export", "--format", form, "--out", str(out))
        assert out.stat().st_size > 100
    code, _, _ = sealgate("audit", "export", "--from", "2030-02-01", "--to", "2030-01-01")
    assert code == 2


def test_month_that_is_not_over_or_empty_is_not_sealed(sealgate):
    now = datetime.now(UTC)
    assert sealgate("audit", "seal", f"{now:%Y-%m}")[0] == 2
    assert sealgate("audit", "seal", LAST_MONTH)[0] == 2
    assert sealgate("audit", "prune", LAST_MONTH, "--yes")[0] == 2
    assert told(sealgate, "audit", "verify")["pruned"] == 0


def test_holds_are_placed_listed_and_lifted(sealgate):
    assert sealgate("audit", "hold", "case-1", "--scope", "tenant")[0] == 2
    told(sealgate, "audit", "hold", "case-1", "--scope", "tenant", "--value", "clinic")
    (placed,) = told(sealgate, "audit", "holds")["data"]
    assert (placed["scope"], placed["value"], placed["lifted_ms"]) == ("tenant", "clinic", None)
    told(sealgate, "audit", "lift", "case-1")
    assert sealgate("audit", "lift", "case-1")[0] == 2
    assert "hold.placed" in operations(sealgate)


def test_shredding_of_nobody_is_refused_and_no_entry(sealgate):
    assert sealgate("audit", "shred", "ps_1", "--yes")[0] == 2
    assert "subject.shredded" not in operations(sealgate)


@pytest.mark.parametrize("words", [("audit", "verify"), ("clients", "list"), ("audit", "search")])
def test_log_under_another_name_is_refused_with_what_to_set(sealgate, monkeypatch, words):
    assert sealgate(*words)[0] == 0
    monkeypatch.setenv("SEALGATE_ORIGIN", "renamed.example/log")
    code, _, err = sealgate(*words)
    assert code == 1
    assert "set `origin` to 'sealgate.local/log' again" in err
    monkeypatch.delenv("SEALGATE_ORIGIN")
    assert sealgate(*words)[0] == 0


def test_published_tiles_verify_with_the_home_or_with_the_key_alone(sealgate, tmp_path):
    tiles = str(tmp_path / "tiles")
    vkey = told(sealgate, "audit", "verify")["vkey"]
    sealgate("audit", "export", "--tiles", tiles)
    found = told(sealgate, "audit", "verify", "--tiles", tiles)
    assert found["verified"]
    assert found["size"] == told(sealgate, "audit", "verify")["size"]
    alone = ("--home", str(tmp_path / "nowhere"), "--vkey", vkey)
    assert told(sealgate, "audit", "verify", "--tiles", tiles, *alone) == found
    code, out, _ = sealgate("audit", "verify", "--tiles", tiles)
    assert code == 0
    assert f"of {found['size']} entries: all verify" in out


def test_published_tiles_that_were_changed_are_found(sealgate, tmp_path):
    tiles = tmp_path / "tiles"
    sealgate("audit", "export", "--tiles", str(tiles))
    bundle = next((tiles / "tile" / "entries").rglob("*.p/*"))
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b'"time":1', b'"time":2', 1))
    code, _, err = sealgate("audit", "verify", "--tiles", str(tiles))
    assert (code, "Entry 0" in err) == (1, True)
    bundle.unlink()
    assert sealgate("audit", "verify", "--tiles", str(tiles))[0] == 1
    bundle.write_bytes(whole)
    assert sealgate("audit", "verify", "--tiles", str(tiles))[0] == 0


def test_published_tiles_are_refused_under_another_key_and_absent_ones_told(sealgate, tmp_path):
    other = VerifierKey("sealgate.local/log", bytes(range(32))).encode()
    tiles = str(tmp_path / "tiles")
    code, _, err = sealgate("audit", "verify", "--tiles", tiles)
    assert (code, "checkpoint is missing" in err) == (1, True)
    sealgate("audit", "export", "--tiles", tiles)
    code, _, err = sealgate("audit", "verify", "--tiles", tiles, "--vkey", other)
    assert (code, "No signature is by the key" in err) == (1, True)
    assert sealgate("audit", "verify", "--vkey", other)[0] == 2
    assert sealgate("audit", "verify", "--tiles", tiles, "--vkey", "rubbish")[0] == 2
