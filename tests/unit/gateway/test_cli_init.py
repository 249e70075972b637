"""`sealgate init` makes a whole home or leaves nothing of one; keys on a command line are read."""

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.errors import KNOWN, exit_code
from gateway.cli.main import app
from gateway.home import Home


def run(*arguments):
    """Return exit code and what was said on standard error, as `main` would have it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, KNOWN):
        return exit_code(result.exception), result.stderr + str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stderr


def test_new_home_comes_with_its_key_file(tmp_path):
    key = tmp_path / "far" / "away" / "key"
    code, said = run("init", "--home", tmp_path / "home", "--key-file", key)
    assert (code, key.is_file()) == (0, True)
    assert f"Made the key file {key}" in said
    assert Home(tmp_path / "home").database.is_file()


@pytest.mark.parametrize("blocked", ["keyring", "sealgate.db"])
def test_home_that_cannot_be_made_takes_its_key_file_with_it(tmp_path, blocked):
    home, key = tmp_path / "home", tmp_path / "far" / "away" / "key"
    # A file where a directory has to be, and a directory where a file has to be.
    (home / ("sealgate.db" if blocked == "sealgate.db" else ".")).mkdir(parents=True)
    if blocked == "keyring":
        (home / "keyring").write_text("in the way")
    code, said = run("init", "--home", home, "--key-file", key)
    assert code == 3
    assert "Made the key file" not in said
    assert not (tmp_path / "far").exists()
    # What was in the way is mended, and the same command works.
    if blocked == "keyring":
        (home / "keyring").unlink()
    else:
        (home / "sealgate.db").rmdir()
    assert run("init", "--home", home, "--key-file", key)[0] == 0


def test_key_file_that_was_there_before_stays(tmp_path):
    key = tmp_path / "key"
    assert run("init", "--home", tmp_path / "first", "--key-file", key)[0] == 0
    bytes_before = key.read_bytes()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "keyring").write_text("in the way")
    assert run("init", "--home", tmp_path / "second", "--key-file", key)[0] == 3
    assert key.read_bytes() == bytes_before


def test_settings_that_name_another_key_file_are_kept_and_told_of(tmp_path):
    home, key = tmp_path / "home", tmp_path / "key"
    home.mkdir()
    (home / "sealgate.toml").write_text('key_file = "/elsewhere"\n')
    _, said = run("init", "--home", home, "--key-file", key)
    assert f'Put this line there: key_file = "{key}"' in said
    assert (home / "sealgate.toml").read_text() == 'key_file = "/elsewhere"\n'


PROOF = "c2sp.org/tlog-proof@v1\n"


@pytest.mark.parametrize(
    "vkey", ["", "x", "a+b+c", "log+zzzzzzzz+AAAA", "log+00000000+é", "log+9de1466a+ATL/pgs6", "++"]
)
def test_malformed_verifier_key_is_wrong_usage(tmp_path, vkey):
    proof = tmp_path / "a.proof"
    proof.write_text(PROOF)
    code, said = run("audit", "verify-proof", proof, "--vkey", vkey)
    assert code == 2
    assert said.startswith("--vkey: ")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"kty":"OKP","crv":"Ed25519","x":"AA"}'])
def test_malformed_receipt_key_is_wrong_usage(tmp_path, content):
    receipt, key = tmp_path / "receipt", tmp_path / "key.jwk"
    receipt.write_text("a.b.c")
    key.write_text(content)
    code, said = run("receipt", "verify", receipt, "--key", key)
    assert (code, said.startswith("--key: ")) == (2, True)


def test_malformed_receipt_is_a_failed_check(tmp_path):
    receipt, key = tmp_path / "receipt", tmp_path / "key.jwk"
    receipt.write_text("a.b.c")
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    key.write_text(json.dumps(jwk))
    assert run("receipt", "verify", receipt, "--key", key)[0] == 1
