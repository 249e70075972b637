"""llama.cpp behind a pipe, on so many threads: for `engine.py`, and in a process that may crash.

Reads one JSON array of token ids a line, answers with the seconds that the prompt and then each
following token took: `{"prefill_s": …, "decode_s": …}`.
"""

import json
import sys
import time

import numpy as np
from llama_cpp import llama_cpp

CONTEXT_TOKENS = 1024


class Peer:
    """A loaded model with one context."""

    def __init__(self, path: str, *, repacked: bool, threads: int) -> None:
        llama_cpp.llama_backend_init()
        model_options = llama_cpp.llama_model_default_params()
        model_options.use_extra_bufts = repacked
        model = llama_cpp.llama_model_load_from_file(path.encode(), model_options)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = CONTEXT_TOKENS
        options.n_threads = options.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(model, options)
        vocabulary = llama_cpp.llama_model_get_vocab(model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def measure(self, prompt: list[int], steps: int) -> dict[str, float]:
        """Time a prompt and a greedy answer of `steps` tokens."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        begun = time.perf_counter()
        token = self._feed(prompt)
        prompted = time.perf_counter()
        for _ in range(steps):
            token = self._feed([token])
        ended = time.perf_counter()
        return {"prefill_s": prompted - begun, "decode_s": (ended - prompted) / steps}

    def _feed(self, tokens: list[int]) -> int:
        held = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(held, len(tokens))
        if llama_cpp.llama_decode(self._context, batch):
            sys.exit("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(logits, (self._vocab_size,)).argmax())


def main() -> None:
    """Serve measurements until the pipe closes."""
    peer = Peer(sys.argv[1], repacked=sys.argv[2] == "repacked", threads=int(sys.argv[3]))
    for line in sys.stdin:
        prompt, steps = json.loads(line)
        print(json.dumps(peer.measure(prompt, steps)), flush=True)


if __name__ == "__main__":
    main()
