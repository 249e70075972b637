"""A remote tier whose server loads our processor: from the gateway to the mark, and back again.

The server speaks as vLLM does and draws with the very processor that vLLM would load, from logits
of its own. What of vLLM itself is relied on is held to its interface in `test_vllm_marks.py`.
"""

import json
import os
import re
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from gateway.models.foreign import ForeignTokenizer
from gateway.models.importing import import_gguf
from gateway.models.tokenizer import Tokenizer
from tests.e2e.deployment import Gateway, sealgate, serve
from tests.e2e.test_routed_tiers import ENTRY, outcome
from tests.loopback import Answering, serving
from watermark.argument import ARGUMENT
from watermark.vllm import MarkProcessor

torch = pytest.importorskip("torch")
WORD = re.compile(rb" [a-z]{2,}")
LENGTH = 220


class Engine:
    """vLLM as the processor sees it: one request, its logits and the tokens drawn from them."""

    def __init__(self, tokenizer_json):
        self._tokenizer = Tokenizer(tokenizer_json)
        reader = ForeignTokenizer(tokenizer_json)
        self._size = reader.largest + 1
        words = [t for t in range(self._size) if WORD.fullmatch(self._tokenizer.token_bytes(t))]
        self._words = torch.tensor(words[:4000])
        self._random = torch.Generator().manual_seed(11)

    def answer(self, body):
        parameters = SimpleNamespace(
            extra_args=body.get("vllm_xargs"),
            temperature=body["temperature"],
            top_k=body["top_k"],
            top_p=body["top_p"],
            min_p=0.0,
        )
        MarkProcessor.validate_params(parameters)
        config = SimpleNamespace(
            model_config=SimpleNamespace(get_vocab_size=lambda: self._size),
            scheduler_config=SimpleNamespace(max_num_seqs=1),
        )
        processor, outputs = MarkProcessor(config, torch.device("cpu"), False), []
        processor.update_state(
            SimpleNamespace(removed=[], added=[(0, parameters, [5, 6], outputs)], moved=[])
        )
        for _ in range(min(LENGTH, body["max_tokens"])):
            logits = torch.full((1, self._size), -np.inf)
            drawn = torch.randn(len(self._words), generator=self._random) * 3
            logits[0, self._words] = drawn / body["temperature"]
            probs = processor.apply(logits).softmax(dim=1)
            outputs.append(int(torch.multinomial(probs, 1, generator=self._random)))
            yield self._tokenizer.token_bytes(outputs[-1]).decode()


@contextmanager
def server(engine, bodies):
    class Handler(Answering):
        def get(self):
            self.send_response(200)
            self.end_headers()

        def post(self):
            body = json.loads(self.body())
            bodies.append(body)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            count = 0
            for count, text in enumerate(engine.answer(body), 1):  # noqa: B007 - used below.
                self._event({"index": 0, "delta": {"content": text}, "finish_reason": None})
            self._event({"index": 0, "delta": {}, "finish_reason": "length"})
            usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
            self._say({"model": "large", "choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, choice):
            self._say({"model": "large", "choices": [choice]})

        def _say(self, event):
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    with serving(Handler) as running:
        yield f"http://127.0.0.1:{running.server_port}"


@pytest.fixture(scope="module")
def marked(idle_home, reference_gguf, tmp_path_factory):
    home, keys = idle_home
    directory = tmp_path_factory.mktemp("marked-tier")
    tokenizer = directory / "tokenizer.json"
    tokenizer.write_bytes(import_gguf(reference_gguf).assets["tokenizer.json"])
    bodies = []
    with server(Engine(tokenizer.read_bytes()), bodies) as origin:
        table = {"name": "cloud-1", "tier": "cloud", "profile": "vllm", "origin": origin}
        table |= {"model": "large", "serves": "large"}
        marking = ENTRY.format(**table, more=f'tokenizer_file = "{tokenizer}"')
        table |= {"name": "cloud-2", "serves": "bare"}
        file = directory / "tiers.toml"
        file.write_text(marking + ENTRY.format(**table, more=""))
        policy = directory / "policy.toml"
        policy.write_text(
            'version = 1\n[[rule]]\nname = "all"\ntiers = ["local", "mobile", "edge", "cloud"]\n'
            'redaction = "none"\n'
        )
        settings = {
            "acknowledgement_s": 30,
            "workers": 1,
            "tiers_file": file,
            "policy_file": policy,
        }
        with serve(home, **settings) as (process, url):
            gateway = Gateway(home, url, process.pid, keys)
            yield SimpleNamespace(gateway=gateway, bodies=bodies, tiers=file)


def chat(gateway, model, text="Say hello.", **options):
    with gateway.client(default_headers={"x-sealgate-data-class": "public"}) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": text}], **options
        )
    return raw.headers["x-request-id"], raw.parse()


def said(answer):
    return answer.choices[0].message.content


def verified(gateway, text):
    with gateway.client("officer") as client:
        return client.post("/provenance/verify", body={"text": text}, cast_to=dict[str, object])


def test_remote_answer_is_marked_measured_and_traced(marked):
    request_id, answer = chat(marked.gateway, "large", max_tokens=LENGTH)
    ended = outcome(marked.gateway, request_id)
    assert (ended["tier"], ended["choices"][0]["mark"]) == ("cloud", "traceable")
    found = verified(marked.gateway, said(answer))
    assert (found["verdict"], found["request_id"], found["model"]) == (
        "traced",
        request_id,
        "large",
    )
    environment = os.environ | {"SEALGATE_TIERS_FILE": str(marked.tiers)}
    arguments = ["watermark", "verify", "-", "--json"]
    offline = sealgate(*arguments, home=marked.gateway.home, text=said(answer), env=environment)
    assert json.loads(offline.stdout)["request_id"] == request_id


def test_streamed_choices_have_a_mark_each_and_the_seed_repeats_them(marked):
    options = {"max_tokens": LENGTH, "n": 2, "seed": 5}
    request_id, answer = chat(marked.gateway, "large", "Say it twice.", **options)
    first = [body["vllm_xargs"][ARGUMENT] for body in marked.bodies[-2:]]
    assert len(set(first)) == 2
    marks = [choice["mark"] for choice in outcome(marked.gateway, request_id)["choices"]]
    assert marks == ["traceable", "traceable"]
    assert verified(marked.gateway, answer.choices[1].message.content)["request_id"] == request_id
    chat(marked.gateway, "large", "Say it twice.", **options)
    assert {body["vllm_xargs"][ARGUMENT] for body in marked.bodies[-2:]} == set(first)
    chat(marked.gateway, "large", "Say another thing.", **options)
    assert not {body["vllm_xargs"][ARGUMENT] for body in marked.bodies[-2:]} & set(first)


def test_policy_that_wants_a_mark_lets_only_the_marking_server_answer(marked):
    """The rule's `marking` is `required` by default: the same server without a processor is out."""
    with pytest.raises(Exception, match="policy") as refused:
        chat(marked.gateway, "bare")
    assert refused.value.code == "policy_denied"
