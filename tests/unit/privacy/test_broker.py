import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

import privacy.errors
from privacy import calls, frames
from privacy.broker import BrokerClient, serve
from privacy.errors import (
    AssetUnknown,
    BrokerGone,
    FrameInvalid,
    KeyUnknown,
    PrivacyError,
    SealBroken,
    SealMissing,
    WeightsUndelivered,
)
from privacy.memory import SEALS
from tests import descriptors


@pytest.fixture
def exchange():
    """Answer one call with given bytes, as a broken or strange broker would."""

    def _exchange(answer):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            return BrokerClient(ours).public_key("seal")

    return _exchange


def received(receiver):
    """Receive what the broker delivered: its head and the memory file's bytes and seals."""
    first, (descriptor,), _, _ = socket.recv_fds(receiver, 1, 1)
    try:
        with receiver.makefile("rb") as stream:
            data = first + stream.read(3)
            head = json.loads(stream.read(int.from_bytes(data, "big")))
        size = os.fstat(descriptor).st_size
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        return head, os.pread(descriptor, size, 0), seals
    finally:
        os.close(descriptor)


def test_a_client_gets_what_the_keyring_gives(keyring, broker):
    keyring.rotate("watermark")
    assert broker.active_epoch("watermark") == 2
    for epoch in (None, 1, 2):
        derived = broker.derive("watermark", b"\xff\x00", b"", epoch=epoch)
        assert derived == keyring.derive("watermark", b"\xff\x00", b"", epoch=epoch)
    assert broker.public_key("checkpoint") == keyring.public_key("checkpoint")
    assert broker.sign("report", b"digest") == keyring.sign("report", b"digest")
    assert broker.sign("report", b"") == keyring.sign("report", b"")


def test_many_keys_come_with_one_call(keyring, broker):
    contexts = [[b"a", b"bc"], [b"ab", b"c"], [], [b"a", b"bc"]]
    keyring.rotate("audit-hmac")
    for epoch in (None, 1, 2):
        each = broker.derive_each("audit-hmac", contexts, epoch)
        assert each == [broker.derive("audit-hmac", *c, epoch=epoch) for c in contexts]
        assert each == [keyring.derive("audit-hmac", *c, epoch=epoch) for c in contexts]
        assert len(set(each)) == 3
    assert broker.derive_each("audit-hmac", [], None) == []


def test_a_client_reads_sealed_models(broker, model, seal):
    made = seal()
    manifest = broker.manifest("small")
    assert manifest["model_digest"] == made.model_digest
    assert manifest["generation"] == 1
    assert manifest["config"] == model["config"]
    assert broker.asset("small", "tokenizer.json") == model["assets"]["tokenizer.json"]
    assert broker.asset("small", "empty") == b""


@pytest.mark.parametrize("blocking", [True, False])
def test_weights_arrive_as_one_sealed_memory_file(broker, model, seal, blocking):
    seal()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(blocking)
        broker.send_weights("small", theirs)
        assert theirs.getblocking() is blocking
        theirs.close()
        head, content, seals = received(ours)
        assert ours.recv(1) == b""
    assert seals == SEALS
    assert head["config"] == model["config"]
    assert content[: head["graph"]["length"]] == model["graph"]
    for tensor in head["tensors"]:
        assert set(tensor) == {"name", "dtype", "shape", "offset", "length"}
        data = content[tensor["offset"] :][: tensor["length"]]
        back = np.frombuffer(data, tensor["dtype"]).reshape(tensor["shape"])
        assert np.array_equal(back, model["tensors"][tensor["name"]])


def test_a_long_head_reaches_a_slow_receiver(broker, seal):
    seal(tensors={f"tensor {number} {'x' * 60}": np.ones(1) for number in range(4000)})
    ours, theirs = socket.socketpair()
    heads = []
    thread = threading.Thread(target=lambda: heads.append(received(ours)[0]))
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        thread.start()
        broker.send_weights("small", theirs)
        thread.join()
    assert len(heads[0]["tensors"]) == 4000


def test_a_receiver_that_left_is_an_error_and_the_broker_stays(broker, seal):
    seal()
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(WeightsUndelivered):
        broker.send_weights("small", theirs)
    assert broker.active_epoch("watermark") == 1


def test_a_receiver_that_does_not_read_is_given_up(broker, seal, monkeypatch):
    monkeypatch.setattr("privacy.delivery.TIMEOUT_S", 0.05)
    seal(tensors={f"tensor {number} {'x' * 60}": np.ones(1) for number in range(4000)})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with pytest.raises(WeightsUndelivered):
            broker.send_weights("small", theirs)


def test_weights_of_the_announced_generation_are_sent_after_a_new_seal(broker, seal):
    seal(graph=b"old")
    assert broker.manifest("small")["generation"] == 1
    seal(graph=b"new")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        broker.send_weights("small", theirs)
        assert received(ours)[1][:3] == b"old"
        assert broker.manifest("small")["generation"] == 2
        broker.send_weights("small", theirs)
        assert received(ours)[1][:3] == b"new"


def test_errors_keep_their_class_and_the_broker_goes_on(tmp_path, broker, seal):
    seal()
    path = tmp_path / "models" / "broken.sealed"
    path.write_bytes(b"not sealed")
    for error, ask in (
        (KeyUnknown, lambda: broker.derive("other")),
        (KeyUnknown, lambda: broker.derive("watermark", epoch=9)),
        (KeyUnknown, lambda: broker.sign("other", b"")),
        (AssetUnknown, lambda: broker.asset("small", "absent")),
        (SealMissing, lambda: broker.manifest("absent")),
        (SealMissing, lambda: broker.manifest("../models/small")),
        (SealBroken, lambda: broker.manifest("broken")),
    ):
        with pytest.raises(error) as raised:
            ask()
        assert type(raised.value) is error
    assert broker.active_epoch("watermark") == 1


def test_the_broker_signs_no_seals(broker):
    with pytest.raises(KeyUnknown):
        broker.sign("seal", b"a manifest")


def test_a_model_under_another_name_is_refused(tmp_path, broker, seal):
    seal()
    (tmp_path / "models" / "small.sealed").rename(tmp_path / "models" / "other.sealed")
    with pytest.raises(SealBroken, match="name"):
        broker.manifest("other")


def test_an_unforeseen_failure_says_its_class_alone(broker, keyring, monkeypatch):
    def fail(*_, **__):
        raise OSError(5, "secret detail")

    monkeypatch.setattr(keyring, "derive_each", fail)
    with pytest.raises(PrivacyError, match="OSError") as raised:
        broker.derive("watermark")
    assert "secret" not in str(raised.value)


def test_many_threads_share_one_client(keyring, broker):
    wrong = []

    def ask(number):
        context = number.to_bytes(2, "big")
        keys = {broker.derive("watermark", context) for _ in range(25)}
        if keys != {keyring.derive("watermark", context)}:
            wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_overlong_call_is_refused_before_it_is_sent(broker):
    for ask in (
        lambda: broker.sign("report", bytes(frames.CALL_TAIL_LIMIT_BYTES + 1)),
        lambda: broker.derive("watermark", bytes(frames.HEAD_LIMIT_BYTES)),
    ):
        with pytest.raises(FrameInvalid):
            ask()
    assert broker.active_epoch("watermark") == 1


def frame(head, tail=b"", magic=b"SGB\x01"):
    return struct.pack(">4sII", magic, len(head), len(tail)) + head + tail


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SGB",
        frame(b"{}", magic=b"SGB\x02"),
        frame(b"{}", b"tail")[:-1],
        struct.pack(">4sII", b"SGB\x01", frames.HEAD_LIMIT_BYTES + 1, 0),
        struct.pack(">4sII", b"SGB\x01", 2, frames.ANSWER_TAIL_LIMIT_BYTES + 1),
    ],
)
def test_a_broker_that_breaks_off_is_gone(exchange, answer):
    with pytest.raises(BrokerGone):
        exchange(answer)


def test_an_unknown_error_class_is_the_root(exchange):
    for name in ("Exception", "SystemExit", "__doc__", "Unheard"):
        with pytest.raises(PrivacyError) as raised:
            exchange(frame(json.dumps({"error": name, "message": "why"}).encode()))
        assert type(raised.value) is PrivacyError
        assert str(raised.value) == "why"


def test_every_error_is_re_raised_by_its_name(exchange):
    kinds = [
        kind
        for kind in vars(privacy.errors).values()
        if isinstance(kind, type) and issubclass(kind, PrivacyError)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        with pytest.raises(kind) as raised:
            exchange(frame(json.dumps({"error": kind.__name__, "message": "why"}).encode()))
        assert type(raised.value) is kind


@pytest.mark.parametrize(
    "call",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"not json"),
        frame(b'{"call": "unknown"}'),
        frame(b'{"call": "derive", "purpose": "watermark", "contexts": [["%"]], "epoch": 1}'),
        frame(b'{"call": "sign", "name": "report", "extra": 1}'),
        struct.pack(">4sII", b"SGB\x01", 2, frames.CALL_TAIL_LIMIT_BYTES + 1),
        frame(b"{}")[:-1],
    ],
)
def test_a_client_that_does_not_speak_the_protocol_ends_the_broker(tmp_path, keyring, call):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(call)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameInvalid):
            serve(theirs, keyring=keyring, models=tmp_path)


def test_a_descriptor_that_nobody_asked_for_is_closed(tmp_path, keyring):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        call = b'{"call": "active_epoch", "purpose": "watermark"}'
        with descriptors.none_left():
            frames.send_frame(ours, call, descriptors=[0])
            ours.shutdown(socket.SHUT_WR)
            serve(theirs, keyring=keyring, models=tmp_path)
        assert json.loads(ours.recv(100)[12:]) == {"value": 1}


def test_weights_to_something_that_is_no_socket_are_refused(broker, seal, tmp_path):
    seal()
    with (tmp_path / "file").open("wb") as file, pytest.raises(PrivacyError):
        broker.send_weights("small", file)
    assert broker.active_epoch("watermark") == 1


SERVE = """
import socket, sys
from pathlib import Path
from privacy.broker import serve
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
home = Path(sys.argv[1])
with socket.socket(fileno=int(sys.argv[2])) as connection:
    keyring = Keyring.unlock(home / "keyring", KeyFile(home / "secret" / "key"))
    serve(connection, keyring=keyring, models=home / "models")
"""


def test_a_broker_in_its_own_process_ends_with_its_client(tmp_path, keyring, seal):
    made = seal()
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        client = BrokerClient(ours)
        assert client.manifest("small")["model_digest"] == made.model_digest
        assert client.derive("watermark", b"x") == keyring.derive("watermark", b"x")
        ours.close()
        assert process.wait(timeout=20) == 0


def test_a_killed_broker_is_gone(tmp_path, keyring):
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        client = BrokerClient(ours)
        assert client.active_epoch("watermark") == 1
        process.kill()
        process.wait()
        for _ in range(2):
            with pytest.raises(BrokerGone):
                client.active_epoch("watermark")


@pytest.mark.parametrize("ask", ["active_epoch", "epochs"])
def test_an_answer_without_what_was_asked_for_is_no_answer(ask):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(b"{}"))
        with pytest.raises(FrameInvalid, match="Start the gateway again"):
            getattr(BrokerClient(ours), ask)("watermark")


def test_epochs_and_public_keys_are_the_keyrings_the_active_one_first(keyring, broker):
    for name in ("watermark", "checkpoint"):
        keyring.rotate(name)
    assert broker.epochs("watermark") == keyring.epochs("watermark") == [2, 1]
    assert broker.public_keys("checkpoint") == keyring.public_keys("checkpoint")
    assert len(set(broker.public_keys("checkpoint"))) == 2


def test_weights_are_not_sent_to_nowhere(broker, seal):
    seal()
    with pytest.raises(FrameInvalid, match="without its socket"):
        broker.ask(calls.SendWeights("small"))
    assert broker.manifest("small")["generation"] == 1


def test_a_descriptor_of_a_broken_frame_is_closed(tmp_path, keyring):
    ours, theirs = socket.socketpair()
    with ours, theirs, descriptors.none_left():
        socket.send_fds(ours, [frame(b"{}", magic=b"SGB\x02")], [0])
        with pytest.raises(FrameInvalid):
            serve(theirs, keyring=keyring, models=tmp_path)
