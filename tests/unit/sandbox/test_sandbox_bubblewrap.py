import shutil
import subprocess
import sys

import pytest

from sandbox import bubblewrap
from sandbox.errors import SandboxUnavailable

INSTALLED = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin") is not None
needs_bubblewrap = pytest.mark.skipif(not INSTALLED, reason="Debian's bubblewrap is not installed")


def under(code):
    command = [*bubblewrap.require(), sys.executable, "-I", "-c", code]
    return subprocess.run(command, env={}, check=False, capture_output=True, text=True)


def fake(tmp_path, monkeypatch, script):
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "_SYSTEM_PATH", str(tmp_path))
    bubblewrap.prefix.cache_clear()


@pytest.fixture(autouse=True)
def _forget_the_trial():
    yield
    bubblewrap.prefix.cache_clear()


def test_absent_program_is_named_and_leaves_the_command_bare(tmp_path, monkeypatch):
    monkeypatch.setattr(bubblewrap, "_SYSTEM_PATH", str(tmp_path))
    bubblewrap.prefix.cache_clear()
    with pytest.raises(SandboxUnavailable, match="not installed"):
        bubblewrap.require()
    assert bubblewrap.prefix() == ()


def test_program_that_fails_its_trial_is_not_used(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "echo no permissions to create a namespace >&2; exit 1")
    with pytest.raises(SandboxUnavailable, match="no permissions to create a namespace"):
        bubblewrap.require()
    assert bubblewrap.prefix() == ()


def test_program_from_the_users_path_is_not_taken(tmp_path, monkeypatch):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(program) not in bubblewrap.prefix()


@needs_bubblewrap
def test_file_system_is_read_only_under_it(tmp_path):
    ended = under(f"open({str(tmp_path / 'x')!r}, 'w')")
    assert "Read-only file system" in ended.stderr
    assert not (tmp_path / "x").exists()


@needs_bubblewrap
def test_no_network_device_is_up_under_it():
    ended = under("print(open('/proc/net/route').read().count('\\n'))")
    assert ended.stdout.strip() == "1"


@needs_bubblewrap
def test_few_capabilities_are_left_under_it():
    ended = under("print(open('/proc/self/status').read())")
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("CapEff")]
    # CAP_DAC_READ_SEARCH, CAP_SETGID and CAP_SETUID for root, none for anybody else.
    assert int(line.split()[1], 16) in {0, 1 << 2 | 1 << 6 | 1 << 7}
