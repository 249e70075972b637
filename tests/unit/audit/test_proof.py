"""Proof documents: what a stranger accepts, and every way to bend one."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.checkpoint import VerifierKey
from audit.errors import ProofInvalid, RequestUnknown
from audit.verify import consistency, verify_consistency, verify_proof


@pytest.fixture
def log_of_seven(log, make):
    for number in range(3):
        log.record(make.intent(f"req_{number}"), make.outcome(f"req_{number}"))
    log.record(make.system("sys_0"))
    return log


@pytest.fixture
def document(log_of_seven):
    return log_of_seven.prove("req_1")


def encoded(data):
    return base64.b64encode(data).decode()


def bent(document, change):
    """Return the document after `change` worked on its decoded form."""
    fields = json.loads(document)
    change(fields)
    return json.dumps(fields)


def test_proof_shows_a_requests_entries(log_of_seven, document):
    proved = log_of_seven.verify_proof(document)
    assert proved.request_id == "req_1"
    assert [entry.index for entry in proved.entries] == [2, 3]
    assert [entry.event["sealgate"]["phase"] for entry in proved.entries] == ["intent", "outcome"]
    assert (proved.checkpoint.origin, proved.checkpoint.size) == (log_of_seven.origin, 7)
    assert log_of_seven.verify_proof(document.encode()) == proved


def test_stranger_checks_the_proof_from_the_format_page_alone(log_of_seven, document):
    """A verifier of its own, of docs/formats/log-v1.md: no code of the package."""
    vkey = VerifierKey(log_of_seven.origin, log_of_seven.public_key).encode()
    name, key_id, material = vkey.split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(material)[1:])
    for entry in json.loads(document)["entries"]:
        top, note = entry["proof"].split("\n\n", 1)
        header, index, *path = top.split("\n")
        assert header == "c2sp.org/tlog-proof@v1"
        text, signature = note.split("\n\n— ")
        origin, size, root = text.split("\n")
        signer, blob = signature.split()
        raw = base64.b64decode(blob)
        assert (origin, signer, raw[:4].hex()) == (name, name, key_id)
        public.verify(raw[4:], f"{text}\n".encode())
        here = hashlib.sha256(b"\x00" + base64.b64decode(entry["event"])).digest()
        position, last = int(index.removeprefix("index ")), int(size) - 1
        for sibling in map(base64.b64decode, path):
            while position == last and position % 2 == 0:
                position, last = position // 2, last // 2
            pair = sibling + here if position % 2 else here + sibling
            here = hashlib.sha256(b"\x01" + pair).digest()
            position, last = position // 2, last // 2
        assert encoded(here) == root


def test_proof_stays_valid_as_the_log_grows(log_of_seven, document, make):
    log_of_seven.record(*(make.system(f"more_{number}") for number in range(50)))
    log_of_seven.verify_proof(document)
    assert log_of_seven.verify_proof(log_of_seven.prove("req_1")).checkpoint.size == 57


def test_proof_of_one_entry_stays_small(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(1000)))
    proof = json.loads(log.prove("sys_500"))["entries"][0]["proof"]
    assert len(proof) < 1024


def test_unknown_request_has_no_proof(log_of_seven):
    with pytest.raises(RequestUnknown):
        log_of_seven.prove("req_none")


def test_other_key_or_origin_does_not_accept_the_proof(log_of_seven, document):
    with pytest.raises(ProofInvalid, match="does not hold"):
        verify_proof(document, origin=log_of_seven.origin, public_key=bytes(32))
    with pytest.raises(ProofInvalid, match="of the log"):
        verify_proof(document, origin="other.test/log", public_key=log_of_seven.public_key)


def change_event(fields):
    event = base64.b64decode(fields["entries"][1]["event"])
    changed = event.replace(b'"latency_ms":812', b'"latency_ms":813')
    fields["entries"][1]["event"] = encoded(changed)


def respell_event(fields):
    event = base64.b64decode(fields["entries"][0]["event"])
    fields["entries"][0]["event"] = encoded(event + b"\n")


def claim_another_index(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"].replace("index 2", "index 0")


def claim_index_with_zeros(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"].replace("index 2", "index 02")


def leave_out_the_word_index(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"].replace("index 2", "2")


def pad(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"].replace("\n\n", f"\n{encoded(bytes(32))}\n\n", 1)


def cut(fields):
    entry = fields["entries"][0]
    lines = entry["proof"].split("\n")
    del lines[2]
    entry["proof"] = "\n".join(lines)


def strip_signature(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"][: entry["proof"].rindex("\n\n") + 1]


def enlarge_size(fields):
    entry = fields["entries"][0]
    entry["proof"] = entry["proof"].replace("\n7\n", "\n8\n")


def name_another_request(fields):
    fields["request_id"] = "req_2"


def exchange_proofs(fields):
    first, second = fields["entries"]
    first["proof"], second["proof"] = second["proof"], first["proof"]


def reverse(fields):
    fields["entries"].reverse()


def repeat(fields):
    fields["entries"].append(fields["entries"][1])


def empty(fields):
    fields["entries"] = []


def add_member(fields):
    fields["verdict"] = "innocent"


def add_member_to_entry(fields):
    fields["entries"][0]["verdict"] = "innocent"


def other_format(fields):
    fields["format"] = "sealgate-proof-v2"


def nothing_in_an_entry(fields):
    fields["entries"][0] = None


def number_as_event(fields):
    fields["entries"][0]["event"] = 7


def number_as_proof(fields):
    fields["entries"][0]["proof"] = 7


def loose_base64(fields):
    fields["entries"][0]["event"] += "\n"


BENDS = [
    change_event,
    respell_event,
    claim_another_index,
    claim_index_with_zeros,
    leave_out_the_word_index,
    pad,
    cut,
    strip_signature,
    enlarge_size,
    name_another_request,
    exchange_proofs,
    reverse,
    repeat,
    empty,
    add_member,
    add_member_to_entry,
    other_format,
    nothing_in_an_entry,
    number_as_event,
    number_as_proof,
    loose_base64,
]


@pytest.mark.parametrize("bend", BENDS, ids=lambda bend: bend.__name__)
def test_bent_proof_is_refused(log_of_seven, document, bend):
    with pytest.raises(ProofInvalid):
        log_of_seven.verify_proof(bent(document, bend))


def test_entries_under_different_checkpoints_are_refused(log_of_seven, document, make):
    log_of_seven.record(make.system("sys_1"))
    later = json.loads(log_of_seven.prove("req_1"))

    def mix(fields):
        fields["entries"][1] = later["entries"][1]

    with pytest.raises(ProofInvalid, match="different checkpoints"):
        log_of_seven.verify_proof(bent(document, mix))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"proof"', "null", "[" * 100_000, "\ud800"])
def test_what_is_no_document_is_refused(log_of_seven, text):
    with pytest.raises(ProofInvalid):
        log_of_seven.verify_proof(text)


def test_member_that_comes_twice_is_refused(log_of_seven, document):
    twice = document.replace('"request_id"', '"request_id": "req_9",\n "request_id"', 1)
    with pytest.raises(ProofInvalid, match="twice"):
        log_of_seven.verify_proof(twice)


def test_consistency_document_holds_only_as_it_was_made(log_of_seven, make):
    old = log_of_seven.verify().note
    log_of_seven.record(*(make.system(f"more_{number}") for number in range(9)))
    document = consistency(log_of_seven.engine, old, **log_of_seven.trust)
    proved = verify_consistency(document, **log_of_seven.trust)
    assert (proved.old.size, proved.new.size) == (7, 16)

    def swap(fields):
        fields["old"], fields["new"] = fields["new"], fields["old"]

    def shorten(fields):
        fields["hashes"].pop()

    def break_hash(fields):
        fields["hashes"][0] = encoded(bytes(32))

    def not_a_hash(fields):
        fields["hashes"][0] = "AAAA"

    for bend in (swap, shorten, break_hash, not_a_hash):
        with pytest.raises(ProofInvalid):
            verify_consistency(bent(document, bend), **log_of_seven.trust)
