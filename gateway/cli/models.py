"""`sealgate models`: parameters in, sealed; nothing of them out but their manifest.

An import reads a GGUF file and writes ciphertext; its plaintext passes through memory alone.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.compress import compress
from gateway.cli.errors import FAILED
from gateway.cli.output import (
    HomeOption,
    JsonOption,
    note,
    print_json,
    print_lines,
    print_table,
    write_file,
)
from gateway.cli.sealing import print_sealed, record, seal, shown
from gateway.cli.session import Session, opened
from gateway.errors import FileUnwritable
from gateway.models.assets import TOKENIZER
from gateway.models.bert import import_bert
from gateway.models.blocks import EXACT
from gateway.models.fetch import SOURCES, fetch
from gateway.models.importing import FORMAT, ImportedModel, import_gguf
from gateway.models.tokenizer import Tokenizer
from gateway.report_facts import SIGNATURE
from privacy import sealed, statement
from privacy.errors import SealBroken, SealMissing
from privacy.sealed import CIPHER, SealedModel

app = typer.Typer(
    help="Models: fetch, import, compress, seal, verify, list, inspect, statement.",
    no_args_is_help=True,
)
app.command()(compress)
ModelArgument = Annotated[str, typer.Argument(help="As `sealgate models list` shows it.")]


@app.command("fetch")
def fetch_named(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(SOURCES)}.")],
    *,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a reference model, its digest pinned, and seal it. The fetched file is removed."""
    with opened(home) as session:
        model = fetch_and_seal(session, name)
    print_sealed(model, as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help="GGUF file, or directory of a sentence-transformers model.")
    ],
    *,
    model_id: Annotated[
        str | None, typer.Option("--id", help="Name to serve it under; from the file's if absent.")
    ] = None,
    remove_source: Annotated[
        bool, typer.Option("--remove-source", help="Delete the file once the seal verified.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a GGUF model, or one that embeds, and seal it."""
    with opened(home) as session:
        imported = import_model(file, model_id=model_id)
        _tell(imported)
        model = seal(session, imported)
        if remove_source:
            sealed.verify(model.path, keyring=session.keyring)
            _remove(file)
    print_sealed(model, as_json=as_json)


def _tell(model: ImportedModel) -> None:
    """Say how the file's types are computed with, and what a full context takes."""
    for conversion in model.conversions:
        kept = "kept as they are" if conversion.kind in EXACT else f"error {conversion.error:.2g}"
        note(f"{conversion.tensors} tensors of {conversion.kind}: {kept}.")
    context = int(model.config["context_length"])
    if size := model.state_bytes(context):
        note(f"An answer of all its {context} tokens of context takes {size / 2**20:.0f} MiB.")


@app.command("seal")
def seal_again(
    model_id: ModelArgument, *, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Seal a model again under a fresh key. Copies of the earlier file no longer load."""
    with opened(home) as session:
        model = sealed.reencrypt(_container(session, model_id), keyring=session.keyring)
        record(session, "model.sealed", model)
    print_sealed(model, as_json=as_json)


@app.command()
def verify(
    model_id: ModelArgument, *, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Check a sealed model: signatures, messages, digests. Exit code 1 if broken."""
    with opened(home) as session:
        model = sealed.verify(_container(session, model_id), keyring=session.keyring)
        record(session, "model.verified", model)
    if as_json:
        print_json(shown(model) | {"verified": True})
    else:
        print_lines(f"{model.model_id} holds: {model.model_digest}, generation {model.generation}.")


@app.command("list")
def list_all(*, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the sealed models. Exit code 1 if one's manifest does not hold."""
    with opened(home) as session:
        rows = [_row(session, model_id) for model_id in session.home.model_ids()]
    if as_json:
        print_json(rows)
    else:
        columns = ("id", "state", "generation", "digest")
        print_table(columns, [[str(row[column]) for column in columns] for row in rows])
    if any(row["state"] != "sealed" for row in rows):
        raise typer.Exit(FAILED)


@app.command()
def inspect(
    model_id: ModelArgument, *, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Print a sealed model's manifest: what it is and how it is sealed."""
    with opened(home) as session:
        manifest = _manifest(session, model_id)
    if as_json:
        print_json(manifest)
        return
    config = manifest["config"]
    print_lines(
        f"{'id':<16}{manifest['model_id']}",
        f"{'digest':<16}{manifest['model_digest']}",
        f"{'generation':<16}{manifest['generation']}",
        f"{'cipher':<16}{CIPHER}",
        f"{'signatures':<16}{SIGNATURE}",
        f"{'tensors':<16}{len(manifest['tensors'])}",
        *(f"{name:<16}{value}" for name, value in config.items()),
    )


@app.command("statement")
def export_statement(
    model_id: ModelArgument,
    *,
    out: Annotated[Path, typer.Option(help="Bundle to write.")],
    public_key: Annotated[
        Path | None, typer.Option(help="File to write its public key to, in PEM.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export an OpenSSF model-signing bundle over the sealed file, for checkers of that kind."""
    with opened(home) as session:
        path = _container(session, model_id)
        write_file(out, statement.bundle(path, keyring=session.keyring))
        if public_key is not None:
            write_file(public_key, statement.public_key_pem(session.keyring))
    if as_json:
        print_json({"model_id": model_id, "bundle": str(out)})
    else:
        print_lines(f"Wrote {out}, over {path}.")


def import_model(path: Path, *, model_id: str | None = None) -> ImportedModel:
    """Import a GGUF file, or a directory of a sentence-transformers model.

    Raises:
        ModelError: It is neither, or is damaged.
    """
    return (import_bert if path.is_dir() else import_gguf)(path, model_id=model_id)


def fetch_and_seal(session: Session, name: str) -> SealedModel:
    """Fetch a reference model, seal it under its own name, and leave no plaintext behind.

    Raises:
        ModelError: It cannot be fetched, or is not what was pinned.
        PrivacyError: It cannot be sealed.
    """
    with tempfile.TemporaryDirectory(dir=session.home.path, prefix=".fetch-") as scratch:
        imported = import_model(fetch(name, into=Path(scratch)), model_id=name)
    return seal(session, imported)


def manifests(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the authenticated manifest of each sealed model.

    Raises:
        SealBroken: One does not hold.
    """
    for model_id in session.home.model_ids():
        yield _manifest(session, model_id)


def tokenizers(session: Session) -> dict[str, Tokenizer]:
    """Return the tokeniser of each sealed model that writes text, by model id.

    Raises:
        SealBroken: One does not hold.
    """
    found = {}
    for model_id in session.home.model_ids():
        path = _container(session, model_id)
        with sealed.opened(path, keyring=session.keyring, model_id=model_id) as reader:
            if reader.manifest["config"]["format"] == FORMAT:
                found[model_id] = Tokenizer(reader.asset(TOKENIZER))
    return found


def _container(session: Session, model_id: str) -> Path:
    return sealed.container(session.home.models, model_id)


def _manifest(session: Session, model_id: str) -> dict[str, Any]:
    path = _container(session, model_id)
    with sealed.opened(path, keyring=session.keyring, model_id=model_id) as reader:
        return reader.manifest


def _row(session: Session, model_id: str) -> dict[str, Any]:
    try:
        manifest = _manifest(session, model_id)
    except (SealBroken, SealMissing) as error:
        return {"id": model_id, "state": str(error), "generation": None, "digest": None}
    return {
        "id": model_id,
        "state": "sealed",
        "generation": manifest["generation"],
        "digest": manifest["model_digest"],
    }


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise FileUnwritable(
            f"The model is sealed, but {file} cannot be removed: {error.strerror}. Remove it."
        ) from None
    note(f"Removed {file}. Its blocks may outlive it on the disk: only encrypted disks forget.")
