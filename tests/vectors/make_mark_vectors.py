"""Write tests/vectors/mark-v1.json: values for every step of docs/formats/mark-v1.md.

Run from the repository root: python tests/vectors/make_mark_vectors.py > tests/vectors/mark-v1.json
"""

import json
import math
import struct
import sys

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from watermark import bounds, code, score
from watermark.detector import detect
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.sampler import Sampler
from watermark.tally import tally

MASTER = bytes(range(32))
TENANT = "sankt-örjan"
EPOCH = 3
SEED = bytes(range(100, 132))
TRACE_IDS = (0, 1, 0x01020304, 0xDEADBEEF, 0xFFFFFFFF)
TRACE_ID = 0xDEADBEEF
CONTEXT = (49151, 7)
TOKEN = 262143
SYMBOL = 205
WIDE = 40
CELLS = (0, 1, 33, 49, 161, 1000, 1664, 1665, 1696)


def main() -> None:
    """Print the vectors."""
    key, info = mark_key()
    marked = stream(key, length=200)
    unmarked = [int(t) for t in np.random.default_rng(8).integers(0, 1 << 18, 200)]
    vectors = {
        "scheme": "pcg-v1",
        "key": {
            "master": MASTER.hex(),
            "tenant": TENANT,
            "epoch": EPOCH,
            "info": info.hex(),
            "mark_key": key.hex(),
        },
        "code": [{"trace_id": i, "codeword": codeword(i).hex()} for i in TRACE_IDS],
        "position": position(key),
        "draw": draw(key),
        "score": [cell_scores(cell) for cell in CELLS],
        "sampler": sampler(key),
        "table": table(key, marked[:20]),
        "marked": marked_text(key, marked),
        "unmarked": unmarked_text(key, unmarked),
    }
    json.dump(vectors, sys.stdout, indent=1)
    print()  # noqa: T201


def mark_key() -> tuple[bytes, bytes]:
    """Derive the mark key as the keyring does, and the HKDF info it is derived with."""
    parts = (
        b"sealgate/keyring-v1/derive",
        b"watermark",
        EPOCH.to_bytes(8, "big"),
        TENANT.encode(),
        EPOCH.to_bytes(4, "big"),
    )
    info = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(MASTER), info


def codeword(trace_id: int) -> bytes:
    """Return a codeword's symbols in order."""
    return code.symbols(code.encode(np.array([trace_id], np.uint32)))[0].tobytes()


def position(key: bytes) -> dict[str, object]:
    """Give one context's position, with its block and the block's image."""
    block = struct.pack("<QQ", 1 << 54 | CONTEXT[0] << 18 | CONTEXT[1], 1 << 56)
    packed = CONTEXT[0] << 18 | CONTEXT[1]
    return {
        "context": CONTEXT,
        "block": block.hex(),
        "output": image(key, block).hex(),
        "position": MarkCipher(key).position(packed),
    }


def draw(key: bytes) -> dict[str, object]:
    """Give one draw, with its block and the block's image."""
    packed = CONTEXT[0] << 18 | CONTEXT[1]
    block = struct.pack("<QQ", packed, 1 << 56 | TOKEN << 16 | SYMBOL)
    words = [np.array([value], np.uint64) for value in (packed, TOKEN, SYMBOL)]
    drawn = MarkCipher(key).draws(*words)
    return {
        "context": CONTEXT,
        "token": TOKEN,
        "symbol": SYMBOL,
        "block": block.hex(),
        "output": image(key, block).hex(),
        "v": int(drawn[0]),
        "u": f"{(float(drawn[0]) + 0.5) * 2.0**-53:.17g}",
        "cell": int(score.cells(drawn)[0]),
    }


def image(key: bytes, block: bytes) -> bytes:
    """Encrypt one block."""
    output = bytearray(31)
    MarkCipher(key).update_into(memoryview(block), output)
    return bytes(output[:16])


def cell_scores(cell: int) -> dict[str, object]:
    """Give a cell's scores, at each e."""
    return {"cell": cell, "scores": [f"{value:.17g}" for value in score.tables()[:, cell]]}


def candidates(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make up candidates whose probabilities fall off as words do (Zipf's law)."""
    ids = rng.choice(1 << 18, WIDE, replace=False)
    weights = 1 / np.arange(1, WIDE + 1) ** rng.uniform(0.5, 3)
    return ids, weights / weights.sum()


def sampler(key: bytes) -> dict[str, object]:
    """Give the draws of a few steps: marked, seen before, greedy."""
    drawing = Sampler(key, TRACE_ID, SEED)
    steps = []
    for number, context in enumerate(((5, 6), (6, 7), (5, 6), (5, 6), (7, 8), (8, 9), (6, 7))):
        # A sole candidate stands for temperature 0.
        probs = np.ones(1) if context == (7, 8) else np.array([0.3, 0.25, 0.2, 0.0, 0.15, 0.1])
        ids = np.arange(probs.size) + 100 * number
        index = drawing.draw(context, ids, probs)
        steps.append(
            {"context": context, "ids": ids.tolist(), "probs": probs.tolist(), "index": index}
        )
    return {"trace_id": TRACE_ID, "seed": SEED.hex(), "steps": steps}


def stream(key: bytes, *, length: int) -> list[int]:
    """Draw a marked text after the prompt 1, 2."""
    drawing = Sampler(key, TRACE_ID, SEED)
    rng = np.random.default_rng(2)
    tokens = [1, 2]
    for _ in range(length):
        ids, probs = candidates(rng)
        tokens.append(int(ids[drawing.draw((tokens[-2], tokens[-1]), ids, probs)]))
    return tokens[2:]


def table(key: bytes, ids: list[int]) -> dict[str, object]:
    """Give the row maxima of a short text's tables."""
    passage = read(ids)
    running = tally(MarkCipher(key), passage, np.array([0, passage.size]))
    tables = [running.table(e, 0, passage.size) for e in range(len(score.EPSILONS))]
    return {"ids": ids, "row_maxima": [t.max(axis=1).tolist() for t in tables]}


def marked_text(key: bytes, ids: list[int]) -> dict[str, object]:
    """Give a marked text's figures as a whole, and what a detector says of it."""
    passage = read(ids)
    running = tally(MarkCipher(key), passage, np.array([0, passage.size]))
    word = list(codeword(TRACE_ID))
    tests = bounds.Tests(passage.size, keys=1, modes=1, trials=1).inverse_share(passage.size)
    figures = []
    for row, epsilon in enumerate(score.EPSILONS):
        evidence = float(running.table(row, 0, passage.size)[np.arange(8), word].sum())
        p = math.exp(bounds.log_p(evidence, tests=tests, hypotheses=2**32))
        figures.append({"epsilon": epsilon, "log_evidence": evidence, "p_value": p})
    return {"ids": ids, "trace_id": TRACE_ID, "tests": tests, "whole": figures} | verdict(key, ids)


def unmarked_text(key: bytes, ids: list[int]) -> dict[str, object]:
    """Give a text that must not be traced."""
    return {"ids": ids} | verdict(key, ids)


def verdict(key: bytes, ids: list[int]) -> dict[str, object]:
    """Say what the detector says, blind."""
    found = detect(ids, {"key": key})
    return {
        "verdict": found.verdict,
        "p_value": found.p_value,
        "span": [found.start, found.end],
    }


if __name__ == "__main__":
    main()
