"""The gateway's own cost, in front of an upstream that answers at once: against none, and peers.

Ours runs with authentication, the audit log (intent and outcome acknowledged for each answer),
limits, policy and metrics; LiteLLM's proxy with a master key, Portkey's with nothing. Ours runs
twice: its home on the disk, where an acknowledgement has waited for the disk (`_fsync`), and in
memory (`--memory`, /dev/shm), where a batch is acknowledged as soon as it is committed. What one
client waits for is told three times: on the disk, in memory (`_memory`), and in memory less what
its request waited for the log. `--peers
DIRECTORY` holds `litellmproxy` (a virtual environment with `pip install 'litellm[proxy]'`) and
`portkey` (`npm install @portkey-ai/gateway`); who is not there is absent. Everything is on one
machine's loopback interface, the load included.
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import contract
import gateway_servers as servers
from contract import Figure, Samples
from gateway_load import Load, Plan, load, request

CASES: Mapping[str, tuple[str, int, bool]] = {
    "c1": ("Hello.", 1, False),
    "c16": ("Hello.", 16, False),
    "c64": ("Hello.", 64, False),
    "sse": ("streamed", 16, True),
    "paced": ("paced", 128, True),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one server.

    cpu_us: of its process and no other, for each good request. log_ms: how long each waited for the
    log's acknowledgements, the mean.
    """

    load: Load
    cpu_us: float
    log_ms: float = 0.0


Runs = Mapping[str, Mapping[str, list[Run]]]


def main() -> None:
    """Measure and print the figures."""
    options = contract.parser(__doc__.splitlines()[0])
    options.add_argument("--peers", type=Path, help="directory with the peers")
    options.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a memory disk")  # noqa: S108 - what the option is about.
    arguments = options.parse_args()
    rounds, limit_s = (1, 0.6) if arguments.quick else (3, 5.0)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(servers.upstream())
        home = servers.prepared(directory, upstream.port)
        running = {
            "direct": upstream,
            "disk": stack.enter_context(servers.gateway(home, directory)),
        }
        if os.access(arguments.memory, os.W_OK):
            memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.memory)))
            copied = servers.copied(home, memory)
            running["memory"] = stack.enter_context(servers.gateway(copied, directory))
        for name, peer in (("litellm", servers.litellm), ("portkey", servers.portkey)):
            if arguments.peers is not None and (arguments.peers / servers.PLACES[name]).exists():
                running[name] = stack.enter_context(peer(directory, arguments.peers, upstream.port))
        runs = {case: _in_turns(running, case, rounds=rounds, limit_s=limit_s) for case in CASES}
        resident_mb = servers.resident_mb(running["disk"].pid)
        contract.report(_figures(runs, resident_mb), destination=arguments.json)


def _in_turns(
    running: Mapping[str, servers.Server], case: str, *, rounds: int, limit_s: float
) -> dict[str, list[Run]]:
    measures: list[Callable[[], Run]] = [
        partial(_measured, server, case, limit_s) for server in running.values()
    ]
    taken = contract.in_turns(*measures, rounds=rounds)
    return dict(zip(running, taken, strict=True))


def _measured(server: servers.Server, case: str, limit_s: float) -> Run:
    text, clients, stream = CASES[case]
    sent = request(server.port, server.key, server.model, text, stream=stream, **server.headers)
    once = case == "paced"
    if not once:
        load(Plan(server.port, [sent], clients, 0.2))
    before, logged_s = servers.cpu_s(server.pid), servers.log_s(server)
    told = load(Plan(server.port, [sent], clients, limit_s, once))
    good = max(1, len(told.seconds))
    cpu_us = (servers.cpu_s(server.pid) - before) / good * 1e6
    return Run(told, cpu_us, (servers.log_s(server) - logged_s) / good * 1e3)


def _figures(runs: Runs, resident_mb: float) -> list[Figure]:
    return [
        *itertools.chain.from_iterable(_rates(runs, ours) for ours in ("memory", "disk")),
        _ratio(runs, "rps_ratio_vs_portkey", "c16", ("memory", "portkey"), ">= 4"),
        _cpu(runs, "cpu_ratio_vs_litellm_c64", "c64"),
        _cpu(runs, "cpu_ratio_vs_litellm_sse", "sse"),
        _unlogged(runs, "added_p50_ms_c1", 50, "<= 0.5"),
        _unlogged(runs, "added_p99_ms_c1", 99, "<= 2"),
        _added(runs, "added_p50_ms_c1_fsync", "disk", 50, "<= 20"),
        _added(runs, "added_p99_ms_c1_fsync", "disk", 99, "<= 60"),
        _paced(runs),
        Figure("rss_mb", resident_mb, "MB", "<= 80"),
    ]


def _rates(runs: Runs, ours: str) -> list[Figure]:
    """Return the ratios to LiteLLM. In memory: acknowledged by batch; on disk: after its fsync."""
    suffix = "_fsync" if ours == "disk" else ""
    pair = (ours, "litellm")
    return [
        _ratio(runs, f"rps_ratio_vs_litellm_c16{suffix}", "c16", pair, ">= 25"),
        _ratio(runs, f"rps_ratio_vs_litellm_c64{suffix}", "c64", pair, ">= 25"),
        _ratio(runs, f"sse_ratio_vs_litellm{suffix}", "sse", pair, ">= 50"),
    ]


def _ratio(runs: Runs, name: str, case: str, pair: tuple[str, str], target: str) -> Figure:
    ours, peer = (runs[case].get(each, []) for each in pair)
    rate = "piece_rate" if case == "sse" else "rate"
    values: list[list[float]] = [[getattr(run.load, rate) for run in each] for each in (ours, peer)]
    value = _over(*values)
    failed = sum(run.load.failed for run in ours)
    return Figure(
        name,
        value,
        "x",
        target,
        ours=f"{Samples(values[0])}/s, {failed} failed" if ours else contract.ABSENT,
        peer=f"{Samples(values[1])}/s" if peer else contract.ABSENT,
    )


def _cpu(runs: Runs, name: str, case: str) -> Figure:
    """Compare the processor time of a request: what is left when the machine does other work."""
    ours, peer = (
        [run.cpu_us for run in runs[case].get(each, [])] for each in ("memory", "litellm")
    )
    return Figure(
        name,
        _over(peer, ours),
        "x",
        ">= 50" if case == "sse" else ">= 25",
        ours=f"{Samples(ours)} us" if ours else contract.ABSENT,
        peer=f"{Samples(peer)} us" if peer else contract.ABSENT,
    )


def _over(one: list[float], other: list[float]) -> float | None:
    if not one or not other or not Samples(other).median:
        return None
    ratio: float = Samples(one).median / Samples(other).median
    return ratio


def _added(runs: Runs, name: str, ours: str, percent: int, target: str) -> Figure:
    """Compare latencies, the log's part in them."""
    own, bare = (
        [run.load.percentile_ms(percent) for run in runs["c1"].get(each, [])]
        for each in (ours, "direct")
    )
    value = Samples(own).median - Samples(bare).median if own else None
    told = f"{Samples(own)} ms" if own else contract.ABSENT
    return Figure(name, value, "ms", target, ours=told, peer=f"direct {Samples(bare)} ms")


def _unlogged(runs: Runs, name: str, percent: int, target: str) -> Figure:
    """Compare latencies without the log: as if each entry were acknowledged at once.

    What is left on the average stands for what is left at the median, which a tail to the right
    only makes worse. A slow request is taken to have waited for the log as the median one did.
    The log's processor time on the loop counts.
    """
    whole = _added(runs, name, "memory", percent, target)
    ours = runs["c1"].get("memory", [])
    if whole.value is None or not any(run.load.seconds for run in ours):
        return whole
    rest_ms = Samples([run.load.mean_ms - run.log_ms for run in ours]).median
    typical_ms = Samples([run.load.percentile_ms(50) for run in ours]).median
    log_ms = max(0.0, typical_ms - rest_ms)
    told = f"{whole.ours}, of it {log_ms:.3g} ms for the log"
    return Figure(name, whole.value - log_ms, "ms", target, ours=told, peer=whole.peer)


def _paced(runs: Runs) -> Figure:
    own, bare = (
        [run.load.percentile_ms(50) for run in runs["paced"][each]] for each in ("disk", "direct")
    )
    value = Samples(own).median / Samples(bare).median
    shown = (f"{Samples(each)} ms" for each in (own, bare))
    return Figure("paced128_p50_over_direct", value, "x", "<= 1.03", *shown)


if __name__ == "__main__":
    main()
