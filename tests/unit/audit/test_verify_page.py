"""The program on docs/verify.md, exactly as it stands there, in a process of its own."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audit.checkpoint import VerifierKey
from audit.publication import publish

PAGE = Path(__file__).parents[3] / "docs" / "verify.md"
LINES = 60


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    path = tmp_path_factory.mktemp("stranger") / "verify.py"
    path.write_text(code, "utf-8")
    return path


@pytest.fixture
def stranger(program):
    """Runs the program where nothing of this project is near."""

    def run(log, path, *, origin=None, public_key=None):
        vkey = VerifierKey(origin or log.origin, public_key or log.public_key).encode()
        command = [sys.executable, "-I", str(program), vkey, str(path)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=program.parent
        )

    return run


@pytest.fixture
def filled(log, make):
    requests = [f"req_{number}" for number in range(150)]
    log.record(*(each for name in requests for each in (make.intent(name), make.outcome(name))))
    log.record(make.system("sys_ä\u2028\x7f\x1f", detail={"text": '\u0000 ü 😀 \\ " / \t'}))
    return log


@pytest.fixture
def proof(filled, tmp_path):
    path = tmp_path / "proof.json"
    path.write_text(filled.prove("req_7"), "utf-8")
    return path


@pytest.fixture
def directory(filled, tmp_path):
    publish(filled.engine, tmp_path / "tiles")
    return tmp_path / "tiles"


def test_program_is_short_and_needs_nothing_but_cryptography(program):
    code = program.read_text("utf-8")
    assert len(code.splitlines()) <= LINES
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert modules - set(sys.stdlib_module_names) == {"cryptography"}


def test_stranger_accepts_a_proof(filled, proof, stranger):
    done = stranger(filled, proof)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:20] for line in done.stdout.splitlines()] == [
        "TRUE: entry 14 of 30",
        "TRUE: entry 15 of 30",
    ]


def test_stranger_accepts_any_text_that_an_event_can_hold(filled, stranger, tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(filled.prove("sys_ä\u2028\x7f\x1f"), "utf-8")
    done = stranger(filled, path)
    assert (done.returncode, done.stderr) == (0, "")


def test_stranger_accepts_a_copy_of_the_log(filled, directory, stranger):
    done = stranger(filled, directory)
    assert (done.returncode, done.stdout) == (
        0,
        f"TRUE: 301 entries, root {filled.verify().root}\n",
    )


def test_stranger_refuses_another_key_or_origin(filled, proof, directory, stranger):
    for path in (proof, directory):
        assert stranger(filled, path, public_key=bytes(31) + b"\x01").returncode == 1
        assert stranger(filled, path, origin="other.test/log").returncode == 1


def change_event(document):
    document["entries"][0]["event"] = document["entries"][1]["event"]


def change_index(document):
    entry = document["entries"][0]
    entry["proof"] = entry["proof"].replace("index 14", "index 12")


def go_outside(document):
    entry = document["entries"][0]
    entry["proof"] = entry["proof"].replace("index 14", "index -14")


def pad(document):
    entry = document["entries"][0]
    entry["proof"] = entry["proof"].replace("\n\n", "\n" + "A" * 43 + "=\n\n", 1)


def cut(document):
    lines = document["entries"][0]["proof"].split("\n")
    del lines[2]
    document["entries"][0]["proof"] = "\n".join(lines)


def enlarge(document):
    entry = document["entries"][0]
    entry["proof"] = entry["proof"].replace("\n301\n", "\n302\n")


def name_another_request(document):
    document["request_id"] = "req_8"


def strip_signature(document):
    entry = document["entries"][0]
    entry["proof"] = entry["proof"][: entry["proof"].rindex("\u2014")]


def empty(document):
    document["entries"] = []


@pytest.mark.parametrize(
    "bend",
    [
        change_event,
        change_index,
        go_outside,
        pad,
        cut,
        enlarge,
        name_another_request,
        strip_signature,
        empty,
    ],
    ids=lambda bend: bend.__name__,
)
def test_stranger_refuses_a_bent_proof(filled, proof, stranger, bend):
    document = json.loads(proof.read_text("utf-8"))
    bend(document)
    proof.write_text(json.dumps(document), "utf-8")
    done = stranger(filled, proof)
    assert done.returncode == 1
    assert "TRUE" not in done.stdout


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/001.p/45", "checkpoint"])
@pytest.mark.parametrize("how", ["edited", "missing"])
def test_stranger_refuses_a_bent_copy(filled, directory, stranger, path, how):
    target = directory / path
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.unlink()
    if how == "edited":
        target.write_bytes(data)
    done = stranger(filled, directory)
    assert done.returncode == 1
    assert "TRUE" not in done.stdout
