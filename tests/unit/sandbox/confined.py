"""Runs a few lines in a process of their own: a wall, once put up, never comes down again."""

import subprocess
import sys
from dataclasses import dataclass

OPENING = """
import ctypes, errno, mmap, os, resource, select, signal, socket, sys, threading
from sandbox import capabilities, confinement, descriptors, kernel, keyrings, landlock
from sandbox import limits, lockdown, namespaces, seccomp

STRANGER = 23456
# Loaded while the interpreter's files can still be read.
import encodings.ascii

def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def become_stranger():
    os.setgroups([])
    os.setresgid(STRANGER, STRANGER, STRANGER)
    os.setresuid(STRANGER, STRANGER, STRANGER)

def end_of(work):
    child = os.fork()
    if child == 0:
        try:
            os._exit(work() or 0)
        except BaseException:
            os._exit(99)
    return os.waitpid(child, 0)[1]
"""


@dataclass(frozen=True)
class Run:
    """What a script printed, word by word, and how its process ended."""

    said: list
    code: int


def confined(script, *arguments):
    """Run a script after OPENING; a script that raises fails the test."""
    process = subprocess.run(
        [sys.executable, "-I", "-c", OPENING + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not process.stderr, process.stderr
    return Run(process.stdout.split(), process.returncode)
