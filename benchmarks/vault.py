"""Loading sealed parameters: against the machine's own AES-GCM, tensorizer and cryptotensors.

The limit is AES-256-GCM of the library `cryptography`, blocks of 1 MiB, from a file in the page
cache into fresh huge pages: what a load could take if it did nothing else. cryptotensors uses all
processors, so it is compared with what a load does unless told otherwise. Ratios are medians of
each turn's ratio: a busy moment meets both. Before each load the kernel is made to have free huge
pages: what the load before it left in pieces is not its own cost. Peaks are anonymous and shared
memory beyond what the process had before, over the size of the parameters.
"""

import itertools
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contract import Figure, Samples, in_turns, parser, report
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace
from vault_peers import absent_peers, cryptotensors_loader, tensorizer_loader

from privacy import records, sealed, states
from privacy.custodians.keyfile import KeyFile
from privacy.keyring import Keyring
from privacy.records import WrappedDataKey

TENSOR_BYTES = 32 << 20
BLOCK_BYTES = 1 << 20
HUGE_PAGE_BYTES = 2 << 20
KEY = bytes(range(32))
PEAKS = Path(__file__).with_name("vault_peaks.py")


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one load, on the wall and of all processors together."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Measure and report."""
    options = parser(__doc__.splitlines()[0]).parse_args()
    size, rounds = (128 << 20, 9) if options.quick else (1 << 30, 9)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        keyring = Keyring.create(place / "ring", KeyFile.create(place / "key"))
        tensors = _tensors(size)
        path = place / "m.sealed"
        sealed.seal(path, keyring=keyring, model_id="m", config={}, tensors=tensors)
        figures = _loads(place, keyring, path, tensors, size, rounds)
        figures.append(_rotation(place))
        figures += _peaks(place, path, size)
    report(figures, destination=options.json)


def _tensors(size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    count = size // TENSOR_BYTES
    return {
        f"w{number:03}": random.integers(0, 1 << 15, TENSOR_BYTES // 2, np.uint16).view(np.float16)
        for number in range(count)
    }


def _loads(
    place: Path,
    keyring: Keyring,
    path: Path,
    tensors: dict[str, np.ndarray],
    size: int,
    rounds: int,
) -> list[Figure]:
    reader = sealed.opened(path, keyring=keyring)
    limit = _limit_file(place / "limit", size)
    measures: list[Callable[[], Took]] = [
        lambda: _took(lambda: reader.image(threads=1), size),
        lambda: _took(lambda: _limit(limit, size, threads=1), size),
        lambda: _took(lambda: reader.image(threads=2), size),
        lambda: _took(lambda: _limit(limit, size, threads=2), size),
        lambda: _took(reader.image, size),
    ]
    peers = {}
    for name, make in (("tensorizer", tensorizer_loader), ("cryptotensors", cryptotensors_loader)):
        load = make(tensors, place)
        if load is not None:
            peers[name] = len(measures)
            measures.append(lambda load=load: _took(load, size))
    tensors.clear()
    taken = in_turns(*measures, rounds=rounds)
    reader.close()
    ours_1, limit_1, ours_2, limit_2, ours = taken[:5]
    figures = [
        _fraction("load_fraction_of_limit_1t", ours_1, limit_1, size, ">= 0.75"),
        _fraction("load_fraction_of_limit_2t", ours_2, limit_2, size, ">= 0.6"),
    ]
    cpu = taken[peers["tensorizer"]] if "tensorizer" in peers else None
    wall = taken[peers["cryptotensors"]] if "cryptotensors" in peers else None
    figures.append(_against("cpu_ratio_vs_tensorizer", ours_1, cpu, "cpu_s", ">= 4"))
    if cpu is not None:
        most = _against("", limit_1, cpu, "cpu_s", ">= 4").value
        print(
            f"tensorizer takes {most:.2f} times the limit's CPU: no load does better",
            file=sys.stderr,
        )
    figures.append(_against("wall_ratio_vs_cryptotensors", ours, wall, "wall_s", ">= 1.5"))
    for name in absent_peers():
        print(f"{name} is absent: make bench-setup", file=sys.stderr)
    return figures


def _took(load: Callable[[], object], size: int) -> Took:
    _settle(size)
    wall, cpu = time.perf_counter(), time.process_time()
    loaded = load()
    took = Took(time.perf_counter() - wall, time.process_time() - cpu)
    if isinstance(loaded, mmap.mmap):
        loaded.close()
    return took


def _settle(size: int) -> None:
    """Have the kernel put together and give back the huge pages that a load of `size` takes."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, HUGE_PAGE_BYTES):
            memory[at] = 1


def _limit_file(path: Path, size: int) -> Path:
    cipher = AESGCM(KEY)
    with path.open("wb") as file:
        for number in range(size // BLOCK_BYTES):
            plain = os.urandom(BLOCK_BYTES)
            file.write(cipher.encrypt(number.to_bytes(12, "big"), plain, None))
    return path


def _limit(path: Path, size: int, *, threads: int) -> mmap.mmap:
    """Decrypt the file of blocks into fresh huge pages."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    blocks = size // BLOCK_BYTES

    def some(first: int, last: int) -> None:
        cipher, buffer = AESGCM(KEY), bytearray(BLOCK_BYTES + 16)
        with path.open("rb", buffering=0) as file, memoryview(memory) as view:
            file.seek(first * len(buffer))
            for number in range(first, last):
                file.readinto(buffer)
                with view[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES] as out:
                    cipher.decrypt_into(number.to_bytes(12, "big"), buffer, None, out)

    edges = [blocks * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(some, a, b) for a, b in itertools.pairwise(edges)]:
            future.result()
    return memory


def _fraction(name: str, ours: list[Took], limit: list[Took], size: int, target: str) -> Figure:
    speeds = [Samples([size / each.wall_s / 1e9 for each in taken]) for taken in (ours, limit)]
    pairs = zip(*(each.values for each in speeds), strict=True)
    return Figure(
        name,
        statistics.median(mine / theirs for mine, theirs in pairs),
        "",
        target,
        ours=f"{speeds[0]} GB/s",
        peer=f"{speeds[1]} GB/s",
    )


def _against(
    name: str, ours: list[Took], peer: list[Took] | None, what: str, target: str
) -> Figure:
    mine = Samples([getattr(each, what) for each in ours])
    if peer is None:
        return Figure(name, None, "", target, ours=f"{mine} s")
    theirs = Samples([getattr(each, what) for each in peer])
    ratio = statistics.median(b / a for a, b in zip(mine.values, theirs.values, strict=True))
    return Figure(name, ratio, "", target, ours=f"{mine} s", peer=f"{theirs} s")


def _rotation(place: Path) -> Figure:
    """Replace the KEK of a keyring of 1,000 data keys, durably."""
    keyring = Keyring.create(place / "many", KeyFile(place / "key"))

    def filled(snapshot: states.Snapshot) -> records.Content:
        made = [
            snapshot.wrap(
                WrappedDataKey(f"{number:032x}", f"m{number}", 1, "active", 1, b""), os.urandom(32)
            )
            for number in range(1000)
        ]
        return replace(snapshot.content, data_keys=made)

    keyring.change(filled)
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        keyring.rekey(act=states.Act("system", "benchmark", 1))
        taken.append((time.perf_counter() - began) * 1000)
    samples = Samples(taken)
    return Figure("rotate_1000_keys_ms", samples.median, "ms", "<= 50", ours=f"{samples} ms")


def _peaks(place: Path, path: Path, size: int) -> list[Figure]:
    figures = []
    for name, target in (("ort", "<= 2.1"), ("torch", "<= 1.05")):
        command = [sys.executable, str(PEAKS), name, str(place), str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        told = json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}
        peak = told.get("peak_bytes")
        value = None if peak is None else peak / told.get("size_bytes", size)
        ours = "" if peak is None else f"{peak >> 20} MiB"
        figures.append(Figure(f"peak_ratio_{name}", value, "", target, ours=ours))
        if done.returncode:
            print(done.stderr.strip().rpartition("\n")[2], file=sys.stderr)
    return figures


if __name__ == "__main__":
    assert threading.active_count() == 1  # noqa: S101 - A measurement alone in its process.
    main()
