"""A private LoRA fine-tune of the reference model, from records to a marked and logged answer."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli.errors import FAILED
from privacy.training.certificate import digest_of
from tests.e2e.deployment import Gateway, sealgate

REPOSITORY = Path(__file__).resolve().parents[2]

pytest.importorskip("opacus", reason="the extra [train] is not installed")
pytest.importorskip("peft", reason="the extra [train] is not installed")
# Reading the model alone takes PyTorch half a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NOTES = [
    f"Note {n}: the patient of bed {n % 40} slept well, ate {n % 3} meals and walked {n} steps."
    for n in range(160)
]
AGAIN = """
name = "renamed"
[data]
path = "again.jsonl"
[model]
kind = "lora"
base = "{base}"
length = 16
[privacy]
epsilon = 1.0
delta = 1e-3
clip = 1.0
[training]
steps = 4
batch = 80
learning_rate = 1e-3
optimizer = "adamw"
"""
SMALL = {"STEPS": "3", "BATCH": "80", "DELTA": "1e-3", "LENGTH": "16", "CANARIES": "400"}


def patiently(*arguments, home):
    """Run a command that takes minutes, and return what it says in JSON."""
    command = [sys.executable, "-m", "gateway", *arguments, "--json", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Trained:
    """What the script of docs/training.md left behind. said: its output."""

    home: Path
    certificate_path: Path
    said: str

    def events(self):
        """The log's entries, oldest first."""
        return Gateway(self.home, "", 0, {}).events()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, reference_gguf):
    """Run the script, whole and as it stands, in an empty home; only its sizes are small."""
    place = tmp_path_factory.mktemp("fine-tune")
    home, notes = place / "home", place / "notes.jsonl"
    notes.write_text("\n".join(json.dumps({"text": note}) for note in NOTES))
    places = {"SEALGATE_HOME": home, "SEALGATE_KEY_FILE": place / "key", "MAILS": notes}
    environment = os.environ | SMALL | {"BASE": str(reference_gguf), "TOKENS": "60"}
    environment |= {name: str(path) for name, path in places.items()}
    environment |= {"SEALGATE_ACKNOWLEDGEMENT_S": "5"}
    done = subprocess.run(
        ["/bin/sh", str(REPOSITORY / "docs" / "private-fine-tune.sh")],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = home.glob("training/*/certificate.json")
    return Trained(home, path, done.stdout)


def test_the_certificate_verifies_and_its_budget_is_used_up(trained):
    shown = patiently("train", "verify", str(trained.certificate_path), home=trained.home)
    assert shown["in_ledger"]
    assert shown["recomputed"]
    assert 7.9 < shown["epsilon"] <= 8.0
    assert 0 <= shown["audit_bound"] <= min(shown["epsilon"], shown["audit_cap"])
    assert 1 < shown["audit_control"] <= shown["audit_cap"]
    (budget,) = json.loads(sealgate("budget", "list", "--json", home=trained.home).stdout)
    assert (budget["name"], budget["records"], budget["left"]) == ("mails", 160, 0.0)


def test_no_plaintext_parameter_is_left_in_the_home(trained):
    plain = {".gguf", ".safetensors", ".pt", ".bin"}
    assert not [path for path in trained.home.rglob("*") if path.suffix in plain]


def test_an_answer_is_marked_and_its_entry_names_the_certificate(trained):
    certificate = digest_of(trained.certificate_path.read_bytes())
    entries = [e["sealgate"] for e in trained.events() if "choices" in e["sealgate"]]
    (outcome,) = entries
    (intent,) = [e["sealgate"] for e in trained.events() if e["sealgate"]["phase"] == "intent"]
    assert outcome["ending"] == "completed"
    assert outcome["choices"][0]["mark"] in {"traceable", "weak", "unmarked"}
    assert intent["model"]["training_certificate"] == certificate
    assert outcome["model"] == intent["model"]
    sealing = [e for e in trained.events() if e["api"]["operation"] == "model.sealed"]
    (detail,) = (entry["sealgate"]["detail"] for entry in sealing)
    assert detail["model_digest"] == outcome["model"]["digest"]
    assert detail["training_certificate"] == certificate


def test_the_report_carries_the_promise_and_what_the_audit_showed(trained):
    summary = trained.certificate_path.with_name("report.summary.json")
    content = json.loads(trained.certificate_path.read_bytes())["certificate"]
    (row,) = json.loads(summary.read_bytes())["figures"]["training_certificates"]["data"]
    findings = content["audit"]["findings"]
    assert row["run"] == content["run"]
    assert row["epsilon"] == str(content["guarantee"]["epsilon"])
    assert row["audit_bound"] == str(max(finding["epsilon"] for finding in findings))
    assert row["audit_cap"] == str(max(finding["cap"] for finding in findings))
    assert row["audit_control"] == str(content["audit"]["control"]["epsilon"])


def test_a_second_run_over_the_same_notes_is_refused(trained, reference_gguf):
    place = trained.home.parent
    (place / "again.jsonl").write_text("\n".join(json.dumps({"text": n}) for n in NOTES[::-1]))
    (place / "train.toml").write_text(AGAIN.format(base=reference_gguf))
    command = [sys.executable, "-m", "gateway", "train", "run", str(place / "train.toml")]
    command += ["--home", str(trained.home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == FAILED
    assert "budget 'mails' does not cover" in done.stderr
