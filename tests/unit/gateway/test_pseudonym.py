"""A request may name whom it concerns; the intent holds the name, and nothing else does."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from audit import events
from gateway import logbook
from gateway.api import asking
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from gateway.question import Question

MODEL = SimpleNamespace(
    model_id="smol", digest="sha256:" + "cd" * 32, generation=1, training_certificate=None
)


def pseudonym(*headers):
    return asking._pseudonym({"headers": list(headers)})


def entry(pseudonym):
    question = Question(
        request_id="req_1",
        principal=Principal("cred_1", "clinic", "app", Role.CLIENT),
        model=MODEL,
        operation="chat.completions.create",
        prompt=[1, 2],
        body=b"{}",
        choices=1,
        max_tokens=4,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        stops=(),
        seed=None,
        source_ip=None,
        pseudonym=pseudonym,
    )
    intent = logbook.intent(
        question, epoch=1, trace_ids=[7], prompt_hmac="ab" * 32, now=datetime.now(UTC)
    )
    return events.encode(intent)


def test_pseudonym_of_the_header_is_read_and_stands_in_the_intent():
    assert pseudonym((b"x-sealgate-pseudonym", b"ps_7:a.b-c")) == "ps_7:a.b-c"
    assert entry("ps_7:a.b-c").pseudonym == "ps_7:a.b-c"


def test_request_without_the_header_concerns_nobody():
    assert pseudonym() is None
    assert entry(None).pseudonym is None
    assert b"pseudonym" not in entry(None).body


@pytest.mark.parametrize("given", [b"", b"Jane Doe", b"a" * 129, b"a\nb", "\u00fc".encode()])
def test_what_is_no_pseudonym_is_refused_by_name(given):
    with pytest.raises(RequestRefused) as refused:
        pseudonym((b"x-sealgate-pseudonym", given))
    assert (refused.value.status, refused.value.param) == (400, "x-sealgate-pseudonym")
