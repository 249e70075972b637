"""The containers' seccomp profile, taken on by a real process: enough to serve, and little more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import calls

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "deploy" / "seccomp" / "sealgate.json"
UNDER = [sys.executable, str(Path(__file__).with_name("under_profile.py")), str(PROFILE)]


def under(*arguments, timeout=100):
    command = [*UNDER, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_every_name_in_the_profile_is_a_call():
    known = {calls.name(number) for number in range(600)}
    (rule,) = json.loads(PROFILE.read_text())["syscalls"]
    assert set(rule["names"]) <= known
    assert rule["names"] == sorted(set(rule["names"]))


def test_every_wall_stands_under_the_profile():
    ended = under("-m", "gateway", "doctor", "--json")
    assert ended.returncode == 0, ended.stderr
    walls = {wall["name"]: wall for wall in json.loads(ended.stdout)["walls"]}
    assert all(wall["present"] for wall in walls.values() if wall["required"])


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("import ctypes; print(ctypes.CDLL(None).ptrace(0, 0, 0, 0))", "ptrace"),
        ("import ctypes; print(ctypes.CDLL(None).syscall(425, 4, bytes(120)))", "io_uring_setup"),
        ("import ctypes; print(ctypes.CDLL(None).syscall(323, 0))", "userfaultfd"),
        ("import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))", "keyctl"),
    ],
)
def test_profile_refuses_what_nobody_here_needs(code, call):
    refused = under("-c", code)
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert refused.stdout.strip() == "-1", call
    # Without the profile the same call gets somewhere.
    assert free.stdout.strip() != "-1" or call == "userfaultfd"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_chain_runs_under_the_profile(tmp_path):
    ended = under("-m", "gateway", "demo", "--home", str(tmp_path / "home"), "--json", timeout=170)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["trace"]["verdict"] == "traced"
