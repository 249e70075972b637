"""What a gateway keeps of a million requests: its memory, descriptors and threads, as they grow.

Rounds of whole answers, streams, refused requests and clients that leave in the middle of a
stream, each with a key and in the log; after each, what the gateway's process holds, and what it
and all its children have of their own. The slope over the later rounds is given for 10^6 requests,
with its interval (`trend.py`). Then a storm: clients that all leave at once, after which there must
be no upstream connection, no sandbox and no open entry beyond those before.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import contract
import gateway_servers as servers
from contract import Figure
from gateway_load import Plan, load, request
from trend import trend

MILLION = 1_000_000
CLIENTS = 32
# Shares of a round's requests.
STREAMS, REFUSED, LEFT = 0.1, 0.2, 0.02
SETTLE_S = 30.0
# Of fewer, a slope is that of caches that fill.
TELLING_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway holds. requests: how many it has had by then.

    resident_mb: of its own process. all_mb: anonymous memory, of its children as well.
    """

    requests: int
    resident_mb: float
    all_mb: float
    descriptors: int
    threads: int


def main() -> None:
    """Measure and print the figures."""
    options = contract.parser(__doc__.splitlines()[0])
    options.add_argument("--requests", type=int, help="how many in all", default=100_000)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--limit", type=float, help="seconds for all rounds", default=3600.0)
    options.add_argument("--leaving", type=int, default=1000, help="clients of the storm")
    arguments = options.parse_args()
    requests = 2000 if arguments.quick else arguments.requests
    rounds = 8 if arguments.quick else arguments.rounds
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(servers.upstream())
        home = servers.prepared(directory, upstream.port)
        gateway = stack.enter_context(servers.gateway(home, directory))
        held = _rounds(gateway, requests // rounds, rounds, limit_s=arguments.limit)
        stormed = _stormed(gateway, upstream, home, clients=arguments.leaving)
        contract.report([*_growth(held), *stormed], destination=arguments.json)


def _rounds(gateway: servers.Server, each: int, rounds: int, *, limit_s: float) -> list[Held]:
    """Send the rounds, or as many as the time allows, and say what was held after each."""
    until = time.monotonic() + limit_s
    _round(gateway, each)
    held = [_held(gateway.pid, 0)]
    for number in range(1, rounds + 1):
        if time.monotonic() > until:
            break
        _round(gateway, each)
        held.append(_held(gateway.pid, number * each))
        print(held[-1], file=sys.stderr, flush=True)
    return held


def _round(gateway: servers.Server, requests: int) -> None:
    """Send one round. Its clients come and go: connections are made anew for each kind."""

    def sent(text: str, *, stream: bool = False, model: str = gateway.model) -> str:
        return request(gateway.port, gateway.key, model, text, stream=stream)

    # A model that is not there, and a number out of its range, of the same length.
    negative = sent("x").replace('"max_tokens": 100', '"max_tokens": -10')
    refused = [sent("x", model="unknown"), negative]
    kinds: Sequence[tuple[list[str], float]] = (
        ([sent("Hello.")], 1 - STREAMS - REFUSED - LEFT),
        ([sent("streamed", stream=True)], STREAMS),
        (refused, REFUSED),
    )
    for texts, share in kinds:
        wanted = max(CLIENTS, int(requests * share))
        load(Plan(gateway.port, texts, CLIENTS, 600.0, most=wanted))
    leaving = request(gateway.port, gateway.key, gateway.model, "paced", stream=True)
    asyncio.run(_leave(gateway.port, leaving.encode(), max(1, int(requests * LEFT))))


async def _leave(port: int, data: bytes, clients: int) -> None:
    """Have so many clients begin an answer and leave before it ends, a few hundred at once."""
    room = asyncio.Semaphore(256)

    async def one() -> None:
        async with room:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                with suppress(TimeoutError):
                    async with asyncio.timeout(10):
                        await reader.read(1)
                writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(clients)))


def _held(pid: int, requests: int) -> Held:
    tasks = Path(f"/proc/{pid}/task")
    descriptors = Path(f"/proc/{pid}/fd")
    return Held(
        requests,
        servers.resident_mb(pid),
        servers.anonymous_mb([pid, *servers.descendants(pid)]),
        sum(1 for _ in descriptors.iterdir()),
        sum(1 for _ in tasks.iterdir()),
    )


def _growth(held: Sequence[Held]) -> list[Figure]:
    """Return the slopes. The first third is left out: caches fill, and arenas find their size."""
    later = held[len(held) // 3 :]
    told = f"{later[-1].requests} requests"
    counts = [each.requests for each in later]
    half = len(later) // 2
    return [
        _slope("growth_mb_per_1e6", counts, [each.resident_mb for each in later]),
        _slope("growth_all_mb_per_1e6", counts, [each.all_mb for each in later]),
        Figure(
            "descriptors_more",
            _least(later[half:]) - _least(later[:half]),
            "",
            "<= 8",
            ours=f"{later[-1].descriptors}",
            peer=told,
        ),
        Figure(
            "threads_more",
            later[-1].threads - later[0].threads,
            "",
            "<= 0",
            ours=f"{later[-1].threads}",
            peer=told,
        ),
    ]


def _least(held: Sequence[Held]) -> int:
    """Return the fewest descriptors: right after a round, some clients are about to be let go."""
    return min(each.descriptors for each in held)


def _slope(name: str, counts: Sequence[int], memory_mb: Sequence[float]) -> Figure:
    if counts[-1] < TELLING_REQUESTS:
        return Figure(name, None, "MB", "<= 5", peer=f"{counts[-1]} requests")
    found = trend(counts, memory_mb).scaled(MILLION)
    return Figure(
        name,
        found.slope,
        "MB",
        "<= 5",
        ours=f"{memory_mb[0]:.1f} to {memory_mb[-1]:.1f} MB; {found.low:.2f} to {found.high:.2f}",
        peer=f"{counts[-1]} requests",
    )


def _stormed(
    gateway: servers.Server, upstream: servers.Server, home: servers.Home, *, clients: int
) -> list[Figure]:
    """Have every client leave at once, half of them a model of this machine's own."""
    processes = len(servers.descendants(gateway.pid))
    for model, text in ((gateway.model, "paced"), ("smollm2-135m", "Tell a long story.")):
        data = request(gateway.port, gateway.key, model, text, stream=True).encode()
        asyncio.run(_leave(gateway.port, data, clients // 2))
    deadline = time.monotonic() + SETTLE_S
    while True:
        connections = _connections(upstream.port)
        more = len(servers.descendants(gateway.pid)) - processes
        unanswered = _open_entries(home.path / "sealgate.db")
        # One connection asks for the upstream's health, now and then.
        if (connections <= 1 and more <= 0 and not unanswered) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    told = f"{clients} clients"
    return [
        Figure("storm_upstream_connections", connections, "", "<= 1", peer=told),
        Figure("storm_processes_more", more, "", "<= 0", peer=told),
        Figure("storm_open_entries", unanswered, "", "<= 0", peer=told),
    ]


def _connections(port: int) -> int:
    """Count established connections to a local port, from /proc/net/tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[3] == "01" and int(row[2].partition(":")[2], 16) == port)


def _open_entries(database: Path) -> int:
    """Count the intents that have no outcome."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        query = (
            "SELECT count(*) FROM leaf AS begun WHERE begun.phase = 'intent' AND NOT EXISTS "
            "(SELECT 1 FROM leaf AS ended WHERE ended.uid = begun.request_id || '/outcome')"
        )
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    main()
