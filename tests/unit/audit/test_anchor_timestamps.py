"""RFC 3161: a stamp over the checkpoint, by an authority whose root is known."""

import pytest

from audit import anchoring
from audit.errors import AnchorFailed, LogTampered
from tests.witness_server import listening

pytest.importorskip("rfc3161_client", reason="the extra `anchors` is not installed")
pytest.importorskip("asn1crypto", reason="asn1crypto is not installed")

from rfc3161_client import decode_timestamp_response

from audit.anchors.timestamp import TimestampAuthority
from tests.timestamp_authority import GENERATED, Authority

REPLY = "application/timestamp-reply"
NOW_MS = 1_790_000_000_000


@pytest.fixture
def filled(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(3)))
    return log


@pytest.fixture
def authority():
    server = Authority()
    with listening({"/tsa": lambda body: (200, REPLY, server.stamp(body))}) as url:
        yield server, TimestampAuthority(f"{url}/tsa", (server.root,))


def attempt(log, place):
    (told,) = anchoring.anchor(log.engine, [place], now_ms=NOW_MS)
    return told.problem


def test_stamp_holds_and_tells_the_authoritys_time(filled, authority):
    _, client = authority
    assert attempt(filled, client) is None
    note = filled.verify().note
    receipt = client.keep(note, since=0, proof_from=lambda _: [], now_ms=NOW_MS)
    assert decode_timestamp_response(receipt).tst_info.gen_time == GENERATED
    assert [head.size for head in anchoring.check(filled.engine, [client], **filled.trust)] == [3]


def test_stamp_of_another_checkpoint_does_not_hold(filled, authority, make):
    _, client = authority
    attempt(filled, client)
    filled.sql(["UPDATE anchor SET note = replace(note, 'A', 'B')"])
    with pytest.raises(LogTampered):
        anchoring.check(filled.engine, [client], **filled.trust)


def test_stamp_by_another_root_does_not_hold(filled, authority):
    server, client = authority
    stranger = TimestampAuthority(client.url, (Authority().root,))
    assert "does not hold" in attempt(filled, stranger)
    assert attempt(filled, TimestampAuthority(client.url, (server.root,))) is None


def test_stamp_that_was_replayed_does_not_hold(filled, authority):
    server, client = authority
    server.mangle = lambda info: info | {"nonce": 12}
    assert "does not hold" in attempt(filled, client)


@pytest.mark.parametrize(
    "answer",
    [(500, REPLY, b""), (200, "text/html", b"<p>"), (200, REPLY, b""), (200, REPLY, b"\x30\x00")],
)
def test_answer_that_is_no_stamp_is_refused(filled, authority, answer):
    with listening({"/tsa": lambda _: answer}) as url:
        client = TimestampAuthority(f"{url}/tsa", authority[1].roots)
        assert attempt(filled, client) is not None


def test_receipt_that_was_changed_does_not_hold(filled, authority):
    _, client = authority
    note = filled.verify().note
    receipt = bytearray(client.keep(note, since=0, proof_from=lambda _: [], now_ms=NOW_MS))
    receipt[-5] ^= 1
    with pytest.raises(AnchorFailed):
        client.check(note, bytes(receipt))
