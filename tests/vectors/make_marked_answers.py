"""Writes marked-answers.json: answers of the reference model under known keys and ids.

`python tests/vectors/make_marked_answers.py`. The attack tests read them; nothing else does. The
last is a paraphrase of the first by the same model, under a mark of its own.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.watermark_texts import _engine  # noqa: E402 - The path comes first.
from gateway.models.chat import ChatTemplate  # noqa: E402
from gateway.models.fetch import fetch  # noqa: E402
from gateway.models.importing import import_gguf  # noqa: E402
from gateway.models.tokenizer import Tokenizer  # noqa: E402
from sandbox.candidates import candidates  # noqa: E402
from watermark.sampler import Sampler  # noqa: E402

TOKENS = 300
LEAST = 250
ANSWERS = (
    (
        "clinic",
        1,
        0x0A11CE01,
        "Write a detailed article about how a hospital protects the records of its patients.",
    ),
    ("clinic", 1, 0x0A11CE02, "Write an article about the history of bread."),
    ("clinic", 2, 0x0A11CE03, "Write a long article about sleep and health."),
    ("bank", 1, 0x0A11CE04, "Explain credit risk to a new colleague in detail."),
)
REWRITE = "Rewrite the following text in other words, sentence by sentence:\n\n"


def main() -> None:
    """Generate and write."""
    model = import_gguf(fetch("smollm2-135m", into=ROOT / ".sealgate" / "cache"))
    tokenizer = Tokenizer(model.assets["tokenizer.json"])
    template = ChatTemplate(model.assets["chat_template.jinja"].decode(), tokenizer)
    engine = _engine(model)

    def answer(key: bytes, trace_id: int, question: str, *, temperature: float = 1.0) -> str:
        prompt = template.encode_chat([{"role": "user", "content": question}])
        sampler = Sampler(key, trace_id, bytes(32))
        decoding = engine.start(len(prompt) + TOKENS)
        tokens, logits = list(prompt), decoding.feed(prompt)
        for _ in range(TOKENS):
            ids, probs = candidates(logits, temperature=temperature, top_k=100, top_p=1.0)
            token = int(ids[sampler.draw((tokens[-2], tokens[-1]), ids, probs)])
            if token in engine.eos:
                break
            tokens.append(token)
            logits = decoding.feed(tokens[-1:])
        decoder = tokenizer.decoder()
        return decoder.feed(tokens[len(prompt) :]) + decoder.finish()

    made = []
    for tenant, epoch, first_id, question in ANSWERS:
        key = (tenant.encode() + bytes([epoch])).ljust(32, b"\x00")
        # A small model may stop early; another id draws another answer.
        trace_id = first_id
        text = answer(key, trace_id, question)
        while len(tokenizer.encode(text)) < LEAST:
            trace_id += 0x100
            text = answer(key, trace_id, question)
        made.append((tenant, epoch, key, trace_id, text))
    tenant, epoch, key, _, text = made[0]
    made.append(
        (tenant, epoch, key, 0x0A11CE05, answer(key, 0x0A11CE05, REWRITE + text, temperature=0.7))
    )
    fields = ("tenant", "epoch", "key", "trace_id", "text")
    entries = [dict(zip(fields, (t, e, k.hex(), i, x), strict=True)) for t, e, k, i, x in made]
    path = Path(__file__).with_name("marked-answers.json")
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
