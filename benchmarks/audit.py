"""The log: how fast it takes entries, how late it acknowledges, what proofs and reports cost.

PostgreSQL is the tests' own server, absent where its driver or binaries are. A proof is measured in
a tree of a million entries, of which all but the newest are here as hashes.
"""

import asyncio
import base64
import json
import os
import secrets
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# This directory holds scripts named after the packages they measure: look in the one above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa
from audit_events import request
from audit_reports import report_figures, times
from contract import Figure, Samples, parser, report
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import merkle, proof, schema, store
from audit.checkpoint import Checkpoint, sign, verify
from audit.errors import LogUnavailable
from audit.merkle import Frontier
from audit.sequencer import Recorded, Sequencer
from audit.store import Location, existing_log, open_log
from audit.verify import verify_log
from tests.postgres_server import serving

ORIGIN = "sealgate.bench/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
# Callers that wait for an acknowledgement at any moment, as 64 clients with a request each would.
CROWD = 64
# With the hundred entries that are appended, a full tree: every path in it has 20 hashes.
LEAVES = (1 << 20) - 100


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__.splitlines()[0]).parse_args()
    quick = arguments.quick
    seconds, rounds = (2.0, 2) if quick else (8.0, 5)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        directory = Path(scratch)
        figures = [
            *_file(directory, seconds=seconds, rounds=rounds),
            _postgres(seconds=seconds, rounds=rounds),
            *_proof(directory, rounds=200 if quick else 2000),
            *report_figures(rounds=1 if quick else 3),
        ]
    report(figures, destination=arguments.json)


def _file(directory: Path, *, seconds: float, rounds: int) -> list[Figure]:
    """Measure the log in a SQLite file: crowd, steady load, verification."""
    path = directory / "log.db"
    written = Samples([_throughput(path, seconds) for _ in range(rounds)])
    late = Samples([asyncio.run(_lateness(path, 500, seconds)) for _ in range(rounds)])
    engine = existing_log(path)
    try:
        read = Samples([_verification(engine) for _ in range(rounds)])
        plain = Samples([_plain(directory, number) for number in range(rounds)])
    finally:
        engine.dispose()
    return [
        Figure(
            "events_per_s_sqlite", written.median, "1/s", ">= 5000", str(written), f"{plain} bare"
        ),
        Figure("ack_p99_ms_at_500", late.median, "ms", "<= 10", str(late)),
        Figure("verify_events_per_s", read.median, "1/s", ">= 40000", str(read)),
    ]


def _postgres(*, seconds: float, rounds: int) -> Figure:
    target = (">= 10000",)
    try:
        with serving() as url:
            written = Samples([_throughput(url, seconds) for _ in range(rounds)])
    except (OSError, LogUnavailable):
        return Figure("events_per_s_postgres", None, "1/s", *target)
    return Figure("events_per_s_postgres", written.median, "1/s", *target, str(written))


@contextmanager
def _sequencer(location: Location) -> Iterator[Sequencer]:
    engine = open_log(location)
    sequencer = Sequencer(engine, origin=ORIGIN, public_key=PUBLIC, sign=KEY.sign)
    sequencer.start()
    try:
        yield sequencer
    finally:
        sequencer.close()
        engine.dispose()


def _throughput(location: Location, seconds: float) -> float:
    """Return acknowledged events a second, with a crowd that waits for each of its own."""
    with _sequencer(location) as sequencer:
        waiting: deque[Any] = deque()
        done, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < end:
            while len(waiting) < CROWD:
                waiting.extend(sequencer.submit(each) for each in request())
            waiting.popleft().result()
            done += 1
        for each in waiting:
            each.result()
        return (done + len(waiting)) / (time.perf_counter() - began)


async def _lateness(location: Location, per_second: int, seconds: float) -> float:
    """Return the 99th percentile of the acknowledgement's time, in ms, at a steady rate."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    with _sequencer(location) as sequencer:
        pending: set[asyncio.Future[Recorded]] = set()
        began = loop.time()
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            # From the moment that it was due: a late start counts against the log.
            future = asyncio.wrap_future(sequencer.submit(request()[0]))
            future.add_done_callback(lambda _, due=due: taken.append(loop.time() - due))
            pending.add(future)
            future.add_done_callback(pending.discard)
        if pending:
            await asyncio.wait(pending)
    taken.sort()
    return taken[int(len(taken) * 0.99)] * 1000


def _verification(engine: sa.Engine) -> float:
    began = time.perf_counter()
    found = verify_log(engine, origin=ORIGIN, public_key=PUBLIC)
    return found.events / (time.perf_counter() - began)


def _plain(directory: Path, number: int) -> float:
    """Return rows a second of the same file with neither tree nor index nor signature."""
    engine = open_log(directory / f"plain{number}.db")
    body = secrets.token_bytes(1300)
    rows = [{"request_id": str(n), "kind": "x"} for n in range(64)]
    values = {"subject": "", "digest": b"", "ciphertext": body}
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < 1:
        with store.writing(engine).begin() as connection:
            batch = [row | values | {"kind": f"x{count}"} for row in rows]
            connection.execute(schema.content.insert(), batch)
        count += len(batch)
    engine.dispose()
    return count / (time.perf_counter() - began)


def _proof(directory: Path, *, rounds: int) -> list[Figure]:
    """Measure proofs of one entry among a million."""
    path = directory / "million.db"
    engine = open_log(path)
    _million(engine)
    with _sequencer(path) as sequencer:
        events = [event for _ in range(50) for event in request()]
        for future in [sequencer.submit(event) for event in events]:
            future.result()
    name = events[42]["api"]["request"]["uid"]
    proving = times(lambda: proof.prove(engine, name), max(3, rounds // 100))
    document = json.loads(proof.prove(engine, name))
    engine.dispose()
    entry = document["entries"][0]
    index, hashes, note = proof._parse_tlog_proof(entry["proof"])  # noqa: SLF001 - The document's own reader.
    head = verify(note, origin=ORIGIN, public_key=PUBLIC)
    leaf = merkle.leaf_hash(base64.b64decode(entry["event"]))

    def climb() -> None:
        merkle.verify_inclusion(leaf, index=index, size=head.size, path=hashes, root=head.root)

    climbing = times(climb, rounds)
    whole = times(
        lambda: proof.verify_proof(json.dumps(document), origin=ORIGIN, public_key=PUBLIC),
        max(3, rounds // 20),
    )
    path_bytes = len(entry["proof"].partition("\n\n")[0].encode())
    ours = f"{len(hashes)} hashes; {len(entry['proof'].encode())} B with the checkpoint"
    return [
        Figure("proof_bytes_1e6", path_bytes, "B", "<= 1024", ours),
        Figure(
            "proof_verify_us",
            climbing.median * 1e6,
            "us",
            "<= 50",
            f"whole document {whole.median * 1e6:.0f} us",
        ),
        Figure("proof_make_ms_1e6", proving.median * 1000, "ms", "<= 50", "both entries"),
    ]


def _million(engine: sa.Engine) -> None:
    """Fill a log with a million hashes, as if their entries had been pruned."""
    tree, rows = Frontier(), []
    for number in range(LEAVES):
        leaf = number.to_bytes(32, "big")
        rows.append({"level": 0, "idx": number, "hash": leaf})
        rows += [{"level": n, "idx": i, "hash": h} for n, i, h in tree.grow(leaf)]
    root = tree.root()
    head = Checkpoint(ORIGIN, LEAVES, root)
    note = sign(head, public_key=PUBLIC, signer=KEY.sign)
    with store.writing(engine).begin() as connection:
        store.insert(connection, store.node, rows)
        connection.execute(store.checkpoint.insert().values(size=LEAVES, note=note))
        connection.execute(
            store.head.update().values(size=LEAVES, root=root, frontier=tree.encode())
        )


if __name__ == "__main__":
    main()
