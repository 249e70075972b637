"""`sealgate train`: private training, its certificates, and its models on their way to serving.

PyTorch is loaded by name and only by `run` and `audit`: no other command, and nothing that
serves, imports it.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.budget import Expenses, vault
from gateway.cli.errors import FAILED
from gateway.cli.output import HomeOption, JsonOption, print_json, print_lines, read_file
from gateway.cli.session import Session, opened
from gateway.models.importing import import_gguf
from privacy import sealed
from privacy.sealed import CIPHER, SealedModel
from privacy.training import certificate, merging
from privacy.training.certificate import Verified
from privacy.training.errors import ConfigInvalid, TrainingUnavailable
from privacy.training.vault import CERTIFICATE_FILE, WEIGHTS_FILE

NEEDED = ("torch", "opacus", "dp_accounting")

app = typer.Typer(help="Private training: run, verify, audit, import.", no_args_is_help=True)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="TOML file, docs/training.md.")],
    *,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this run, from its checkpoint.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train what a configuration describes; seal the weights and issue the certificate."""
    running = _extra("privacy.training.running")
    read = importlib.import_module("privacy.training.config").load(config)
    with opened(home) as session, vault(session) as place:
        expenses = Expenses(session, place)
        try:
            finished = running.run(read, place, resume=resume, begun=expenses.record)
        finally:
            expenses.record()
        shown = {
            "run": finished.run_id,
            "epsilon": finished.epsilon,
            "delta": finished.delta,
            "certificate": certificate.digest_of(finished.certificate),
            "certificate_path": str(finished.certificate_path),
            "weights_path": str(finished.weights_path),
        }
        session.record("training.certified", _plain(shown))
    if as_json:
        print_json(shown)
    else:
        print_lines(
            f"{finished.run_id}: ε {finished.epsilon:g} at δ {finished.delta:g}",
            f"Certificate: {finished.certificate_path}",
        )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Certificate, or `-`.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a certificate: signatures, figures, its place in the ledger. Exit code 1 if not."""
    with opened(home) as session, vault(session) as place:
        verified = certificate.verify(read_file(file), verify_seal=session.keyring.verify_seal)
        in_ledger = place.ledger.contains(certificate.ledger_head(verified))
    shown = _figures(verified) | {"in_ledger": in_ledger, "recomputed": verified.recomputed}
    if as_json:
        print_json(shown)
    else:
        print_lines(*(f"{name:<14}{value}" for name, value in shown.items()))
    if not in_ledger:
        raise typer.Exit(FAILED)


@app.command()
def audit(
    *,
    epsilon: Annotated[float, typer.Option(help="Claimed.")],
    delta: Annotated[float, typer.Option(help="Claimed.")],
    rate: Annotated[float, typer.Option(help="Chance of a record to join a step.")],
    steps: Annotated[int, typer.Option(help="Of the plan.")],
    canaries: Annotated[int, typer.Option(help="Made-up records to audit with.")] = 2200,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a plan on made-up records and audit it. Exit code 1 if it is not what it says."""
    rehearsal = _extra("privacy.training.rehearsal")
    accountant = importlib.import_module("privacy.training.accountant")
    plan = accountant.calibrated(epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps)
    found = rehearsal.rehearsed(plan, delta=delta, canaries=canaries).plain()
    if as_json:
        print_json({"noise_multiplier": plan.noise_multiplier, **found})
        return
    for finding in (*found["findings"], found["control"]):
        print_lines(
            f"{finding['access']:<24}ε at least {finding['epsilon']:.2f}, at best "
            f"{finding['cap']:.2f} with {finding['guesses']} guesses"
        )


@app.command("import")
def import_run(
    run_id: Annotated[str, typer.Argument(help="A finished run of a LoRA adapter.")],
    *,
    base: Annotated[Path, typer.Option(help="The GGUF file that it was trained beside.")],
    model_id: Annotated[str, typer.Option("--id", help="Name to serve it under.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge an adapter into its model and seal the result to be served, certificate inside."""
    with opened(home) as session, vault(session) as place:
        weights = place.directory / run_id / WEIGHTS_FILE
        with sealed.opened(weights, keyring=session.keyring, model_id=run_id) as reader:
            description = reader.manifest["config"]["description"]
            tensors = merging.sealed_tensors(reader)
            raw = reader.asset(CERTIFICATE_FILE)
        verified = certificate.verify(raw, verify_seal=session.keyring.verify_seal)
        if description.get("kind") != "lora":
            raise ConfigInvalid(f"{run_id} trained no adapter of a language model.")
        with _memory_file() as merged:
            scale = description["alpha"] / description["rank"]
            merging.merge(base, tensors, scale=scale, out=merged, name=model_id)
            model = _seal(session, import_gguf(merged, model_id=model_id), raw, verified)
    shown = {
        "model_id": model.model_id,
        "model_digest": model.model_digest,
        "certificate": verified.digest,
    }
    if as_json:
        print_json(shown)
    else:
        print_lines(*(f"{name:<14}{value}" for name, value in shown.items()))


def _seal(session: Session, imported: Any, raw: bytes, verified: Verified) -> SealedModel:
    """Seal a merged model; its configuration, and so its digest, name the certificate."""
    config = imported.config | {"training_certificate": verified.digest}
    model = sealed.seal(
        session.home.container(imported.model_id),
        keyring=session.keyring,
        model_id=imported.model_id,
        config=config,
        graph=imported.graph,
        tensors=imported.tensors,
        assets=imported.assets | {CERTIFICATE_FILE: raw},
    )
    detail = {
        "model_id": model.model_id,
        "model_digest": model.model_digest,
        "generation": model.generation,
        "cipher": CIPHER,
        "sealed": True,
        "training_certificate": verified.digest,
        "training": _plain(_figures(verified)),
    }
    session.record("model.sealed", detail)
    return model


def _figures(verified: Verified) -> dict[str, Any]:
    content = verified.content
    guarantee, audited = content["guarantee"], content["audit"] or {}
    findings, control = audited.get("findings", []), audited.get("control") or {}
    return {
        "run": content["run"],
        "epsilon": guarantee["epsilon"],
        "delta": guarantee["delta"],
        "relation": guarantee["relation"],
        "audit_bound": max((f["epsilon"] for f in findings), default=None),
        "audit_cap": max((f["cap"] for f in findings), default=None),
        "audit_control": control.get("epsilon"),
        "certificate": verified.digest,
    }


def _plain(shown: dict[str, Any]) -> dict[str, Any]:
    """Return figures as the log takes them, which has no floats."""
    return {name: str(v) if isinstance(v, float) else v for name, v in shown.items()}


@contextlib.contextmanager
def _memory_file() -> Iterator[Path]:
    """Give a path of a file that is in memory alone."""
    descriptor = os.memfd_create("sealgate-merged", os.MFD_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _extra(module: str) -> Any:
    """Load a module that needs the extra `[train]`, by name.

    Raises:
        TrainingUnavailable: The extra is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingUnavailable(
            f"Training needs {', '.join(missing)}: pip install 'sealgate[train]'."
        )
    return importlib.import_module(module)
