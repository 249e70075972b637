"""No plaintext of a model's parameters reaches a file, while it is imported or while it serves."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.models.importing import import_gguf
from tests.e2e.deployment import MODEL, sealgate

CANARY_BYTES = 48
CANARIES = 24
# Runs one command and writes down every file that Python, in it, opens for writing or renames.
WATCHED = """
import os, sys
seen = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(seen, os.fsencode(os.path.abspath(path)) + b"\\n")
    elif event == "os.rename":
        os.write(seen, os.fsencode(os.path.abspath(arguments[1])) + b"\\n")
sys.addaudithook(watch)
from gateway.cli.main import main
main()
"""
OPENED = re.compile(r'(?:open|openat|creat)\((?:\S+, )?"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)')
RENAMED = re.compile(r'rename(?:at2?)?\((?:\S+, )?"([^"]+)", (?:\S+, )?"([^"]+)"')


@pytest.fixture(scope="module")
def canaries(reference_gguf):
    """Pieces of many tensors, in the form the engine uses and in the form the GGUF file has."""
    tensors = import_gguf(reference_gguf).tensors.values()
    raw = [np.ascontiguousarray(t).tobytes() for t in tensors if t.nbytes > 4096]
    pieces = [data[len(data) // 2 :][:CANARY_BYTES] for data in raw]
    source = reference_gguf.read_bytes()
    pieces += [source[at : at + CANARY_BYTES] for at in range(8 << 20, len(source), 4 << 20)]
    # A run of one value, as padding is, would be found anywhere.
    telling = [piece for piece in pieces if len(set(piece)) > CANARY_BYTES // 3]
    return telling[:: len(telling) // CANARIES]


def plain(file, canaries):
    content = file.read_bytes()
    return any(canary in content for canary in canaries)


def require_no_plain_file(home, canaries):
    files = [each for each in home.rglob("*") if each.is_file()]
    assert files
    assert [file for file in files if plain(file, canaries)] == []


def test_canaries_are_found_where_parameters_are_plain(canaries, reference_gguf):
    assert len(canaries) >= CANARIES
    assert plain(reference_gguf, canaries)


@pytest.fixture
def place(tmp_path):
    """A home, and a directory that is everything else the process is told it may write to."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    sealgate("init", "--key-file", str(tmp_path / "key"), home=home)
    environment = os.environ | {name: str(elsewhere) for name in ("TMPDIR", "HOME", "TEMP")}
    return home, elsewhere, environment | {"PYTHONDONTWRITEBYTECODE": "1"}


def import_arguments(home, gguf):
    return ["models", "import", str(gguf), "--id", MODEL, "--home", str(home)]


def test_import_opens_no_file_that_ends_up_plain(place, canaries, reference_gguf, tmp_path):
    home, elsewhere, environment = place
    seen = tmp_path / "seen"
    subprocess.run(
        [sys.executable, "-c", WATCHED, *import_arguments(home, reference_gguf)],
        env=environment | {"SEEN": str(seen)},
        cwd=elsewhere,
        check=True,
        capture_output=True,
        timeout=120,
    )
    written = {os.fsdecode(line) for line in seen.read_bytes().splitlines()}
    require_only_sealed(written, home, elsewhere)
    require_no_plain_file(home, canaries)


def require_only_sealed(written, home, elsewhere):
    """Require that nothing outside the home was opened for writing, and nothing lost but names."""
    sealed = home / "models" / f"{MODEL}.sealed"
    assert str(sealed) in written
    # SQLite opens by a name of its own, `file:PATH?mode=rw`.
    outside = {path for path in written if str(home) not in path} - {os.devnull}
    assert outside == set()
    assert list(elsewhere.iterdir()) == []
    # A file that vanished could have held anything: only the names that were moved to where the
    # home's files are now, and SQLite's own, may.
    vanished = {Path(path).name for path in written if not Path(path).exists()}
    allowed = re.compile(rf"\.?({MODEL}\.sealed|keyring\.json)\..+|sealgate\.db.*|\.writable-\d+")
    assert [name for name in vanished if not allowed.fullmatch(name)] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_import_opens_no_other_file_by_any_system_call(place, canaries, reference_gguf, tmp_path):
    home, elsewhere, environment = place
    trace = tmp_path / "trace"
    calls = "open,openat,openat2,creat,rename,renameat,renameat2,link,linkat,mknod,mknodat"
    strace = ["strace", "-f", "-o", str(trace), "-s", "4096", "-e", f"trace={calls}"]
    subprocess.run(
        [*strace, sys.executable, "-m", "gateway", *import_arguments(home, reference_gguf)],
        env=environment,
        cwd=elsewhere,
        check=True,
        capture_output=True,
        timeout=170,
    )
    lines = trace.read_text()
    assert "O_TMPFILE" not in lines
    assert "openat2(" not in lines
    written = set(OPENED.findall(lines)) | {new for _, new in RENAMED.findall(lines)}
    require_only_sealed(written, home, elsewhere)
    require_no_plain_file(home, canaries)


def test_serving_gateway_leaves_no_plain_file(gateway, canaries):
    with gateway.client() as client:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello."}], max_tokens=4
        )
    require_no_plain_file(gateway.home, canaries)


def test_flipped_byte_of_a_sealed_model_keeps_the_gateway_from_starting(idle_home, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(idle_home[0], home)
    sealed = home / "models" / f"{MODEL}.sealed"
    with sealed.open("r+b") as file:
        file.seek(sealed.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    served = sealgate("serve", "--port", "0", "--json", home=home, check=False)
    assert served.returncode == 1
    assert served.stdout == ""
    verified = sealgate("models", "verify", MODEL, home=home, check=False)
    assert verified.returncode == 1
    assert len(verified.stderr.splitlines()) == 1
