"""`sealgate train` and `sealgate budget`, as a person runs them."""

import importlib.util
import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from audit.evidence import events_of
from audit.store import existing_log
from gateway.cli import train as command
from gateway.cli.errors import CANNOT, USAGE, exit_code
from gateway.cli.main import app
from privacy.training.config import load
from privacy.training.errors import (
    BudgetExhausted,
    CertificateInvalid,
    ConfigInvalid,
    PlanInvalid,
    TrainingUnavailable,
)
from privacy.training.features import hashed
from privacy.training.vault import CHECKPOINT_FILE

CONFIG = """
name = "letters"
[data]
path = "letters.jsonl"
[model]
kind = "linear"
features = 64
[privacy]
epsilon = 8.0
delta = 1e-3
clip = 1.0
[training]
steps = 20
batch = 40
learning_rate = 2.0
[audit]
canaries = 0
"""


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """Run a command at a home of its own."""
    monkeypatch.setenv("SEALGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEALGATE_KEY_FILE", str(tmp_path / "key"))

    def run(*arguments):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return json.loads(result.stdout) if "--json" in arguments else result

    run("init", "--json")
    letters = [
        {"text": f"{word} {word} letter {n}", "label": word}
        for n in range(100)
        for word in ("good", "bad")
    ]
    (tmp_path / "letters.jsonl").write_text("\n".join(map(json.dumps, letters)))
    (tmp_path / "train.toml").write_text(CONFIG)
    return run


def test_a_configuration_becomes_a_certified_sealed_model(invoke, tmp_path):
    config = str(tmp_path / "train.toml")
    made = invoke("train", "run", config, "--json")
    assert 7.9 < made["epsilon"] <= 8.0
    shown = invoke("train", "verify", made["certificate_path"], "--json")
    assert shown["in_ledger"]
    assert shown["recomputed"]
    (budget,) = invoke("budget", "list", "--json")
    assert (budget["name"], budget["records"], budget["left"]) == ("letters", 200, 0.0)
    runs = invoke("budget", "show", "letters", "--json")["runs"]
    assert [(run["id"], run["settled"]) for run in runs] == [(made["run"], True)]
    assert invoke("budget", "verify", "--json")["verified"]
    with pytest.raises(BudgetExhausted, match="letters"):
        invoke("train", "run", config)
    with pytest.raises(ConfigInvalid, match="no adapter"):
        invoke("train", "import", made["run"], "--base", config, "--id", "x")


def test_a_changed_certificate_is_refused(invoke, tmp_path):
    made = invoke("train", "run", str(tmp_path / "train.toml"), "--json")
    path = tmp_path / "changed.json"
    with open(made["certificate_path"], "rb") as file:  # noqa: PTH123 - A name from a command.
        path.write_bytes(file.read().replace(b'"epsilon":7', b'"epsilon":1'))
    with pytest.raises(CertificateInvalid):
        invoke("train", "verify", str(path))


def spent_on_record(home):
    """Add up, from the log, what the budget lost and got back."""
    engine = existing_log(home / "sealgate.db")
    found = [event for _, event in events_of(engine, ["budget.spent"])]
    engine.dispose()
    details = [event["sealgate"]["detail"] for event in found]
    return sum(detail["epsilon_micro"] for detail in details) / 1e6


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_from_its_checkpoint(invoke, tmp_path):
    config = tmp_path / "train.toml"
    text = CONFIG.replace("steps = 20", "steps = 150\ncheckpoint_steps = 5\nlease_steps = 4")
    config.write_text(text.replace("epsilon = 8.0", "epsilon = 2.0\nbudget_epsilon = 8.0"))
    command = [sys.executable, "-m", "gateway", "train", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        name = next(line.split()[1] for line in process.stderr if line.startswith("Run run_"))
        checkpoint = tmp_path / "home" / "training" / name / CHECKPOINT_FILE
        while not checkpoint.is_file():
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    (run,) = invoke("budget", "show", "letters", "--json")["runs"]
    assert (run["id"], run["settled"]) == (name, False)
    assert 5 <= run["steps_charged"] < 150
    # The whole plan was charged, and its expense recorded, before the first step.
    (budget,) = invoke("budget", "list", "--json")
    assert spent_on_record(tmp_path / "home") == pytest.approx(budget["spent_at_most"], abs=1e-5)
    made = invoke("train", "run", str(config), "--resume", name, "--json")
    assert made["run"] == name
    shown = invoke("train", "verify", made["certificate_path"], "--json")
    assert shown["in_ledger"]
    assert shown["epsilon"] <= 2.0
    (budget,) = invoke("budget", "list", "--json")
    assert spent_on_record(tmp_path / "home") == pytest.approx(budget["spent_at_most"], abs=1e-5)


def test_an_open_run_is_released_by_name(invoke, tmp_path, monkeypatch):
    running = importlib.import_module("privacy.training.running")

    def crash(*_):
        raise PlanInvalid("a crash in the middle")

    monkeypatch.setattr(running, "train_once", crash)
    with pytest.raises(PlanInvalid, match="in the middle"):
        invoke("train", "run", str(tmp_path / "train.toml"))
    (run,) = invoke("budget", "show", "letters", "--json")["runs"]
    assert not run["settled"]
    before = spent_on_record(tmp_path / "home")
    assert invoke("budget", "release", run["id"], "--json")["settled"]
    (budget,) = invoke("budget", "list", "--json")
    after = spent_on_record(tmp_path / "home")
    assert after == pytest.approx(budget["spent_at_most"], abs=1e-5)
    assert after <= before
    (run,) = invoke("budget", "show", "letters", "--json")["runs"]
    assert run["settled"]


def test_without_the_extra_the_command_names_what_is_missing(invoke, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda name: None if name == "opacus" else find(name)
    )
    with pytest.raises(TrainingUnavailable, match=r"opacus.*sealgate\[train\]") as raised:
        invoke("train", "run", str(tmp_path / "train.toml"))
    assert exit_code(raised.value) == CANNOT


def test_the_command_line_does_not_import_torch():
    code = (
        "import sys, gateway.cli.main; print([m for m in sys.modules if m in ('torch', 'opacus')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "missing required field `name`"),
        ("name = 3", "Expected `str`"),
        ("name = ", "Invalid value"),
        (CONFIG + "more = 1", "unknown field `more`"),
        (CONFIG.replace('"linear"', '"cubic"'), "cubic"),
        (CONFIG.replace('"linear"', '"lora"'), "give `base`"),
        (CONFIG.replace('"letters.jsonl"', "7"), "path"),
    ],
)
def test_a_configuration_that_says_something_else_is_refused(tmp_path, written, reason):
    path = tmp_path / "train.toml"
    path.write_text(written)
    with pytest.raises(ConfigInvalid, match=reason) as raised:
        load(path)
    assert exit_code(raised.value) == USAGE


def test_a_configuration_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigInvalid, match="No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ("", "at least one"),
        ("[1]", "one JSON object a line"),
        ("{", "no file of JSON lines"),
        ('{"label": "x"}', "no member 'text'"),
        ('{"text": "x"}', "no member 'label'"),
    ],
)
def test_records_that_cannot_be_read_are_refused(invoke, tmp_path, records, reason):
    (tmp_path / "letters.jsonl").write_text(records)
    with pytest.raises(ConfigInvalid, match=reason):
        invoke("train", "run", str(tmp_path / "train.toml"))


def test_an_audit_that_cannot_be_is_refused_before_anything_is_charged(invoke, tmp_path):
    config = tmp_path / "train.toml"
    config.write_text(CONFIG.replace("canaries = 0", "canaries = 3"))
    with pytest.raises(PlanInvalid, match="canaries") as raised:
        invoke("train", "run", str(config))
    assert exit_code(raised.value) == USAGE
    assert invoke("budget", "list", "--json") == []


def test_hashed_rows_have_length_one_and_ignore_order_and_case():
    rows = hashed(["Chest pain today", "today PAIN chest", ""], columns=128)
    assert rows[0] == pytest.approx(rows[1])
    assert float((rows[0] ** 2).sum()) == pytest.approx(1.0)
    assert not rows[2].any()
