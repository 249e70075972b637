"""Clients as others install them, each in its own environment and process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.api.openapi import document
from gateway.models.fetch import fetch
from tests.conftest import CACHE
from tests.e2e.deployment import MODEL, Gateway, add_keys, make_home, sealgate, serve

CLIENTS = Path(os.environ.get("SEALGATE_CLIENTS", "/nonexistent"))
PROGRAMS = Path(__file__).parent / "programs"
EMBEDDER = "minilm-l6-v2"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not CLIENTS.is_dir(),
        reason="SEALGATE_CLIENTS names no directory: tests/conformance/clients",
    ),
]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, reference_gguf):
    """A gateway of a model that speaks and one that embeds. It has time: clients start slowly."""
    home = make_home(tmp_path_factory.mktemp("clients"), reference_gguf)
    sealgate("models", "import", str(fetch(EMBEDDER, into=CACHE)), "--id", EMBEDDER, home=home)
    keys = add_keys(home)
    with serve(home, acknowledgement_s=20, workers=2, concurrency=4) as (process, url):
        yield Gateway(home, url, process.pid, keys)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def environment(gateway):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {
        "OPENAI_BASE_URL": f"{gateway.url}/v1",
        "OPENAI_API_KEY": gateway.keys["client"],
        "MODEL": MODEL,
        "EMBEDDER": EMBEDDER,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "*",
    }


def run(command, gateway, **options):
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=environment(gateway),
        **options,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]


@pytest.mark.parametrize(
    ("client", "program"),
    [
        ("openai1", "openai_python.py"),
        ("openai2", "openai_python.py"),
        ("langchain", "langchain.py"),
        ("litellm", "litellm_sdk.py"),
        ("instructor", "instructor_models.py"),
    ],
)
def test_python_client_is_content(client, program, gateway):
    run([CLIENTS / client / "bin" / "python", "-P", PROGRAMS / program], gateway)


def test_locked_openai_client_is_content(gateway):
    run([sys.executable, "-P", PROGRAMS / "openai_python.py"], gateway)


@pytest.mark.parametrize("client", ["n6", "n7"])
def test_node_client_is_content(client, gateway):
    # Node looks for packages beside the script.
    script = shutil.copy(PROGRAMS / "openai_node.mjs", CLIENTS / client)
    run(["node", script], gateway)


def test_schemathesis_finds_nothing(gateway, tmp_path):
    """Every operation of the document, with valid, invalid and half-valid requests."""
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document()))
    command = [CLIENTS / "schemathesis" / "bin" / "schemathesis", "run", schema]
    command += ["--url", gateway.url, "-H", f"Authorization: Bearer {gateway.keys['client']}"]
    command += ["--max-examples", "15", "--seed", "1", "--request-timeout", "60"]
    command += ["--checks", ",".join(CHECKS)]
    run(command, gateway, cwd=tmp_path)
