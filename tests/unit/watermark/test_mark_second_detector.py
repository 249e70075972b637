"""A second detector, slow and plain, written from docs/formats/mark-v1.md alone.

It shares no code with the package. It must agree with the vectors, and the package with both.
"""

import json
import math
import struct
from functools import cache
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from watermark import code, score
from watermark.detector import detect
from watermark.passage import read
from watermark.prf import MarkCipher
from watermark.sampler import Sampler
from watermark.tally import tally
from watermark.windows import windows

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "mark-v1.json").read_text())
KEY = bytes.fromhex(VECTORS["key"]["mark_key"])
EPSILONS = (0.1, 0.5, 0.8)
PRIOR = {
    0.001: 59, 0.003: 35, 0.01: 44, 0.02: 44, 0.04: 53, 0.07: 48, 0.1: 48, 0.15: 52, 0.2: 61,
    0.3: 74, 0.4: 65, 0.5: 61, 0.6: 60, 0.7: 61, 0.8: 66, 0.9: 69, 0.97: 100,
}  # fmt: skip


def aes(key, block):
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(block)


@cache
def product_of(a, b):
    result = 0
    for bit in range(8):
        if b >> bit & 1:
            shifted = a << bit
            for high in range(15, 7, -1):
                if shifted >> high & 1:
                    shifted ^= 0x11D << (high - 8)
            result ^= shifted
    return result


def codeword_of(trace_id):
    symbols = []
    for i in range(8):
        value, power = 0, 1
        for coefficient in trace_id.to_bytes(4, "big"):
            value ^= product_of(coefficient, power)
            power = product_of(power, 1 << i)
        symbols.append(value)
    return symbols


def position_block(older, newer):
    return struct.pack("<QQ", 1 << 54 | older << 18 | newer, 1 << 56)


def draw_block(older, newer, token, symbol):
    return struct.pack("<QQ", older << 18 | newer, 1 << 56 | token << 16 | symbol)


def first_word(output):
    return int.from_bytes(output[:8], "little")


def cell_of(v):
    c = 2**53 - 1 - v
    if c == 0:
        return 0
    a = c.bit_length() - 1
    return 1 + 32 * a + (c * 32 // 2**a - 32)


@cache
def cell_score(cell, epsilon):
    low, high = (0, 1) if cell == 0 else edges(cell)
    mean = 0.0
    for p, weight in PRIOR.items():
        top = math.exp(math.log1p(-low / 2**53) / p)
        if high == 2**53:
            fall = 1.0
        else:
            fall = -math.expm1(math.log1p(-(high - low) / (2**53 - low)) / p)
        mean += weight / 1000 * top * fall
    mean /= (high - low) / 2**53
    return math.log((1 - epsilon) * mean + epsilon) - 1e-9


def edges(cell):
    a, m = divmod(cell - 1, 32)
    return -(-(2**a) * (32 + m) // 32), -(-(2**a) * (33 + m) // 32)


def scored_tokens(ids):
    seen, found = set(), []
    for i in range(2, len(ids)):
        context = (ids[i - 2], ids[i - 1])
        if context not in seen:
            seen.add(context)
            found.append((i, *context, ids[i]))
    return found


def value_cells(key, ids):
    """Position and the cells of all 256 symbols, for each scored token."""
    rows = []
    for _, older, newer, token in scored_tokens(ids):
        position = first_word(aes(key, position_block(older, newer))) % 8
        blocks = b"".join(draw_block(older, newer, token, s) for s in range(256))
        output = aes(key, blocks)
        values = [first_word(output[16 * s :]) >> 11 for s in range(256)]
        rows.append((position, [cell_of(v) for v in values]))
    return rows


def table_of(rows, epsilon):
    table = [[0.0] * 256 for _ in range(8)]
    for position, cells in rows:
        row = table[position]
        for s, cell in enumerate(cells):
            row[s] += cell_score(cell, epsilon)
    return table


def windows_of(n):
    found = []
    for width in (50, 100, 200, 400):
        if width < n:
            found += [(a, a + width) for a in range(0, n - width, width // 4)]
            found.append((n - width, n))
    return [*found, (0, n)]


@cache
def inverse_of(a):
    return next(x for x in range(1, 256) if product_of(a, x) == 1)


def completed(rows, symbols):
    """Interpolate the codeword with the given symbols at four positions (Lagrange)."""
    word = [0] * 8
    for one, symbol in zip(rows, symbols, strict=True):
        for i in range(8):
            weight = symbol
            for zero in rows:
                if zero != one:
                    ratio = product_of(1 << i ^ 1 << zero, inverse_of(1 << one ^ 1 << zero))
                    weight = product_of(weight, ratio)
            word[i] ^= weight
    return word


def blind(table):
    """Try the two best symbols of every four positions; return the best word and its score."""
    best = (-math.inf, None)
    two_best = [sorted(range(256), key=row.__getitem__)[-2:] for row in table]
    for rows in combinations(range(8), 4):
        # Linear: the words of the two symbols of each position combine by XOR.
        units = {
            (j, s): completed(rows, [s if k == j else 0 for k in range(4)])
            for j in range(4)
            for s in two_best[rows[j]]
        }
        for choice in product(*(two_best[r] for r in rows)):
            parts = [units[j, s] for j, s in enumerate(choice)]
            word = [a ^ b ^ c ^ d for a, b, c, d in zip(*parts, strict=True)]
            total = sum(row[s] for row, s in zip(table, word, strict=True))
            best = max(best, (total, word))
    return best


def test_second_detector_derives_codewords_as_the_vectors_do():
    for each in VECTORS["code"]:
        assert bytes(codeword_of(each["trace_id"])).hex() == each["codeword"]


def test_second_detector_computes_positions_and_draws_as_the_vectors_do():
    position, draw = VECTORS["position"], VECTORS["draw"]
    block = position_block(*position["context"])
    assert block.hex() == position["block"]
    assert aes(KEY, block).hex() == position["output"]
    assert first_word(aes(KEY, block)) % 8 == position["position"]
    block = draw_block(*draw["context"], draw["token"], draw["symbol"])
    assert block.hex() == draw["block"]
    assert aes(KEY, block).hex() == draw["output"]
    v = first_word(aes(KEY, block)) >> 11
    assert (v, cell_of(v)) == (draw["v"], draw["cell"])
    assert (v + 0.5) * 2.0**-53 == float(draw["u"])


def test_second_detector_scores_every_cell_as_the_package_does():
    tables = score.tables()
    for cell in range(score.CELLS):
        if cell and edges(cell)[0] == edges(cell)[1]:
            continue
        for row, epsilon in enumerate(EPSILONS):
            assert cell_score(cell, epsilon) == pytest.approx(tables[row, cell], abs=1e-11)
    for each in VECTORS["score"]:
        expected = [float(value) for value in each["scores"]]
        assert [cell_score(each["cell"], e) for e in EPSILONS] == pytest.approx(expected, abs=1e-11)


def test_second_detector_draws_as_the_sampler_did():
    """The race and the ordinary draws, from the page."""
    vector = VECTORS["sampler"]
    word = codeword_of(vector["trace_id"])
    counter_mode = modes.CTR(b"pcg-v1/ordinary\0")
    seed = bytes.fromhex(vector["seed"])
    stream = Cipher(algorithms.AES(seed), counter_mode).encryptor()
    sampler, seen = Sampler(KEY, vector["trace_id"], seed), set()
    for step in vector["steps"]:
        context, ids, probs = tuple(step["context"]), step["ids"], step["probs"]
        if len(ids) == 1:
            index = 0
        elif context not in seen:
            symbol = word[first_word(aes(KEY, position_block(*context))) % 8]
            draws = [first_word(aes(KEY, draw_block(*context, t, symbol))) >> 11 for t in ids]
            races = [
                math.log((v + 0.5) * 2.0**-53) / p if p else -math.inf
                for v, p in zip(draws, probs, strict=True)
            ]
            index = races.index(max(races))
        else:
            r = (first_word(stream.update(bytes(8))) >> 11) * 2.0**-53 * sum(probs)
            index = next(i for i in range(len(ids)) if sum(probs[: i + 1]) > r)
        seen.add(context)
        assert index == step["index"]
        assert sampler.draw(context, np.array(ids), np.array(probs)) == index


def test_second_detector_sums_a_short_text_to_the_same_row_maxima():
    vector = VECTORS["table"]
    rows = value_cells(KEY, vector["ids"])
    for epsilon, expected in zip(EPSILONS, vector["row_maxima"], strict=True):
        assert [max(row) for row in table_of(rows, epsilon)] == pytest.approx(expected, abs=1e-7)


def test_second_detector_reads_the_marked_text_and_agrees_on_its_figures():
    vector = VECTORS["marked"]
    rows = value_cells(KEY, vector["ids"])
    spans = windows_of(len(rows))
    assert vector["tests"] == 3 * 2
    assert len(spans) > 1
    best = (-math.inf, None)
    for epsilon, expected in zip(EPSILONS, vector["whole"], strict=True):
        table = table_of(rows, epsilon)
        word = codeword_of(vector["trace_id"])
        evidence = sum(row[s] for row, s in zip(table, word, strict=True))
        assert evidence == pytest.approx(expected["log_evidence"], abs=1e-6)
        bound = min(1.0, vector["tests"] * 2**32 * math.exp(-evidence))
        assert bound == pytest.approx(expected["p_value"], rel=1e-5)
        best = max(best, blind(table))
    assert best[1] == codeword_of(vector["trace_id"])
    # No narrower window can beat the whole text here: its row maxima sum to less, and it pays more.
    for start, end in spans[:-1]:
        for epsilon in EPSILONS:
            assert sum(max(row) for row in table_of(rows[start:end], epsilon)) < best[0]
    found = detect(vector["ids"], {"key": KEY})
    assert (found.verdict, found.trace_id) == (vector["verdict"], vector["trace_id"])
    assert [found.start, found.end] == vector["span"]
    assert found.p_value == pytest.approx(vector["p_value"], rel=1e-5)
    assert found.p_value == pytest.approx(vector["tests"] * 2**32 * math.exp(-best[0]), rel=1e-5)


def test_unmarked_vector_is_not_traced_by_either_detector():
    vector = VECTORS["unmarked"]
    rows = value_cells(KEY, vector["ids"])
    assert len(windows_of(len(rows))) > 1
    needed = math.log(3 * 2 * 2**32 * 1e6)
    for epsilon in EPSILONS:
        assert blind(table_of(rows, epsilon))[0] < needed
    found = detect(vector["ids"], {"key": KEY})
    assert (found.verdict, found.p_value) == (vector["verdict"], vector["p_value"])
    assert (found.verdict, found.trace_id) == ("no_trace", None)


def test_package_derives_vectors_codewords_and_their_ids():
    ids = np.array([each["trace_id"] for each in VECTORS["code"]], np.uint32)
    packed = code.encode(ids)
    assert [w.tobytes().hex() for w in code.symbols(packed)] == [
        each["codeword"] for each in VECTORS["code"]
    ]
    assert code.trace_ids(packed).tolist() == ids.tolist()


def test_package_tables_equal_the_second_detectors_at_every_symbol():
    ids = VECTORS["marked"]["ids"][:60]
    passage = read(ids)
    running = tally(MarkCipher(KEY), passage, np.array([0, passage.size]))
    rows = value_cells(KEY, ids)
    for row, epsilon in enumerate(EPSILONS):
        plain = np.array(table_of(rows, epsilon))
        assert np.abs(running.table(row, 0, passage.size) - plain).max() < 1e-9


def test_package_lays_windows_as_the_page_says():
    for scored in (1, 9, 50, 51, 99, 100, 101, 198, 400, 401, 1000, 5203):
        assert [tuple(w) for w in windows(scored).tolist()] == windows_of(scored)
