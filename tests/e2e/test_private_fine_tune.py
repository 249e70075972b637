"""A private LoRA fine-tune of the reference model, from records to a marked and logged answer."""

import json
import signal
import subprocess
import sys

import pytest

from tests.e2e.deployment import Gateway, add_keys, sealgate, serve

pytest.importorskip("opacus", reason="the extra [train] is not installed")
pytest.importorskip("peft", reason="the extra [train] is not installed")
# Reading the model alone takes PyTorch half a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NOTES = [
    f"Note {n}: the patient of bed {n % 40} slept well, ate {n % 3} meals and walked {n} steps."
    for n in range(160)
]
CONFIG = """
name = "notes"
[data]
path = "notes.jsonl"
[model]
kind = "lora"
base = "{base}"
length = 16
rank = 4
[privacy]
epsilon = 8.0
delta = 1e-3
clip = 1.0
[training]
steps = 4
batch = 80
microbatch = 16
learning_rate = 1e-3
optimizer = "adamw"
[audit]
canaries = 200
"""


def patiently(*arguments, home):
    """Run a command that takes minutes, and return what it says in JSON."""
    command = [sys.executable, "-m", "gateway", *arguments, "--json", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, reference_gguf):
    """A home whose model `notes` was trained there, and what its commands said."""
    place = tmp_path_factory.mktemp("fine-tune")
    home = place / "home"
    sealgate("init", "--key-file", str(place / "key"), home=home)
    (place / "notes.jsonl").write_text("\n".join(json.dumps({"text": n}) for n in NOTES))
    (place / "train.toml").write_text(CONFIG.format(base=reference_gguf))
    run = patiently("train", "run", str(place / "train.toml"), home=home)
    options = ["--base", str(reference_gguf), "--id", "notes"]
    imported = patiently("train", "import", run["run"], *options, home=home)
    return home, run, imported


def test_the_certificate_verifies_and_its_budget_is_used_up(trained):
    home, run, _ = trained
    shown = patiently("train", "verify", run["certificate_path"], home=home)
    assert shown["in_ledger"]
    assert shown["recomputed"]
    assert 7.9 < shown["epsilon"] <= 8.0
    assert 0 <= shown["audit_bound"] <= min(shown["epsilon"], shown["audit_cap"])
    assert shown["audit_control"] > shown["audit_bound"]
    (budget,) = json.loads(sealgate("budget", "list", "--json", home=home).stdout)
    assert (budget["name"], budget["records"], budget["left"]) == ("notes", 160, 0.0)


def test_no_plaintext_parameter_is_left_in_the_home(trained):
    home, _, _ = trained
    assert not [p for p in home.rglob("*") if p.suffix in {".gguf", ".safetensors", ".pt", ".bin"}]


def test_an_answer_is_marked_and_its_entry_leads_to_the_certificate(trained):
    home, run, imported = trained
    keys = add_keys(home)
    with serve(home, acknowledgement_s=5) as (process, url):
        gateway = Gateway(home, url, process.pid, keys)
        with gateway.client() as client:
            made = client.chat.completions.create(
                model="notes",
                messages=[{"role": "user", "content": "Tell me at length how the patient slept."}],
                max_tokens=60,
            )
        entries = gateway.events(made._request_id)
        sealing = [e for e in gateway.events() if e["api"]["operation"] == "model.sealed"]
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert made.choices[0].message.content
    intent, outcome = (entry["sealgate"] for entry in entries[:2])
    assert intent["model"]["digest"] == imported["model_digest"]
    assert outcome["choices"][0]["mark"] in {"traceable", "weak", "unmarked"}
    (detail,) = (entry["sealgate"]["detail"] for entry in sealing)
    assert detail["model_digest"] == imported["model_digest"]
    assert detail["training_certificate"] == run["certificate"] == imported["certificate"]


def test_a_second_run_over_the_same_notes_is_refused(trained):
    home, _, _ = trained
    place = home.parent
    (place / "notes.jsonl").write_text("\n".join(json.dumps({"text": n}) for n in NOTES[::-1]))
    command = [sys.executable, "-m", "gateway", "train", "run", str(place / "train.toml")]
    command += ["--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1
    assert "budget 'notes' does not cover" in done.stderr
