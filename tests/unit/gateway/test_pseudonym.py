"""A request may name whom it concerns; the intent holds the name, and nothing else does."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from audit import events
from gateway import logbook
from gateway.api.asgi import REQUEST_ID
from gateway.api.asking import Asked, Asking
from gateway.errors import RequestRefused
from gateway.identity import Principal, Role
from gateway.settings import Settings
from sandbox.wire import Shaping

MODEL = SimpleNamespace(
    model_id="smol", digest="sha256:" + "cd" * 32, generation=1, context_length=100
)
SAMPLING = SimpleNamespace(
    n=1, temperature=None, top_p=None, top_k=None, stops=(), seed=None, shaping=Shaping
)


def question(*headers):
    scope = {REQUEST_ID: "req_1", "headers": list(headers), "client": ("127.0.0.1", 1)}
    asked = Asked(scope, Principal("cred_1", "clinic", "app", Role.CLIENT), "chat", b"{}")
    return Asking(Settings(), None).question(
        asked, SAMPLING, model=MODEL, prompt=[1, 2], token_limit=4
    )


def entry(question):
    return events.encode(
        logbook.intent(
            question, epoch=1, trace_ids=[7], prompt_hmac="ab" * 32, now=datetime.now(UTC)
        )
    )


def test_pseudonym_of_the_header_stands_in_the_intent():
    assert entry(question((b"x-sealgate-pseudonym", b"ps_7:a.b-c"))).pseudonym == "ps_7:a.b-c"


def test_request_without_the_header_concerns_nobody():
    assert question().pseudonym is None
    assert entry(replace(question(), pseudonym=None)).pseudonym is None


@pytest.mark.parametrize("given", [b"", b"Jane Doe", b"a" * 129, b"a\nb", "\u00fc".encode()])
def test_what_is_no_pseudonym_is_refused_by_name(given):
    with pytest.raises(RequestRefused) as refused:
        question((b"x-sealgate-pseudonym", given))
    assert (refused.value.status, refused.value.param) == (400, "x-sealgate-pseudonym")
