import json
import subprocess
import sys

import pytest

from audit.controls.errors import FrameworkUnknown
from audit.errors import LogTampered, LogUnavailable, ProofInvalid, RequestUnknown
from gateway import errors
from gateway.cli.errors import CANNOT, FAILED, USAGE, exit_code
from gateway.models.errors import (
    ModelError,
    ModelUnfetchable,
    ModelUnknown,
    ModelUnreadable,
    ModelUnsupported,
)
from privacy.errors import KeyringExists, KeyringLocked, SealBroken, SealMissing
from sandbox.errors import SandboxUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LogTampered("x"), FAILED),
        (ProofInvalid("x"), FAILED),
        (SealBroken("x"), FAILED),
        (KeyringLocked("x"), FAILED),
        (ModelError("x"), FAILED),
        (errors.ChainBroken("x"), FAILED),
        (ModelUnsupported("x"), USAGE),
        (ModelUnknown("x"), USAGE),
        (ModelUnreadable("x"), USAGE),
        (KeyringExists("x"), USAGE),
        (SealMissing("x"), USAGE),
        (RequestUnknown("x"), USAGE),
        (FrameworkUnknown("x"), USAGE),
        (errors.HomeMissing("x"), USAGE),
        (errors.SettingsInvalid("x"), USAGE),
        (errors.CredentialUnknown("x"), USAGE),
        (SandboxUnavailable("x"), CANNOT),
        (errors.AddressTaken("x"), CANNOT),
        (errors.HomeUnusable("x"), CANNOT),
        (errors.ClientMissing("x"), CANNOT),
        (LogUnavailable("x"), CANNOT),
        (ModelUnfetchable("x"), CANNOT),
    ],
)
def test_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


@pytest.fixture
def sealgate(tmp_path):
    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **environment},
        )

    return run


def test_failure_is_one_line_on_standard_error(sealgate):
    done = sealgate("models", "list", "--home", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sealgate: ")
    assert done.stderr.count("\n") == 1


def test_init_makes_a_home_once_and_keeps_its_key_outside(sealgate, tmp_path):
    made = sealgate("init", "--home", "home", "--key-file", "key", "--json")
    assert made.returncode == 0
    assert json.loads(made.stdout)["home"] == str(tmp_path / "home")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    # The settings file finds the key again.
    assert sealgate("keys", "list", "--home", "home").returncode == 0
    assert sealgate("init", "--home", "home").returncode == 2
    inside = sealgate("init", "--home", "other", "--key-file", "other/key")
    assert inside.returncode == 2
    assert "inside the home" in inside.stderr
    assert not (tmp_path / "other").exists()


def test_init_of_a_home_that_cannot_be_made_leaves_no_key_behind(sealgate, tmp_path):
    # Nobody can make a directory there, root included.
    done = sealgate("init", "--home", "/proc/sealgate", "--key-file", "key")
    assert done.returncode == 3
    assert "cannot be made" in done.stderr
    assert not (tmp_path / "key").exists()
    # A key that was there before is somebody's.
    (tmp_path / "kept").write_bytes(bytes(32))
    (tmp_path / "kept").chmod(0o600)
    assert sealgate("init", "--home", "/proc/sealgate", "--key-file", "kept").returncode == 3
    assert (tmp_path / "kept").read_bytes() == bytes(32)


@pytest.mark.parametrize("vkey", ["", "x", "log+00000000+AAAA", "a+b+c+d", "log+9de1466a"])
def test_verifier_key_that_is_none_is_a_slip_of_the_caller(sealgate, tmp_path, vkey):
    (tmp_path / "a.proof").write_text("{}")
    done = sealgate("audit", "verify-proof", "a.proof", f"--vkey={vkey}")
    assert done.returncode == 2
    assert "--vkey" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        'kind = "vault-transit"\naddress = 5\nkey = "k"\ntoken_file = "t"',
        'kind = "vault-transit"\naddress = "https://h"\nkey = ["k"]\ntoken_file = "t"',
        'kind = "vault-transit"\naddress = "https://h"\nkey = "k\\r\\n"\ntoken_file = "t"',
        'kind = "vault-transit"\naddress = "https://h"\nkey = "k"',
        'kind = "aws-kms"\nkey_id = "k"\nregion = 5',
        'kind = "systemd-credential"\nname = 5',
        'kind = "nothing"',
        "kind",
        "",
    ],
)
def test_custodian_file_that_names_none_is_a_slip_of_the_caller(sealgate, tmp_path, text):
    (tmp_path / "custodian").write_text(text)
    done = sealgate("init", "--home", "home", SEALGATE_CUSTODIAN_FILE="custodian")
    assert done.returncode == 2
    assert done.stderr.startswith("sealgate: ")
    assert not (tmp_path / "home").exists()


def test_init_without_a_secret_and_without_a_person_says_what_to_give(sealgate, tmp_path):
    done = sealgate("init", "--home", "home")
    assert done.returncode == 2
    assert "--key-file" in done.stderr
    assert not (tmp_path / "home").exists()


def test_init_takes_a_passphrase_file_and_refuses_a_short_one(sealgate, tmp_path):
    (tmp_path / "short").write_text("short\n")
    assert sealgate("init", "--home", "home", "--passphrase-file", "short").returncode == 2
    (tmp_path / "long").write_text("correct horse battery staple\n")
    assert sealgate("init", "--home", "home", "--passphrase-file", "long").returncode == 0
    (tmp_path / "long").write_text("another phrase altogether\n")
    locked = sealgate("keys", "list", "--home", "home")
    assert locked.returncode == 1
    assert "another phrase" not in locked.stderr


def test_setting_that_is_wrong_is_named(sealgate):
    done = sealgate("doctor", "--home", "home", SEALGATE_PORT="many")
    assert done.returncode == 2
    assert "port" in done.stderr


def test_serving_a_home_that_is_not_there_says_so_before_it_wants_a_secret(sealgate):
    done = sealgate("serve", "--home", "nowhere", "--port", "0")
    assert done.returncode == 2
    assert "holds no Sealgate home" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("models", "fetch", "gpt-9"), 2, "known: smollm2-135m"),
        (("models", "import", "absent.gguf"), 2, "No such file"),
        (("models", "import", "cut.gguf"), 1, "cut short"),
        # Its gateway meets the damaged container; the demo adds no line and no code of its own.
        (("demo",), 1, "The seal is broken"),
    ],
)
def test_model_that_cannot_be_had_is_one_line_and_its_code(
    sealgate, tmp_path, arguments, code, said
):
    assert sealgate("init", "--home", "home", "--key-file", "key").returncode == 0
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    (tmp_path / "home/models/smollm2-135m.sealed").write_bytes(bytes(4096))
    done = sealgate(*arguments, "--home", "home")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
