"""The fault-injection hook: a child that dies by SIGKILL at a chosen call to the file system.

Every call that makes a change durable or visible counts as one point, before and after: fsync,
rename, replace, unlink, and the opening of a file for writing.
"""

import os
import signal
import sys
from pathlib import Path

from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring

CALLS = ("fsync", "rename", "replace", "unlink", "open", "write", "ftruncate")


class Points:
    """Counts points, and dies at one. at: -1 to count alone."""

    def __init__(self, at):
        self.at = at
        self.seen = 0

    def __call__(self):
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1

    def install(self):
        for name in CALLS:
            setattr(os, name, self._around(getattr(os, name)))
        Path.unlink = self._around(Path.unlink)
        Path.mkdir = self._around(Path.mkdir)

    def _around(self, real):
        def call(*arguments, **options):
            self()
            result = real(*arguments, **options)
            self()
            return result

        return call


def in_child(deed, directory, *, at):
    """Do a deed in a forked child that dies at a point; return (killed, points seen)."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            # A forked child finds a locked secret wiped: it unlocks anew.
            keyring = Keyring.unlock(directory / "keyring", KeyFile(directory / "key"))
            points = Points(at)
            real_write = os.write
            points.install()
            deed(directory, keyring)
            real_write(write_end, points.seen.to_bytes(4, "big"))
            status = 0
        except BaseException as error:  # noqa: BLE001 - The child says what it died of.
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.waitstatus_to_exitcode(status) == 0
    return killed, int.from_bytes(told, "big")
