"""The trace id's code: Reed-Solomon RS(8, 4) over GF(2^8), in evaluation form.

The four bytes of a trace id, most significant first, are the coefficients b0..b3 of the
polynomial b0 + b1 x + b2 x^2 + b3 x^3; symbol i of its codeword is the value at x = 2^i, i = 0..7.
Any four symbols determine the other four (maximum distance separable), which is what the
decoder works with. Multiplication is modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d).

A codeword travels packed in a uint64: symbol i is bits 8i..8i+7.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x11D
LENGTH = 8
DIMENSION = 4
ALPHABET = 256

_ID_BYTES = 4
_ORDER = 255
_Matrix = list[list[int]]


def encode(trace_ids: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the packed codeword of each trace id.

    trace_ids: uint32 [n].
    """
    return _combine(_encoding(), _bytes_of(trace_ids.astype(">u4"), _ID_BYTES))


def trace_ids(codewords: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the trace id of each packed codeword; any four symbols tell, the first four do here.

    codewords: uint64 [n].
    """
    coefficients = _combine(_decoding(), symbols(codewords)[:, :DIMENSION])
    return _bytes_of(coefficients, LENGTH)[:, :DIMENSION].copy().view(">u4")[:, 0].astype(np.uint32)


def symbols(codewords: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Unpack codewords: uint64 [n] to uint8 [n, 8]."""
    return _bytes_of(codewords, LENGTH)


@cache
def spanning(rows: tuple[int, int, int, int]) -> NDArray[np.uint64]:
    """Return what each symbol at four positions adds to the codeword they determine.

    rows: four different positions. Returns uint64 [4, 256]: the codeword with symbols a, b, c, d
    at these positions is t[0, a] ^ t[1, b] ^ t[2, c] ^ t[3, d].
    """
    basis = _lagrange(rows)
    return _contributions([[_evaluate(b, _point(i)) for b in basis] for i in range(LENGTH)])


def multiply(a: int, b: int) -> int:
    """Multiply in GF(2^8)."""
    return int(_products()[a, b])


@cache
def _products() -> NDArray[np.uint8]:
    """The multiplication table, through logarithms to the base 2: uint8 [256, 256]."""
    powers = np.zeros(_ORDER, np.uint8)
    value = 1
    for exponent in range(_ORDER):
        powers[exponent] = value
        value = (value << 1) ^ (POLYNOMIAL if value & 0x80 else 0)
    logarithms = np.zeros(ALPHABET, np.int64)
    logarithms[powers] = np.arange(_ORDER)
    products: NDArray[np.uint8] = powers[(logarithms[:, None] + logarithms[None, :]) % _ORDER]
    products[0, :] = products[:, 0] = 0
    return products


@cache
def _encoding() -> NDArray[np.uint64]:
    """What each value of each byte of an id adds to the codeword: uint64 [4, 256]."""
    return _contributions([[_power(_point(i), j) for j in range(DIMENSION)] for i in range(LENGTH)])


@cache
def _decoding() -> NDArray[np.uint64]:
    """What each value of the first four symbols adds to the packed coefficients: [4, 256]."""
    basis = _lagrange((0, 1, 2, 3))
    return _contributions([[b[j] for b in basis] for j in range(DIMENSION)])


def _contributions(matrix: _Matrix) -> NDArray[np.uint64]:
    """Tabulate a linear map GF(256)^4 to GF(256)^n: packed image of each value of each input."""
    table = np.zeros((DIMENSION, ALPHABET), np.uint64)
    for i, row in enumerate(matrix):
        table |= _products()[row].astype(np.uint64) << np.uint64(8 * i)
    return table


def _combine(table: NDArray[np.uint64], inputs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    combined = np.zeros(len(inputs), np.uint64)
    for part, column in zip(table, inputs.T, strict=True):
        combined ^= part[column]
    return combined


def _lagrange(rows: tuple[int, int, int, int]) -> _Matrix:
    """Return the coefficients of the polynomials that are 1 at one of the positions, 0 at three."""
    basis = []
    for one in rows:
        polynomial = [1]
        for zero in rows:
            if zero != one:
                scale = _inverse(_point(one) ^ _point(zero))
                polynomial = _times_root(polynomial, _point(zero), scale)
        basis.append(polynomial)
    return basis


def _times_root(polynomial: list[int], root: int, scale: int) -> list[int]:
    """Multiply by scale * (x - root); minus is plus in characteristic two."""
    shifted = [0, *polynomial]
    rooted = [*(multiply(c, root) for c in polynomial), 0]
    return [multiply(scale, s ^ r) for s, r in zip(shifted, rooted, strict=True)]


def _evaluate(polynomial: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = multiply(value, x) ^ coefficient
    return value


def _point(position: int) -> int:
    return 1 << position


def _power(x: int, exponent: int) -> int:
    value = 1
    for _ in range(exponent):
        value = multiply(value, x)
    return value


def _inverse(x: int) -> int:
    """Return 1/x, the place of 1 in the row of x's multiples."""
    return int(_products()[x].tolist().index(1))


def _bytes_of(values: NDArray[np.uint32] | NDArray[np.uint64], width: int) -> NDArray[np.uint8]:
    ordered = values if values.dtype.byteorder == ">" else values.astype("<u8")
    return np.ascontiguousarray(ordered).view(np.uint8).reshape(-1, width)
