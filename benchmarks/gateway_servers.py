"""What `benchmarks/gateway.py` and `soak.py` load: our gateway, its upstream, and its peers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Where `-m gateway` is the package, and not the benchmark of that name.
ROOT = HERE.parent
# Where a peer lies in the directory that `--peers` names.
PLACES = {
    "litellm": "litellmproxy/bin/litellm",
    "portkey": "portkey/node_modules/@portkey-ai/gateway/build/start-server.js",
}
START_S = 120.0
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
# The peers hide nothing of what they send on: for them to be compared, neither does ours.
POLICY = """
version = 1

[[rule]]
name = "bench"
tiers = ["local", "cloud"]
marking = "where possible"
redaction = "none"

[[baa]]
remote = "mock"
reference = "bench"
expires = 2999-12-31
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


@dataclass(frozen=True, slots=True)
class Server:
    """Something that answers chats on loopback. headers: what it wants beside the key.

    admin: the port that it tells metrics on, where it does.
    """

    port: int
    pid: int
    key: str = "none"
    model: str = "mock"
    headers: Mapping[str, str] = field(default_factory=dict)
    admin: int | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """A home that can be served. custodian: its key file. key: of a client."""

    path: Path
    custodian: Path
    key: str


@contextmanager
def upstream() -> Iterator[Server]:
    """Run the upstream."""
    port = free_port()
    command = [sys.executable, str(HERE / "gateway_upstream.py"), str(port)]
    with _process(command) as process:
        _line(process)
        yield Server(port, process.pid)


def prepared(directory: Path, port: int) -> Home:
    """Make a home with the reference model and a client, and a tier that is the upstream."""
    home, custodian = directory / "home", directory / "key"
    (directory / "tiers.toml").write_text(TIERS.format(port=port))
    (directory / "policy.toml").write_text(POLICY)
    _sealgate("init", "--key-file", str(custodian), home=home)
    _sealgate("models", "fetch", "smollm2-135m", home=home)
    added = ("clients", "add", "--name", "bench", "--tenant", "bench", "--json")
    return Home(home, custodian, json.loads(_sealgate(*added, home=home))["key"])


def copied(home: Home, directory: Path) -> Home:
    """Return a copy of a home in another directory."""
    path = directory / "home"
    shutil.copytree(home.path, path)
    return Home(path, home.custodian, home.key)


@contextmanager
def gateway(
    home: Home, directory: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Serve a home. directory: where `prepared` left its files. settings: in the environment."""
    settings = {
        **(settings or {}),
        "SEALGATE_TIERS_FILE": str(directory / "tiers.toml"),
        "SEALGATE_POLICY_FILE": str(directory / "policy.toml"),
        "SEALGATE_KEY_FILE": str(home.custodian),
        "SEALGATE_ACKNOWLEDGEMENT_S": "5",
        "SEALGATE_ADMIN_PORT": str(admin := free_port()),
    }
    command = [sys.executable, "-m", "gateway", "serve", "--json", "--port", "0"]
    with _process([*command, "--home", str(home.path)], settings) as process:
        url = json.loads(_line(process))["url"]
        port = int(url.rpartition(":")[2])
        yield Server(port, process.pid, home.key, "mock-model", admin=admin)


@contextmanager
def litellm(directory: Path, peers: Path, upstream_port: int) -> Iterator[Server]:
    """Run LiteLLM's proxy, one worker."""
    port, config = free_port(), directory / "litellm.yaml"
    config.write_text(LITELLM.format(port=upstream_port))
    command = [str(peers / PLACES["litellm"]), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    with _process(command, settings) as process:
        _await_port(port)
        yield Server(port, process.pid, "sk-bench", "mock-model")


@contextmanager
def portkey(_: Path, peers: Path, upstream_port: int) -> Iterator[Server]:
    """Run Portkey's gateway."""
    port = free_port()
    command = ["node", str(peers / PLACES["portkey"]), f"--port={port}", "--headless"]
    settings = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1"}
    with _process(command, settings) as process:
        _await_port(port)
        headers = {
            "x_portkey_provider": "openai",
            "x_portkey_custom_host": f"http://127.0.0.1:{upstream_port}/v1",
        }
        yield Server(port, process.pid, "none", "mock", headers)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, with that of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log_s(server: Server) -> float:
    """Return for how long requests have waited for the log so far, all together; 0 without one."""
    if server.admin is None:
        return 0.0
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = "sealgate_log_acknowledgement_seconds_sum "
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def resident_mb(pid: int) -> float:
    """Return a process's own resident memory; sandboxes and key broker are processes apart."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(n.split()[1]) for n in status.splitlines() if n.startswith("VmRSS")) / 1024


def anonymous_mb(pids: Iterable[int]) -> float:
    """Return the anonymous memory of some processes; what has ended meanwhile has none."""
    return sum(map(_anonymous_kib, pids)) / 1024


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _anonymous_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(n.split()[1]) for n in status.splitlines() if n.startswith("RssAnon"))


def _sealgate(*arguments: str, home: Path) -> str:
    command = [sys.executable, "-m", "gateway", *arguments, "--home", str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return done.stdout


@contextmanager
def _process(
    command: list[str], settings: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = os.environ | dict(settings or {})
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _line(process: "subprocess.Popen[bytes]") -> bytes:
    if process.stdout is None:
        raise RuntimeError("The process has no output to wait for.")
    return process.stdout.readline()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"Nobody listens on port {port} after {START_S:g} s.")
