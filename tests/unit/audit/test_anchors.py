"""Anchors: what another hand kept, and what a log with another history says to it."""

import json
import shutil

import pytest

from audit import anchoring
from audit.anchors.file import FileAnchor
from audit.anchors.witness import Witness, WitnessKey, cosigned_at
from audit.checkpoint import Checkpoint, VerifierKey, sign
from audit.errors import AnchorFailed, LogTampered, TileUnknown
from tests.witness_server import NOW_S, listening
from tests.witness_server import Witness as WitnessServer

NOW_MS = 1_790_000_000_000


@pytest.fixture
def grown(log, make):
    """Grows the log by entries of fresh names."""
    count = iter(range(10_000))

    def grow(number=1, into=None):
        return (into or log).record(*(make.system(f"sys_{next(count)}") for _ in range(number)))

    grow(5)
    return grow


@pytest.fixture
def file(tmp_path):
    return FileAnchor(tmp_path / "anchors.jsonl")


def attempt(log, *places):
    return anchoring.anchor(log.engine, places, now_ms=NOW_MS)


def check(log, *places):
    return anchoring.check(log.engine, places, **log.trust)


def check_newest(log, *places):
    return anchoring.check_newest(log.engine, places, **log.trust)


def lines(file):
    return [json.loads(line) for line in file.path.read_text("utf-8").splitlines()]


def test_unanchored_log_says_so(log, grown):
    assert anchoring.anchored(log.engine) == []


def test_empty_log_has_nothing_to_anchor(log, file):
    with pytest.raises(TileUnknown):
        attempt(log, file)


def test_file_gets_each_checkpoint_once(log, grown, file):
    assert [each.problem for each in attempt(log, file)] == [None]
    assert attempt(log, file) == []
    grown(3)
    attempt(log, file)
    assert [line["checkpoint"].split("\n")[1] for line in lines(file)] == ["5", "8"]
    assert lines(file)[0]["format"] == "sealgate-anchor-v1"
    grown(2)
    (state,) = anchoring.anchored(log.engine)
    assert (state.kind, state.place, state.size, state.behind) == ("file", file.place, 8, 2)
    assert [head.size for head in check(log, file)] == [8]


def test_attempt_tells_how_long_entries_waited_and_whether_any_is_news(log, grown, make, file):
    (first,) = attempt(log, file)
    written_ms = make.system("x")["time"]
    assert (first.lag_ms, first.news) == (NOW_MS - written_ms, True)
    own = make.system("own")
    log.record(own | {"api": own["api"] | {"operation": anchoring.ANCHORED}})
    (second,) = attempt(log, file)
    assert second.news is False
    assert attempt(log, file) == []


def test_file_that_cannot_be_written_is_told_and_stops_nothing(log, grown, tmp_path):
    gone = FileAnchor(tmp_path / "nowhere" / "anchors.jsonl")
    (told,) = attempt(log, gone)
    assert "No such file" in told.problem
    assert anchoring.anchored(log.engine) == []
    grown(1)


@pytest.mark.parametrize("checking", [check, check_newest])
@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("", "utf-8"),
        lambda path: path.write_text(path.read_text("utf-8").splitlines(True)[0], "utf-8"),
        lambda path: path.write_text(path.read_text("utf-8")[:-1], "utf-8"),
        lambda path: path.write_text(path.read_text("utf-8") + "{}\n", "utf-8"),
        lambda path: path.write_text(path.read_text("utf-8") + "no\n", "utf-8"),
    ],
    ids=["deleted", "emptied", "last line cut", "half a line", "foreign line", "no JSON"],
)
def test_removed_anchor_is_found(log, grown, file, checking, harm):
    attempt(log, file)
    grown(1)
    attempt(log, file)
    harm(file.path)
    with pytest.raises((LogTampered, AnchorFailed)):
        checking(log, file)


@pytest.mark.parametrize("checking", [check, check_newest])
def test_log_of_another_history_contradicts_the_anchor(
    log, grown, file, new_log, tmp_path, checking
):
    log.close()
    shutil.copy(log.path, tmp_path / "fork.db")
    again, fork = new_log(log.path).start(), new_log(tmp_path / "fork.db").start()
    grown(3, into=again)
    attempt(again, file)
    grown(3, into=fork)
    fork.verify()
    with pytest.raises(LogTampered, match="does not extend"):
        checking(fork, file)


@pytest.mark.parametrize("checking", [check, check_newest])
def test_log_restored_from_an_older_copy_contradicts_the_anchor(
    log, grown, file, new_log, tmp_path, checking
):
    log.close()
    shutil.copy(log.path, tmp_path / "old.db")
    again = new_log(log.path).start()
    grown(3, into=again)
    attempt(again, file)
    old = new_log(tmp_path / "old.db").start()
    with pytest.raises(LogTampered, match="8 entries that the log does not extend"):
        checking(old, file)


def test_shorter_of_two_anchored_histories_is_held_against_the_log(log, grown, file):
    # Who holds the key anchors a second history of the same log, longer than the first.
    attempt(log, file)
    rewritten = Checkpoint(log.origin, 3, bytes(32))
    other = sign(rewritten, public_key=log.public_key, signer=log.key.sign)
    file.keep(other, since=0, proof_from=lambda _: [], now_ms=NOW_MS)
    with pytest.raises(LogTampered, match="does not extend"):
        check(log, file)


def test_anchor_whose_key_was_revoked_since_still_holds(log, grown, file):
    attempt(log, file)
    stranger = {"origin": log.origin, "public_key": bytes(31) + b"\x01"}
    (head,) = anchoring.check(log.engine, [file], **stranger)
    assert head.size == 5


def test_anchor_of_another_key_is_found(log, grown, file, new_log, tmp_path):
    other = new_log(tmp_path / "other.db", seed=bytes(32)).start()
    grown(1, into=other)
    attempt(other, file)
    with pytest.raises(LogTampered, match="never signed"):
        check(log, file)


@pytest.fixture
def witness(log):
    """A witness that knows the log, its server, and the client for it."""
    server = WitnessServer(VerifierKey(log.origin, log.public_key).encode())

    def answer(body):
        status, text = server.add_checkpoint(body.decode())
        return status, "text/x.tlog.size" if status == 409 else "text/plain", text.encode()

    with listening({"/w/add-checkpoint": answer}) as url:
        yield server, Witness(f"{url}/w/", WitnessKey.decode(server.vkey))


def test_witness_signs_what_only_grew(log, grown, witness):
    server, client = witness
    assert [each.problem for each in attempt(log, client)] == [None]
    grown(7)
    assert [each.problem for each in attempt(log, client)] == [None]
    assert (server.size, server.asked) == (12, [0, 5])
    (state,) = anchoring.anchored(log.engine)
    assert (state.kind, state.place, state.size) == ("witness", "witness.test/one", 12)
    assert [head.size for head in check(log, client)] == [12]


def test_cosigned_checkpoint_is_a_checkpoint_and_tells_the_time(log, grown, witness):
    _, client = witness
    note = log.verify().note
    receipt = client.keep(note, since=0, proof_from=lambda _: [], now_ms=NOW_MS).decode()
    assert cosigned_at(receipt, note, client.key) == NOW_S
    head = anchoring.checkpoint.verify(receipt, **log.trust)
    assert head.size == 5


def test_witness_that_knows_more_than_we_remember_names_its_size(log, grown, witness):
    server, client = witness
    attempt(log, client)
    log.sql(["DELETE FROM anchor"])
    grown(2)
    assert [each.problem for each in attempt(log, client)] == [None]
    assert server.asked == [0, 0, 5]


def test_witness_signs_no_other_history(log, grown, witness, new_log, tmp_path):
    server, client = witness
    log.close()
    shutil.copy(log.path, tmp_path / "fork.db")
    again, fork = new_log(log.path).start(), new_log(tmp_path / "fork.db").start()
    grown(3, into=again)
    attempt(again, client)
    grown(4, into=fork)
    (told,) = attempt(fork, client)
    assert "422" in told.problem
    assert server.size == 8


def test_witness_signs_no_older_log(log, grown, witness, new_log, tmp_path):
    _, client = witness
    log.close()
    shutil.copy(log.path, tmp_path / "old.db")
    again = new_log(log.path).start()
    grown(3, into=again)
    attempt(again, client)
    (told,) = attempt(new_log(tmp_path / "old.db").start(), client)
    assert "knows 8 entries; the log has 5" in told.problem


@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/plain", b""),
        (200, "text/plain", "\u2014 witness.test/one AAAA\n".encode()),
        (200, "text/plain", b"\xff\n"),
        (409, "text/x.tlog.size", b"many\n"),
        (409, "text/x.tlog.size", b"5\n"),
        (500, "text/plain", b"no"),
        (200, "text/plain", b"x" * ((1 << 20) + 1)),
    ],
    ids=["nothing", "short", "no text", "no size", "conflict again", "error", "too much"],
)
def test_answer_that_is_no_cosignature_is_refused(log, grown, witness, answer):
    server, _ = witness
    with listening({"/add-checkpoint": lambda _: answer}) as url:
        client = Witness(url, WitnessKey.decode(server.vkey))
        (told,) = attempt(log, client)
    assert told.problem is not None
    assert anchoring.anchored(log.engine) == []


def test_cosignature_of_another_key_or_text_does_not_hold(log, grown, witness):
    server, client = witness
    note = log.verify().note
    receipt = client.keep(note, since=0, proof_from=lambda _: [], now_ms=NOW_MS)
    grown(1)
    with pytest.raises(AnchorFailed, match="another checkpoint"):
        client.check(log.verify().note, receipt)
    stamp = bytearray(receipt)
    stamp[-20] ^= 1
    with pytest.raises(AnchorFailed):
        client.check(note, bytes(stamp))
    with pytest.raises(AnchorFailed):
        WitnessKey.decode(server.vkey.replace("one", "two"))


@pytest.mark.parametrize("vkey", ["", "a+b", "a+00000000+AAAA", "w+12345678+" + "A" * 44])
def test_what_is_no_witness_key_is_refused(vkey):
    with pytest.raises(AnchorFailed):
        WitnessKey.decode(vkey)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://127.0.0.1:1/"])
def test_place_that_cannot_be_reached_is_told(log, grown, witness, url):
    (told,) = attempt(log, Witness(url, witness[1].key))
    assert told.problem is not None
