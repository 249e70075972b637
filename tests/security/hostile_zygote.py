"""A zygote whose engine does what the prompt's first token says: answers, misbehaves, attacks.

The same walls as the real one, no model. The prompt is [what, port, ...].
"""

import ctypes
import fcntl
import mmap
import os
import socket
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - as plain as the -I it makes up for

import attacks

from sandbox import kernel, wire, zygote

VOCABULARY = 1024
# What the engine can be told to do, by the first token of the prompt. 1 is what a warm-up sends.
ANSWER, TWO_TOKENS, CRASH, SPIN, DRIP, BOMB, HUGE_FRAME, OTHER_VERSION, FLOOD, LIE, LINGER = range(
    1, 12
)
WRITE_WEIGHTS, UNLOCK_WEIGHTS, PUNCH_WEIGHTS, HOLD, NOT_FINITE, SILENT_EXIT = range(12, 18)
MISPLACED, FOREIGN = range(18, 20)
FIRST_ATTACK = 100

# Exit codes by which an attack tells what became of it; an errno is below both.
PASSED, RETURNED = 250, 251
REPORTED_MEMORY_ERROR = 240


class Engine:
    """Misbehaves on command. weights: a sealed, read-only mapping, as the real engine has."""

    batches = True

    def __init__(self, weights):
        self.zygote = os.getpid()
        self.gateway = os.getppid()
        self.weights = weights

    def start(self, _length):
        return Decoding(self)

    def start_together(self, rows, _length):
        return Beside([Decoding(self) for _ in range(rows)])


class Beside:
    """Sequences side by side, each of which does what its own prompt says."""

    def __init__(self, rows):
        self._rows = rows

    def begin(self, row, prompt):
        return self._rows[row].feed(list(prompt))

    def copy(self, row, *, source):
        self._rows[row].follow(self._rows[source])

    def step(self, tokens):
        return np.stack([r.feed([t]) for r, t in zip(self._rows, tokens, strict=True)])

    def keep(self, rows):
        self._rows = [self._rows[row] for row in rows]


class Decoding:
    def __init__(self, engine):
        self._engine = engine
        self._seen = []
        self._what = ANSWER

    def feed(self, tokens):
        if not self._seen:
            self._what = tokens[0]
            self._first(tokens)
        self._seen += tokens
        if self._what == DRIP:
            spin(0.02)
        if self._what == TWO_TOKENS:
            logits = np.full(VOCABULARY, -np.inf, np.float32)
            logits[5:7] = 1
            return logits
        if self._what == NOT_FINITE:
            return np.full(VOCABULARY, np.nan, np.float32)
        return np.random.default_rng(sum(self._seen)).normal(size=VOCABULARY).astype(np.float32)

    def follow(self, other):
        self._seen, self._what = list(other._seen), other._what

    def _first(self, tokens):
        if self._what >= FIRST_ATTACK:
            self._attack(attacks.ATTACKS[self._what - FIRST_ATTACK], port=tokens[1])
        behaviour = BEHAVIOURS.get(self._what)
        if behaviour is not None:
            behaviour(self._engine)

    def _attack(self, attack, *, port):
        target = attacks.Target(
            zygote=self._engine.zygote,
            port=port,
            abstract=f"sealgate-test-{self._engine.gateway}".encode(),
        )
        try:
            attack.run(target)
        except OSError as error:
            os._exit(error.errno)
        os._exit(PASSED)


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _spin(_):
    while True:
        pass


def _bomb(_):
    """Take memory and touch it until there is none."""
    held = []
    try:
        while True:
            held.append(np.ones(1 << 20, np.uint8))
    except MemoryError:
        os._exit(REPORTED_MEMORY_ERROR)


def _say(data):
    view = memoryview(data)
    while view:
        view = view[os.write(0, view) :]


def _huge_frame(_):
    _say((wire.MOST_BYTES + 1).to_bytes(4, "big") + b"\x01T")
    while True:
        _say(bytes(1 << 16))


def _flood(_):
    while True:
        _say(wire.frame(wire.TOKENS, wire.pack_tokens(list(range(1000)))))


def _lie(_):
    end = {"reason": "escaped", "evidence": {"status": "traceable", "marked": 1}}
    _say(wire.frame(wire.END, wire.encode(end)))


def _misplaced(_):
    """Answer a job of the batch that ended, or never was."""
    tokens = wire.pack_sequence(200, wire.TOKENS, wire.pack_tokens([5]))
    _say(wire.frame(wire.SEQUENCE, tokens))
    _spin(None)


def _foreign(_):
    """Wrap a kind of frame that is none of a job's."""
    _say(wire.frame(wire.SEQUENCE, wire.pack_sequence(0, wire.VECTOR, bytes(4))))
    _spin(None)


def _linger(_):
    """Say that the answer is whole, and stay."""
    evidence = {"status": "unmarked", "marked": 0, "log_evidence": 0.0}
    _say(wire.frame(wire.END, wire.encode({"reason": "stop", "evidence": evidence})))
    _spin(None)


def _address(weights):
    """Find a read-only mapping's address, which ctypes gives for writable ones alone."""
    return np.frombuffer(weights, np.uint8).ctypes.data


def _write_weights(engine):
    ctypes.memset(_address(engine.weights), 1, 1)


def _exit_with_errno_of(number, *arguments):
    try:
        kernel.syscall(number, *arguments)
    except OSError as error:
        os._exit(error.errno)
    os._exit(PASSED)


BEHAVIOURS = {
    CRASH: lambda _: ctypes.string_at(0),
    SPIN: _spin,
    HOLD: _spin,
    BOMB: _bomb,
    HUGE_FRAME: _huge_frame,
    OTHER_VERSION: lambda _: _say(b"\0\0\0\x02\x02E"),
    FLOOD: _flood,
    LIE: _lie,
    LINGER: _linger,
    MISPLACED: _misplaced,
    FOREIGN: _foreign,
    WRITE_WEIGHTS: _write_weights,
    # mprotect to writable; MADV_REMOVE, which would punch a hole for everyone.
    UNLOCK_WEIGHTS: lambda engine: _exit_with_errno_of(10, _address(engine.weights), 4096, 3),
    PUNCH_WEIGHTS: lambda engine: _exit_with_errno_of(28, _address(engine.weights), 4096, 9),
    SILENT_EXIT: lambda _: os._exit(0),
}


def load(connection):
    """Take a sealed memfd in place of weights."""
    _, (memory,), _, _ = socket.recv_fds(connection, 1, 1)
    assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    weights = mmap.mmap(memory, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    os.close(memory)
    attacks.prepare()
    return Engine(weights)


if __name__ == "__main__":
    zygote.main(load)
