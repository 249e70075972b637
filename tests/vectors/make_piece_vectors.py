"""Write piece-tokens.json: what llama.cpp makes of texts with a SentencePiece vocabulary.

Run where llama-cpp-python and gguf are installed: `python make_piece_vectors.py`.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import llama_cpp

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.pieces_vocabulary import CHARACTERS, TRAPS, WORDS, write

TEXTS = [
    "", " ", "  ", "hello", " hello", "hello the patient", "the  dose   is", "ababab aaaaa",
    "日本語 naïve", "😀 unknown ÿ", "</s> <s> <0x41>", "[INST] hello[INST]the", "a\nb\tc",
    "tie in the pattern", "## == ##",
]  # fmt: skip


def main() -> None:
    """Tokenise the texts above and some random ones, with and without a space before them."""
    source = random.Random(5)  # noqa: S311 - repeatable texts, no secrets
    pieces = [*WORDS, *TRAPS, *CHARACTERS, " ", " ", " ", " the ", "\U0001d573", "[INST]"]
    texts = TEXTS + ["".join(source.choices(pieces, k=12)) for _ in range(80)]
    vectors = []
    for prefixed in (True, False):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "pieces.gguf"
            write(path, prefixed=prefixed)
            model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
            vectors += [
                {
                    "prefixed": prefixed,
                    "text": text,
                    "ids": model.tokenize(text.encode(), add_bos=False, special=False),
                }
                for text in texts
            ]
    target = Path(__file__).with_name("piece-tokens.json")
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    target.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
