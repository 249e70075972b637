"""A home that is lost and restored, through the command line, with its log as the witness."""

import json
import shutil
import sqlite3

import pytest
from typer.testing import CliRunner

from gateway.cli.errors import KNOWN, exit_code
from gateway.cli.main import app
from privacy.genesis import PURPOSES
from privacy.references import SIGNERS


class Home:
    """Runs commands at one home, in this process."""

    def __init__(self, path, key):
        self.path, self.key = path, key

    def __call__(self, *arguments, code=0):
        result = CliRunner().invoke(app, [*map(str, arguments), "--home", str(self.path)])
        if isinstance(result.exception, KNOWN):
            assert exit_code(result.exception) == code, result.exception
            return str(result.exception)
        assert result.exit_code == code, result.output
        return result.stdout

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def events(self, operation):
        with sqlite3.connect(self.path / "sealgate.db") as log:
            query = "SELECT body FROM leaf WHERE operation = ? ORDER BY idx"
            found = [json.loads(body) for (body,) in log.execute(query, (operation,))]
        log.close()
        return found


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home", tmp_path / "key")
    made("init", "--key-file", made.key)
    return made


@pytest.fixture
def principals(tmp_path, home):
    """Files with the API keys of two security principals and a client."""
    files = {}
    for name, role in (("ada", "security"), ("bob", "security"), ("cy", "client")):
        options = ("--name", name, "--tenant", "ops", "--role", role)
        files[name] = tmp_path / name
        files[name].write_text(home.json("clients", "add", *options)["key"])
    return files


@pytest.fixture
def recovery(tmp_path, home):
    public = tmp_path / "recovery.pub"
    made = CliRunner().invoke(app, ["keys", "recovery-key", str(tmp_path / "recovery"), "--json"])
    public.write_text(json.loads(made.stdout)["public"])
    return public, tmp_path / "recovery"


def states(home):
    return {row["key"]: row["state"] for row in home.json("keys", "list")["keys"]}


def destroy(home, principals, key, who=("ada", "bob")):
    for name in who:
        home("keys", "destroy", key, "--reason", "r", "--credential-file", principals[name])


def test_rotations_are_entries_and_old_checkpoints_verify(home):
    before = home.json("keys", "list")
    home("keys", "rotate", "--all", "--reason", "yearly")
    after = home.json("keys", "list")
    assert home.json("audit", "verify")["verified"]
    assert after["vkey"] != before["vkey"]
    assert after["earlier_vkeys"] == [before["vkey"]]
    rotated = [event["sealgate"]["detail"] for event in home.events("key.rotated")]
    names = (*PURPOSES, *SIGNERS, "kek")
    assert {each["key"] for each in rotated} == {f"{name}@2" for name in names}
    assert {each["reason"] for each in rotated} == {"yearly"}
    assert all(e["actor"]["user"]["type"] == "operator" for e in home.events("key.rotated"))


def test_the_log_is_proved_to_have_only_grown_across_rotations(tmp_path, home):
    def note():
        with sqlite3.connect(home.path / "sealgate.db") as log:
            [(newest,)] = log.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        log.close()
        return newest

    old = home.json("keys", "list")["vkey"]
    (tmp_path / "kept").write_text(note())
    home("keys", "rotate", "checkpoint")
    home("keys", "rotate", "checkpoint")
    listed = home.json("keys", "list")
    proof = tmp_path / "grown.json"
    home("audit", "consistency", tmp_path / "kept", "--out", proof)
    assert home.json("audit", "verify-proof", proof)["new"]["size"] > 2
    # A stranger names the keys of both ends; with one of them alone nothing is proved.
    stranger = ("audit", "verify-proof", proof)
    told = home(*stranger, "--vkey", listed["vkey"], "--vkey", old)
    assert "only" in told or "extends" in told
    home(*stranger, "--vkey", listed["vkey"], code=1)
    home(*stranger, "--vkey", old, code=1)
    other = listed["vkey"].replace("sealgate", "another", 1)
    home(*stranger, "--vkey", listed["vkey"], "--vkey", other, code=2)
    document = json.loads(proof.read_text())
    document["hashes"] = document["hashes"][1:]
    proof.write_text(json.dumps(document))
    home(*stranger, "--vkey", listed["vkey"], "--vkey", old, code=1)


def test_a_report_of_before_a_rotation_is_borne_out_after_it(tmp_path, home):
    report = tmp_path / "r.pdf"
    home("report", "generate", "--framework", "hipaa", "--out", report)
    for name in ("checkpoint", "report", "checkpoint"):
        home("keys", "rotate", name)
    assert home.json("report", "verify", report)["recomputed"] is True
    # What a checkpoint key signed while it was good is compared with the log's own roots.
    home("keys", "revoke", "checkpoint@1", "--reason", "r")
    assert home.json("report", "verify", report)["recomputed"] is True
    home("audit", "verify")


def test_the_successor_of_a_checkpoint_key_is_signed_by_its_predecessor(home):
    old = home.json("keys", "list")["vkey"]
    home("keys", "rotate", "checkpoint")
    [created] = [
        event
        for event in home.events("key.created")
        if event["sealgate"]["detail"].get("key") == "checkpoint@2"
    ]
    request = created["api"]["request"]["uid"]
    proof = home("audit", "prove", request)
    assert "proof" in proof
    public = created["sealgate"]["detail"]["public"]["Ed25519"]
    assert bytes.fromhex(public) != b""
    assert home.json("keys", "list")["earlier_vkeys"] == [old]


def test_credentials_outlive_the_pepper_they_were_made_under(home, principals):
    home("keys", "rotate", "credential", "watermark")
    home("keys", "destroy", "watermark@1", "--reason", "r", "--credential-file", principals["ada"])


@pytest.mark.parametrize(
    ("who", "says"),
    [(("ada", "ada"), "another"), (("cy",), "role security"), (("ada", "cy"), "role security")],
)
def test_one_person_destroys_nothing(home, principals, who, says):
    home("keys", "rotate", "watermark")
    *first, last = who
    destroy(home, principals, "watermark@1", first)
    refused = home(
        "keys", "destroy", "watermark@1", "--reason", "r",
        "--credential-file", principals[last], code=2,
    )  # fmt: skip
    assert says in refused
    assert states(home)["watermark@1"] == "decrypt-only"


def test_a_withdrawn_principal_counts_no_more(home, principals):
    home("keys", "rotate", "watermark")
    destroy(home, principals, "watermark@1", ["ada"])
    [ada] = [row for row in home.json("clients", "list") if row["name"] == "ada"]
    home("clients", "revoke", ada["id"])
    said = home(
        "keys", "destroy", "watermark@1", "--reason", "r",
        "--credential-file", principals["bob"], code=2,
    )  # fmt: skip
    assert "withdrawn" in said


def test_a_lost_home_is_restored_and_what_was_destroyed_stays_so(
    tmp_path, home, principals, recovery
):
    public, private = recovery
    home("keys", "rotate", "watermark")
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    destroy(home, principals, "watermark@1")
    home("keys", "rotate", "checkpoint")
    [destroyed] = home.events("key.destroyed")
    assert destroyed["sealgate"]["detail"]["confirmed_by"]["name"] == "bob"

    lost = home.path.rename(tmp_path / "lost")
    again = Home(home.path, tmp_path / "new-key")
    restore = ("keys", "restore", tmp_path / "backup", "--recovery-key-file", private)
    restore += ("--key-file", again.key)
    # Without its log nothing says what was destroyed.
    assert "log" in again(*restore, code=2)
    again.path.mkdir(exist_ok=True)
    shutil.copy(lost / "sealgate.db", again.path)
    again(*restore)
    assert again.json("audit", "verify")["verified"]
    now = states(again)
    assert now["watermark@1"] == "destroyed"
    assert now["watermark@2"] == "active"
    assert now["checkpoint@2"] == "destroyed"
    assert len(again.events("key.restored")) == 1
    # A restored home is whole: it rotates, and never twice under one name.
    again("keys", "rotate", "checkpoint")
    assert states(again)["checkpoint@3"] == "active"
    assert "keyring already" in again(*restore, code=2)


def put_back(tmp_path, home, log, private, *options):
    """Restore into a fresh home with that copy of the log, or none."""
    again = Home(tmp_path / f"again-{log and log.name}", tmp_path / f"key-{log and log.name}")
    again.path.mkdir()
    if log is not None:
        shutil.copy(log, again.path / "sealgate.db")
    arguments = ("keys", "restore", str(tmp_path / "backup"), "--recovery-key-file", str(private))
    arguments += ("--key-file", str(again.key), "--home", str(again.path), *options)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return again, result


def copied(home, to):
    shutil.copy(home.path / "sealgate.db", to)
    return to


def test_who_restores_hears_that_the_log_is_older_than_the_backup(tmp_path, home, recovery):
    public, private = recovery
    older = copied(home, tmp_path / "older.db")
    home("keys", "rotate", "watermark")
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    again, result = put_back(tmp_path, home, older, private)
    assert "log is older than the backup" in result.stderr
    assert "destroyed after it works again" in result.stderr
    assert states(again)["watermark@2"] == "active"
    assert again.json("audit", "verify")["verified"]


def test_who_restores_hears_what_was_lost_and_done_again_since(
    tmp_path, home, principals, recovery
):
    public, private = recovery
    home("keys", "rotate", "watermark", "report")
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    destroy(home, principals, "watermark@1")
    home("keys", "revoke", "report@1", "--reason", "r")
    home("keys", "rotate", "credential")
    newer = copied(home, tmp_path / "newer.db")
    _, result = put_back(tmp_path, home, newer, private)
    assert "older" not in result.stderr
    assert "Done again, as the log tells: watermark@1 (destroyed), report@1 (compromised)." in (
        result.stderr
    )
    assert "Lost, since made after the backup: credential@2." in result.stderr


def test_a_restore_tells_machines_the_same(tmp_path, home, recovery):
    public, private = recovery
    older = copied(home, tmp_path / "older.db")
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    newer = copied(home, tmp_path / "newer.db")
    told = [
        json.loads(put_back(tmp_path, home, log, private, "--json", *options)[1].stdout)
        for log, options in ((older, ()), (newer, ()), (None, ("--without-log",)))
    ]
    assert [each["log"] for each in told] == ["older", "newer", "absent"]
    assert [each["repeated"] + each["lost"] for each in told] == [[], [], []]
    assert told[0]["log_ends_at"] <= told[1]["log_ends_at"]
    assert told[2]["log_ends_at"] is None
    [entry] = home.events("key.backed_up")
    assert {each["backup"] for each in told} == {entry["sealgate"]["detail"]["backup"]}


def test_without_its_log_a_restore_says_what_nobody_knows(tmp_path, home, recovery):
    public, private = recovery
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    _, result = put_back(tmp_path, home, None, private, "--without-log")
    assert "One that was destroyed works again" in result.stderr


def test_a_log_with_a_key_slipped_in_is_not_believed(tmp_path, home, recovery):
    """The attacker has the log and no key: they append an entry and sign with one of theirs."""
    public, private = recovery
    home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    other = Home(tmp_path / "other", tmp_path / "other-key")
    other("init", "--key-file", other.key)
    other("keys", "rotate", "checkpoint")
    again = Home(tmp_path / "again", tmp_path / "new-key")
    again.path.mkdir()
    shutil.copy(other.path / "sealgate.db", again.path)
    said = again(
        "keys", "restore", tmp_path / "backup", "--recovery-key-file", private,
        "--key-file", again.key, code=1,
    )  # fmt: skip
    assert "no key of the backup" in said
    assert not (again.path / "keyring").exists()


def test_no_secret_is_in_the_log_or_what_commands_print(tmp_path, home, principals, recovery):
    public, private = recovery
    printed = home("keys", "rotate", "--all") + home("keys", "list")
    printed += home("keys", "backup", tmp_path / "backup", "--recipient-file", public)
    secrets = [principals["ada"].read_text(), private.read_text().strip(), home.key.read_bytes()]
    log = b"".join(path.read_bytes() for path in home.path.glob("sealgate.db*"))
    for secret in secrets:
        raw = secret if isinstance(secret, bytes) else secret.encode()
        assert raw not in log
        assert raw not in printed.encode()
        assert raw.hex() not in printed
