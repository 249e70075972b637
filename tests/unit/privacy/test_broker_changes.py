"""What a serving gateway may change of the keys, and that a broker not told to allow it refuses."""

import socket
import threading

import pytest

from privacy.broker import BrokerClient, serve
from privacy.changes import KeyChanges, permitted
from privacy.errors import ChangeForbidden, DestructionUnconfirmed, KeyInUse, TransitionForbidden

ANN, BOB = "security:cred_1:Ann", "security:cred_2:Bob"


@pytest.fixture
def changes(tmp_path, keyring):
    """A client of a broker that may change keys."""
    ours, theirs = socket.socketpair()
    options = {"keyring": keyring, "models": tmp_path / "models", "changes": permitted(keyring)}
    thread = threading.Thread(target=serve, args=(theirs,), kwargs=options)
    thread.start()
    with ours, theirs:
        yield KeyChanges(BrokerClient(ours))
        ours.close()
        thread.join(timeout=20)
        assert not thread.is_alive()


def rotate(changes, name="watermark"):
    changes.prepare(name, actor=ANN, reason="yearly")
    changes.activate(name, actor=ANN, reason="yearly")


def test_broker_that_was_not_told_to_changes_nothing(broker, keyring):
    before = keyring.snapshot().content
    refused = KeyChanges(broker)
    for call in (
        refused.pending,
        lambda: refused.prepare("watermark", actor=ANN, reason="x"),
        lambda: refused.activate("watermark", actor=ANN, reason="x"),
        lambda: refused.request_destruction("watermark@1", actor=ANN, reason="x", window_s=60),
        lambda: refused.confirm_destruction("watermark@1", actor=BOB, reason="x"),
        lambda: refused.settle([]),
    ):
        with pytest.raises(ChangeForbidden):
            call()
    assert keyring.snapshot().content == before


def test_rotation_names_who_and_why_until_the_log_has_it(changes, keyring):
    rotate(changes)
    assert keyring.active_epoch("watermark") == 2
    waiting = changes.pending().transitions
    assert [(each.key, each.new) for each in waiting[-3:]] == [
        ("watermark@2", "pre-active"),
        ("watermark@1", "decrypt-only"),
        ("watermark@2", "active"),
    ]
    assert {(each.actor, each.reason) for each in waiting[-3:]} == {(ANN, "yearly")}
    changes.settle([each.id for each in waiting])
    assert changes.pending().transitions == []


@pytest.mark.parametrize("name", ["kek", "model:small", "watermark@1"])
def test_what_is_not_rotated_by_epoch_is_not_rotated_here(changes, name):
    with pytest.raises(TransitionForbidden):
        changes.prepare(name, actor=ANN, reason="x")


def test_data_key_of_a_model_is_not_destroyed_here(changes, keyring):
    keyring.store_data_key(keyring.fresh_data_key("small"))
    keyring.accept_generation("small", 1)
    before = keyring.snapshot().content
    for call in (changes.request_destruction, changes.confirm_destruction):
        more = {"window_s": 600} if call == changes.request_destruction else {}
        with pytest.raises(TransitionForbidden):
            call("model:small@1", actor=ANN, reason="x", **more)
    assert keyring.snapshot().content == before


def test_key_is_destroyed_by_two_and_by_no_one_alone(changes, keyring):
    with pytest.raises(KeyInUse):
        changes.request_destruction("watermark@1", actor=ANN, reason="x", window_s=600)
    rotate(changes)
    with pytest.raises(DestructionUnconfirmed):
        changes.confirm_destruction("watermark@1", actor=BOB, reason="x")
    changes.request_destruction("watermark@1", actor=ANN, reason="leaked", window_s=600)
    (asked,) = changes.pending().destructions
    assert (asked.key, asked.actor, asked.reason) == ("watermark@1", ANN, "leaked")
    with pytest.raises(DestructionUnconfirmed):
        changes.confirm_destruction("watermark@1", actor=ANN, reason="x")
    assert keyring.epochs("watermark") == [2, 1]
    changes.confirm_destruction("watermark@1", actor=BOB, reason="x")
    assert keyring.epochs("watermark") == [2]
    last = changes.pending().transitions[-1]
    assert (last.new, last.actor, last.confirmed_by) == ("destroyed", ANN, BOB)


def test_window_is_bounded_whatever_is_asked(changes):
    rotate(changes)
    changes.request_destruction("watermark@1", actor=ANN, reason="x", window_s=10**9)
    (asked,) = changes.pending().destructions
    assert asked.expires_s - asked.requested_s == 86_400
