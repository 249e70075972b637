"""What is refused: the envelope that clients read, and the entry that the log keeps of it."""

import json
import urllib.error
import urllib.request

import openai
import pytest

MODEL = "smollm2-135m"
HELLO = [{"role": "user", "content": "Hello."}]
CHAT = "/v1/chat/completions"


class Reply:
    """Status, headers and body of one response."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = json.loads(response.read())

    @property
    def error(self):
        return self.body["error"]

    @property
    def request_id(self):
        return self.headers["x-request-id"]


@pytest.fixture
def ask(gateway):
    """Send bytes to a route, as no client library would."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send(path, body=None, *, key="client", method=None):
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {gateway.keys.get(key, key)}"
        url = gateway.url + path
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - http
        try:
            with opener.open(request, timeout=60) as response:
                return Reply(response)
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error)

    return send


def chat(**fields):
    return json.dumps({"model": MODEL, "messages": HELLO, "max_tokens": 4} | fields).encode()


REFUSED = {
    "malformed JSON": (b'{"model": "smol', 400, "invalid_json", None),
    "not UTF-8": (b'{"model": "\xff"}', 400, "invalid_json", None),
    "nested too deeply": (
        b'{"model":"m","store":' + b"[" * 100_000,
        400,
        "invalid_json",
        None,
    ),
    "unknown model": (chat(model="gpt-9"), 404, "model_not_found", "model"),
    "no messages": (json.dumps({"model": MODEL}).encode(), 400, None, "messages"),
    "temperature that is a word": (chat(temperature="hot"), 400, None, "temperature"),
    "temperature out of range": (chat(temperature=3), 400, None, "temperature"),
    "too many choices": (chat(n=100), 400, None, "n"),
    "long stop string": (chat(stop="x" * 1000), 400, None, "stop"),
    "old functions": (chat(functions=[{"name": "f"}]), 400, "unsupported_parameter", "functions"),
    "tool without a function": (chat(tools=[{"type": "function"}]), 400, None, "tools"),
    "image": (
        chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        400,
        "unsupported_content",
        "messages",
    ),
    "lone surrogate": (
        b'{"model":"smollm2-135m","messages":[{"role":"user","content":"\\ud800"}]}',
        400,
        "invalid_json",
        None,
    ),
    "too many tokens": (chat(max_tokens=5000), 400, "max_tokens_exceeded", "max_tokens"),
    "context too long": (
        chat(messages=[{"role": "user", "content": "pain " * 9000}]),
        400,
        "context_length_exceeded",
        "messages",
    ),
    "ten megabytes": (
        chat(messages=[{"role": "user", "content": "a" * 10_000_000}]),
        413,
        "request_too_large",
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_request_has_envelope_and_entry(name, ask, gateway):
    body, status, code, param = REFUSED[name]
    reply = ask(CHAT, body)
    assert reply.status == status
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert (reply.error["code"], reply.error["param"]) == (code, param)
    assert reply.error["type"] == "invalid_request_error"
    (entry,) = gateway.events(reply.request_id)
    assert entry["sealgate"] == {"phase": "denied", "reason": code or "invalid_request"}
    assert entry["status_code"] == str(status)
    assert entry["actor"]["user"]["type"] == "client"
    assert entry["metadata"]["tenant_uid"] == "clinic"


def test_schema_that_is_none_is_refused_by_its_sandbox(ask, gateway):
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "wizard"}}}
    reply = ask(CHAT, chat(response_format=form))
    assert (reply.status, reply.error["code"]) == (400, "invalid_schema")
    intent, outcome = gateway.events(reply.request_id)
    assert (intent["sealgate"]["phase"], outcome["sealgate"]["ending"]) == ("intent", "failed")
    assert outcome["status_code"] == "400"


@pytest.mark.parametrize("key", [None, "wrong", "sg-" + "A" * 43])
def test_unknown_key_is_refused_and_recorded_as_anonymous(key, ask, gateway):
    reply = ask(CHAT, chat(), key=key)
    assert reply.status == 401
    assert reply.error["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    (entry,) = gateway.events(reply.request_id)
    assert entry["sealgate"]["reason"] == "invalid_api_key"
    assert entry["actor"]["user"]["type"] == "anonymous"
    assert entry["src_endpoint"]["ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [(CHAT, chat(), "officer"), ("/v1/provenance/verify", b'{"text": "x"}', "client")],
)
def test_role_of_another_route_is_refused_and_recorded(path, body, key, ask, gateway):
    reply = ask(path, body, key=key)
    assert reply.status == 403
    assert reply.error["code"] == "insufficient_role"
    (entry,) = gateway.events(reply.request_id)
    assert entry["actor"]["user"]["type"] == key


def test_body_of_an_unknown_caller_is_not_parsed(ask):
    assert ask("/v1/provenance/verify", b"not JSON", key=None).status == 401


def test_invalid_search_of_an_officer_is_recorded(ask, gateway):
    reply = ask("/v1/provenance/verify", b'{"text": 5}', key="officer")
    assert (reply.status, reply.error["param"]) == (400, "text")
    (entry,) = gateway.events(reply.request_id)
    assert entry["sealgate"]["phase"] == "denied"


def test_unknown_route_and_wrong_method_have_the_envelope(ask):
    assert ask("/v1/nothing").error["code"] == "unknown_url"
    assert ask(CHAT).error["code"] == "method_not_allowed"
    assert ask("/v1/models/gpt-9").error["code"] == "model_not_found"


def test_revoked_key_is_refused_at_once(ask, gateway, run_sealgate):
    made = json.loads(
        run_sealgate("clients", "add", "--name", "gone", "--tenant", "clinic", "--json").stdout
    )
    assert ask("/v1/models", key=made["key"]).status == 200
    run_sealgate("clients", "revoke", made["id"])
    assert ask("/v1/models", key=made["key"]).status == 401


def test_client_library_raises_its_own_errors(gateway):
    with gateway.client() as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="gpt-9", messages=HELLO)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=HELLO, temperature="hot")
    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id.startswith("req_")


def test_health_says_what_it_checks(ask):
    assert ask("/healthz", key=None).body == {"status": "ok"}
    ready = ask("/readyz", key=None).body
    checks = {"in service": True, "log": True, f"model {MODEL}": True}
    assert ready == {"status": "ready", "checks": checks}
