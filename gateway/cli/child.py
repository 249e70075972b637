"""`sealgate serve` as a real child process, for commands that need a gateway for a while."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from gateway.errors import GatewayNotStarted

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """Serve the home on a free port of loopback, give its URL, and stop it on leaving.

    Raises:
        typer.Exit: It ended before it served: with its code, since its own line says why.
        GatewayNotStarted: It did not come up in time, or did not stop cleanly.
    """
    command = [sys.executable, "-m", "gateway", "serve", "--json"]
    command += ["--home", str(home), "--host", "127.0.0.1", "--port", "0"]
    # Its errors go where ours go. A session of its own: Ctrl-C reaches it through us alone.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield json.loads(_first_line(process))["url"]
    except BaseException:
        _stop(process)
        raise
    code = _stop(process)
    if code:
        raise GatewayNotStarted(f"The gateway ended with exit code {code}; its error stands above.")


def _first_line(process: "subprocess.Popen[bytes]") -> bytes:
    """Return the line that says where it listens."""
    if process.stdout is None:
        raise GatewayNotStarted("The gateway's output cannot be read.")
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + START_LIMIT_S
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise GatewayNotStarted(f"The gateway did not start within {START_LIMIT_S:.0f} s.")
        data = os.read(descriptor, 4096)
        if not data:
            raise _ended(process)
        line += data
    return line


def _ended(process: "subprocess.Popen[bytes]") -> Exception:
    """Return what a gateway that ended before its first line is raised as."""
    code = process.wait(timeout=STOP_LIMIT_S)
    if code > 0:
        return typer.Exit(code)
    return GatewayNotStarted(f"The gateway ended with exit code {code} before it served.")


def _stop(process: "subprocess.Popen[bytes]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
