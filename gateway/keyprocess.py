"""Starting a process that is trusted with keys: exec'd fresh, its secret on an inherited pipe.

What unlocks the keyring is not among its arguments, and its environment is empty. The process
ends when the other end of its socket closes.
"""

import argparse
import os
import socket
import subprocess
import sys

from gateway.custody import Secret


def start(
    module: str, secret: Secret, connection: socket.socket, *arguments: str
) -> "subprocess.Popen[bytes]":
    """Start `python -m module` with one end of a socket pair and a secret to read."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe, os.fdopen(read_end, "rb"):
        command = [sys.executable, "-I", "-m", module, *arguments]
        command += ["--connection", str(connection.fileno()), "--secret", str(read_end)]
        process = subprocess.Popen(
            command,
            env={},
            stdin=subprocess.DEVNULL,
            pass_fds=(connection.fileno(), read_end),
            # Ctrl-C reaches the terminal's whole group; keys must outlive the last entry.
            start_new_session=True,
        )
        pipe.write(secret.encode())
    return process


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments that `start` gives every process."""
    options = argparse.ArgumentParser()
    options.add_argument("--connection", type=int, required=True)
    options.add_argument("--secret", type=int, required=True)
    return options


def read_secret(descriptor: int) -> Secret:
    """Read the secret from its pipe and close it."""
    with os.fdopen(descriptor, "rb") as pipe:
        return Secret.decode(pipe.read())
