"""Without an optional library, a command says what to install and that this machine cannot yet."""

import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit import store
from gateway import anchoring, spans
from gateway.cli import compress, demo, train
from gateway.cli.errors import CANNOT, exit_code
from gateway.cli.main import app
from gateway.settings import Settings
from privacy import presidio, shares, torch_tensors
from privacy.custodians import aws_kms, pkcs11
from privacy.training import tables

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
# What nobody who installs a wheel asks for.
_OURS = {"dev"}


async def _spans():
    async with spans.spans(Settings(otlp_endpoint="http://127.0.0.1:9/v1/traces")):
        pass


def _timestamps(tmp_path):
    roots = tmp_path / "roots.pem"
    roots.write_bytes(b"")
    return Settings(anchor_timestamp_url="http://127.0.0.1:9", anchor_timestamp_roots=roots)


def _insight(home):
    result = CliRunner().invoke(app, ["insight", "tune", "--home", str(home)])
    raise result.exception


def _ledger():
    with tables.told():
        tables._postgres("postgresql://ledger@127.0.0.1/ledger")


# The extra, a library of it that is away, and what needs it.
NEEDS = [
    ("anchors", "boto3", lambda _: anchoring.anchors(Settings(anchor_s3_bucket="b"))),
    ("anchors", "rfc3161_client", lambda home: anchoring.anchors(_timestamps(home))),
    ("aws", "boto3", lambda _: aws_kms.library("boto3", extra="aws")),
    (
        "backup",
        "Crypto.Protocol.SecretSharing",
        lambda _: shares.split(bytes(32), threshold=2, shares=3, backup="0" * 8),
    ),
    ("demo", "openai", lambda _: demo._client("http://127.0.0.1:9", "sg-")),
    ("insight", "simpy", _insight),
    ("otel", "opentelemetry.sdk.trace", lambda _: _spans),
    ("pkcs11", "pkcs11", lambda _: pkcs11.library("pkcs11", extra="pkcs11")),
    ("postgres", "psycopg", lambda _: store.open_log("postgresql://log@127.0.0.1/log")),
    ("postgres", "psycopg", lambda _: _ledger()),
    ("presidio", "presidio_analyzer", lambda _: presidio.finder()),
    ("train", "torch", lambda _: train._extra("privacy.training.running")),
    ("train", "torch", lambda _: compress._loaded()),
    ("train", "torch", lambda _: torch_tensors._tensor(bytearray(4), "float32", [1])),
]


@pytest.mark.parametrize(("extra", "absent", "ask"), NEEDS)
async def test_a_library_that_is_away_is_told_by_its_extra(
    tmp_path, monkeypatch, extra, absent, ask
):
    monkeypatch.setitem(sys.modules, absent, None)
    # Ours that hold the library already.
    for ours in ("audit.anchors.timestamp", "gateway.insight.tuning", "gateway.insight.simulator"):
        monkeypatch.delitem(sys.modules, ours, raising=False)
    with pytest.raises(Exception, match="sealgate") as caught:  # noqa: PT012 - one of them waits.
        made = ask(tmp_path)
        if callable(made):
            await made()
    assert f"sealgate[{extra}]" in str(caught.value)
    assert exit_code(caught.value) == CANNOT


def test_every_extra_is_told_by_something():
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert {extra for extra, *_ in NEEDS} == extras.keys() - _OURS
