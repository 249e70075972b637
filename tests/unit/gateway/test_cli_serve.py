"""Serving is a process of its own, without what only other commands import."""

import subprocess
import sys

import pytest

from gateway.cli import alone

HEAVY = ["onnx", "gguf", "reportlab", "PIL", "torch", "onnxruntime", "aiohttp"]


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "gateway", "serve"],
        # What the console script calls; it begins anew as the process above.
        [sys.executable, "-c", "import sys; from gateway.cli.main import main; main()", "serve"],
    ],
)
def test_a_failure_to_serve_is_one_line_and_its_code(command, tmp_path):
    done = run(*command, "--home", str(tmp_path / "none"))
    assert done.returncode == 2
    assert done.stderr.startswith("sealgate: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_server_imports_nothing_that_only_others_need():
    told = run(
        sys.executable,
        "-c",
        "import sys, gateway.cli.alone; "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])",
    )
    assert told.stdout.strip() == "", told


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["serve"], True),
        (["serve", "--port", "0"], True),
        (["serve", "--help"], False),
        (["demo"], False),
        ([], False),
    ],
)
def test_only_a_command_to_serve_is_meant(arguments, meant):
    assert alone.meant(arguments) is meant
