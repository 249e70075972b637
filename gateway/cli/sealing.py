"""Sealing what was imported or made, with its entry, and telling of it."""

from typing import Any

from gateway.cli.output import note, print_json, print_lines
from gateway.cli.session import Session
from gateway.models.importing import ImportedModel
from privacy import sealed
from privacy.sealed import CIPHER, SealedModel


def seal(session: Session, imported: ImportedModel) -> SealedModel:
    """Seal a model under its own name, and record it.

    Raises:
        PrivacyError: It cannot be sealed.
    """
    model = sealed.seal(
        session.home.container(imported.model_id),
        keyring=session.keyring,
        model_id=imported.model_id,
        config=imported.config,
        graph=imported.graph,
        tensors=imported.tensors,
        assets=imported.assets,
    )
    record(session, "model.sealed", model)
    return model


def record(session: Session, operation: str, model: SealedModel) -> None:
    """Write an entry about a sealed model."""
    session.record(
        operation,
        {
            "model_id": model.model_id,
            "model_digest": model.model_digest,
            "generation": model.generation,
            "cipher": CIPHER,
            "sealed": True,
        },
    )


def print_sealed(model: SealedModel, *, as_json: bool) -> None:
    """Say what was sealed and where."""
    if as_json:
        print_json(shown(model))
    else:
        print_lines(
            f"Sealed {model.model_id}, generation {model.generation}: {model.path}",
            model.model_digest,
        )
        note("A gateway that serves offers it from its next start.")


def shown(model: SealedModel) -> dict[str, Any]:
    """Return what `--json` tells of a sealed model."""
    return {
        "model_id": model.model_id,
        "model_digest": model.model_digest,
        "generation": model.generation,
        "cipher": CIPHER,
        "path": str(model.path),
        "size_bytes": model.size_bytes,
    }
