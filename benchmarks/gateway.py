"""The gateway's own cost, in front of an upstream that answers at once: against none, and LiteLLM.

Ours runs with authentication, the audit log (intent and outcome on disk for each answer), limits,
policy and metrics; LiteLLM's proxy with a master key and nothing else. `--peers DIRECTORY` names
where its environment `litellmproxy` lies (`pip install 'litellm[proxy]'`); without it, its figures
are absent. Everything is on one machine's loopback interface, the load included.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import contract
from gateway_load import Load, load, request

TIERS = """
[[remote]]
name = "mock"
tier = "cloud"
profile = "vllm"
origin = "http://127.0.0.1:{port}"
model = "mock"
serves = "mock-model"
boundary = "bench"
classes = ["public", "internal", "phi", "unclassified"]
context_length = 32768
slots = 4096
"""
LITELLM = """
model_list:
  - model_name: mock-model
    litellm_params:
      model: openai/mock
      api_base: http://127.0.0.1:{port}/v1
      api_key: none
general_settings:
  master_key: sk-bench
"""
HERE = Path(__file__).parent


def main() -> None:
    """Measure and print the figures."""
    options = contract.parser(__doc__.splitlines()[0])
    options.add_argument("--peers", type=Path, help="directory with LiteLLM's environment")
    arguments = options.parse_args()
    limit_s = 3.0 if arguments.quick else 10.0
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        upstream = stack.enter_context(_upstream())
        ours, key, pid = stack.enter_context(_gateway(Path(directory), upstream))
        servers = {"direct": (upstream, "none", "mock"), "ours": (ours, key, "mock-model")}
        if arguments.peers is not None:
            peer = stack.enter_context(_litellm(Path(directory), arguments.peers, upstream))
            servers["litellm"] = (peer, "sk-bench", "mock-model")
        measured = {name: _measured(*server, limit_s) for name, server in servers.items()}
        contract.report(_figures(measured, _resident_mb(pid)), destination=arguments.json)


def _measured(port: int, key: str, model: str, limit_s: float) -> dict[str, Load]:
    """Measure one server in every way."""

    def run(text: str, clients: int, *, stream: bool = False, once: bool = False) -> Load:
        data = request(port, key, model, text, stream=stream)
        asyncio.run(load(port, data, clients=clients, limit_s=0.5, once=once))
        return asyncio.run(load(port, data, clients=clients, limit_s=limit_s, once=once))

    return {
        "c1": run("Hello.", 1),
        "c16": run("Hello.", 16),
        "c64": run("Hello.", 64),
        "sse": run("streamed", 16, stream=True),
        "paced": run("paced", 128, stream=True, once=True),
    }


def _figures(measured: dict[str, dict[str, Load]], resident_mb: float) -> list[contract.Figure]:
    ours, direct, peer = measured["ours"], measured["direct"], measured.get("litellm")

    def ratio(name: str, case: str, target: str, rate: str) -> contract.Figure:
        own = getattr(ours[case], rate)
        other = getattr(peer[case], rate) if peer else None
        value = own / other if other else None
        unit = f"{own:.0f}/s, {ours[case].failed} failed"
        told = f"{other:.0f}/s, {peer[case].failed} failed" if peer and other is not None else "-"
        return contract.Figure(name, value, "x", target, ours=unit, peer=told)

    def added(name: str, percent: int, target: str) -> contract.Figure:
        own, bare = ours["c1"].percentile_ms(percent), direct["c1"].percentile_ms(percent)
        return contract.Figure(
            name, own - bare, "ms", target, ours=f"{own:.2f} ms", peer=f"direct {bare:.2f} ms"
        )

    paced = ours["paced"].percentile_ms(50) / direct["paced"].percentile_ms(50)
    return [
        ratio("rps_ratio_vs_litellm_c16", "c16", ">= 25", "rate"),
        ratio("rps_ratio_vs_litellm_c64", "c64", ">= 25", "rate"),
        ratio("sse_ratio_vs_litellm", "sse", ">= 50", "piece_rate"),
        added("added_p50_ms_c1", 50, "<= 0.5"),
        added("added_p99_ms_c1", 99, "<= 2"),
        contract.Figure("paced128_p50_over_direct", paced, "x", "<= 1.03"),
        contract.Figure("rss_mb", resident_mb, "MB", "<= 80"),
        contract.Figure("rps_ratio_vs_portkey", None, "x", ">= 4"),
    ]


@contextmanager
def _upstream() -> Iterator[int]:
    port = _free_port()
    command = [sys.executable, str(HERE / "gateway_upstream.py"), str(port)]
    with _process(command) as process:
        process.stdout.readline()
        yield port


@contextmanager
def _gateway(directory: Path, upstream: int) -> Iterator[tuple[int, str, int]]:
    """Serve a home with the reference model, and a tier that is the upstream."""
    home, tiers = directory / "home", directory / "tiers.toml"
    tiers.write_text(TIERS.format(port=upstream))
    sealgate = [sys.executable, "-m", "gateway"]
    for step in (
        ["init", "--key-file", str(directory / "key")],
        ["models", "fetch", "smollm2-135m"],
    ):
        subprocess.run(
            [*sealgate, *step, "--home", str(home)], check=True, stdout=subprocess.DEVNULL
        )
    added = ["clients", "add", "--name", "bench", "--tenant", "bench", "--json"]
    made = subprocess.run([*sealgate, *added, "--home", str(home)], check=True, capture_output=True)
    settings = {"SEALGATE_TIERS_FILE": str(tiers), "SEALGATE_ACKNOWLEDGEMENT_S": "5"}
    serve = [*sealgate, "serve", "--json", "--port", "0", "--home", str(home)]
    with _process(serve, settings) as process:
        url = json.loads(process.stdout.readline())["url"]
        yield int(url.rpartition(":")[2]), json.loads(made.stdout)["key"], process.pid


@contextmanager
def _litellm(directory: Path, peers: Path, upstream: int) -> Iterator[int]:
    port, config = _free_port(), directory / "litellm.yaml"
    config.write_text(LITELLM.format(port=upstream))
    command = [str(peers / "litellmproxy" / "bin" / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    with _process(command, settings):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield port


@contextmanager
def _process(
    command: list[str], settings: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | (settings or {})
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _resident_mb(pid: int) -> float:
    """Return the gateway process's own resident memory; sandboxes and key broker not counted."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(n.split()[1]) for n in status.splitlines() if n.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
