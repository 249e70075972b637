"""Serving is a process of its own, without what only other commands import."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import alone
from gateway.cli.standing import Wanted, plain

HEAVY = ["onnx", "gguf", "reportlab", "PIL", "torch", "onnxruntime", "aiohttp"]
# What an officer's request needs, a marked answer that was cut off, an issuer, or PostgreSQL.
RARE = ["numpy", "fastapi", "starlette", "joserfc", "asn1crypto", "sqlalchemy.dialects.postgresql"]
RARE += ["rich", "typer", "watermark.detector", "gateway.office", "gateway.provenance"]


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
        f"print(*[name for name in {[*HEAVY, *RARE]!r} if name in sys.modules])",
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


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", Wanted()),
        ("--json", Wanted(as_json=True)),
        ("--port 0 --home a/b", Wanted(Path("a/b"), port=0)),
        ("--host ::1 --json --port 8443", Wanted(host="::1", port=8443, as_json=True)),
    ],
)
def test_a_plain_command_line_is_read_without_what_reads_any(line, wanted):
    assert plain(line.split()) == wanted


@pytest.mark.parametrize(
    "line",
    [
        "--port",
        "--port -1",
        "--port 1_0",
        "--port \u0661",
        "--port=0",
        "--home --json",
        "--json --json",
        "--port 1 --port 2",
        "--verbose",
        "now",
        "--",
    ],
)
def test_whatever_else_is_left_to_who_can_explain_it(line):
    assert plain(line.split()) is None


@pytest.mark.parametrize("line", ["--port x", "--verbose", "now"])
def test_a_wrong_command_line_says_what_is_wrong(line, tmp_path):
    home = str(tmp_path / "none")
    done = run(sys.executable, "-m", "gateway", "serve", *line.split(), "--home", home)
    assert done.returncode == 2
    assert line.split()[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_line_that_is_not_plain_serves_alike(tmp_path):
    done = run(sys.executable, "-m", "gateway", "serve", "--port=0", f"--home={tmp_path / 'none'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sealgate: ")
