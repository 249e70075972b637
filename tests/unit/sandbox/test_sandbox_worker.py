"""What a worker says and how it ends, without walls: those have tests of their own."""

import os
import socket
import threading

import pytest

from sandbox import lockdown, wire, worker
from sandbox.errors import GrammarRefused, SandboxUnavailable


class Service:
    """Answers a job with what it was given; rehearses; fails as told."""

    def __init__(self, error=None):
        self.error = error
        self.rehearsed = 0

    def rehearse(self):
        self.rehearsed += 1

    def serve(self, kind, payload, write):
        if self.error is not None:
            raise self.error
        write(wire.frame(wire.TOKENS, kind + payload))
        return {"reason": "stop"}


class Left(BaseException):
    """In place of the process's end."""


@pytest.fixture
def served(monkeypatch):
    """Return what serves bytes: everything that was answered, and the first exit's code."""
    codes = []

    def leave(code):
        codes.append(code)
        raise Left

    def serve(service, *sent, lock=lambda *_, **__: None):
        ours, theirs = socket.socketpair()
        monkeypatch.setattr(lockdown, "lock_worker", lock)
        monkeypatch.setattr(worker, "SOCKET", theirs.fileno())
        monkeypatch.setattr(worker.os, "_exit", leave)
        with ours, theirs:
            ours.sendall(b"".join(sent))
            ours.shutdown(socket.SHUT_WR)
            with pytest.raises(Left):
                worker.serve_once(service, None, socket=theirs.fileno())
            theirs.shutdown(socket.SHUT_WR)
            answered = b"".join(iter(lambda: ours.recv(1 << 16), b""))
        return answered, codes[0]

    return serve


READY = wire.frame(wire.READY)
ANSWERED = (
    READY
    + wire.frame(wire.TOKENS, wire.JOB + b"job")
    + wire.frame(wire.END, wire.encode({"reason": "stop"}))
)


def test_worker_says_ready_answers_one_job_and_leaves(served):
    job = wire.frame(wire.JOB, b"job")
    assert served(Service(), job, job) == (ANSWERED, worker.DONE)


def test_worker_that_rehearsed_answers_the_job_behind_it(served):
    service = Service()
    sent = served(service, wire.frame(wire.REHEARSE), wire.frame(wire.JOB, b"job"))
    assert sent == (ANSWERED, worker.DONE)
    assert service.rehearsed == 1


@pytest.mark.parametrize("cut", [0, 1, wire.HEADER_BYTES, len(wire.frame(wire.JOB, b"job")) - 1])
def test_worker_that_the_gateway_lets_go_of_has_no_more_to_say(served, cut):
    answered, code = served(Service(), wire.frame(wire.JOB, b"job")[:cut])
    assert answered.startswith(READY)
    assert code == worker.DONE
    assert wire.frame(wire.TOKENS, wire.JOB + b"job") not in answered


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GrammarRefused("The grammar is too large."), b"GrammarRefused: The grammar is too large."),
        (ValueError("the prompt's words"), b"ValueError"),
        (MemoryError(), b"MemoryError"),
    ],
)
def test_failure_is_told_by_its_name_and_only_ours_by_a_sentence(served, error, told):
    answered, code = served(Service(error), wire.frame(wire.JOB, b"job"))
    assert answered == READY + wire.frame(wire.FAILED, told)
    assert code == worker.FAILED


def test_worker_without_a_wall_never_says_that_it_is_ready(served):
    def refuse(*_, **__):
        raise SandboxUnavailable("SANDBOX_UNAVAILABLE: Landlock is not in force")

    answered, code = served(Service(), lock=refuse)
    body = b"SandboxUnavailable: SANDBOX_UNAVAILABLE: Landlock is not in force"
    assert (answered, code) == (wire.frame(wire.FAILED, body), worker.FAILED)


def test_worker_whose_gateway_is_gone_fails_in_silence(monkeypatch):
    reading, writing = os.pipe()
    os.close(writing)
    monkeypatch.setattr(worker, "SOCKET", reading)
    worker._report(ValueError())
    os.close(reading)


def test_answer_larger_than_the_sockets_buffer_arrives_whole(monkeypatch):
    ours, theirs = socket.socketpair()
    data = os.urandom(1 << 20)
    received = bytearray()

    def read():
        while part := ours.recv(1 << 16):
            received.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setattr(worker, "SOCKET", theirs.fileno())
    worker._write(data)
    theirs.close()
    reader.join(timeout=60)
    ours.close()
    assert received == data
