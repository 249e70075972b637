"""Sealed models: writing one so that a crash leaves the old or the new, checking, opening.

Plaintext parameters are never written to a file here. See docs/formats/sealed-v1.md.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import rfc8785

from privacy import image
from privacy.container import MESSAGE_LIMIT_BYTES
from privacy.durability import move_into_place, remove_leftovers, temporary_beside
from privacy.errors import ModelUnsealable, SealMissing, SealUnwritable
from privacy.keyring import DataKey, Keyring
from privacy.reader import SealedReader, read
from privacy.tensors import Tensor
from privacy.writer import Model, rewrite, write

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
CIPHER = "AES-256-GCM (Cobblestone)"


@dataclass(frozen=True, slots=True)
class SealedModel:
    """A sealed model as its authenticated manifest describes it.

    model_digest: `sha256:` and 64 hex digits over the content. size_bytes: of the file.
    """

    path: Path
    model_id: str
    model_digest: str
    generation: int
    created_s: int
    config: Mapping[str, Any] = field(repr=False)
    size_bytes: int


def seal(
    path: Path,
    *,
    keyring: Keyring,
    model_id: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    graph: bytes = b"",
    assets: Mapping[str, bytes] | None = None,
    clock: Callable[[], float] = time.time,
) -> SealedModel:
    """Seal a model at `path`, as the next generation of `model_id`, in place of an earlier one.

    tensors: arrays, or stretches of files (`StoredTensor`), which are read in steps of 1 MiB, so
    that a model larger than memory can be sealed. graph: empty for parameters alone.

    Raises:
        ModelUnsealable: The model has a part that the format cannot hold.
        SealUnwritable: The file cannot be written; what was there stands.
        KeyringUnusable: The keyring cannot be written; what was there stands.
    """
    model = Model(config, graph, tensors, assets or {})
    _require_sealable(model_id, model)

    def fill(file: BinaryIO, key: DataKey) -> None:
        write(file, model, key=key, keyring=keyring, created_s=int(clock()))

    with keyring.sealing():  # 1
        return _put(path, model_id, fill, keyring=keyring)


def reencrypt(
    path: Path, *, keyring: Keyring, clock: Callable[[], float] = time.time
) -> SealedModel:
    """Seal the model at `path` again under a fresh data key, in place of the earlier file.

    One message of at most 64 MiB is in memory at a time. Copies of the earlier file load no more.

    Raises:
        SealMissing, SealBroken: It cannot be read, or is not what was sealed.
        SealUnwritable, KeyringUnusable: Nothing was changed.
    """
    # The right to seal first: nobody may put a newer model in place between reading and writing.
    with keyring.sealing(), opened(path, keyring=keyring) as reader:

        def fill(file: BinaryIO, key: DataKey) -> None:
            rewrite(file, reader, key=key, keyring=keyring, created_s=int(clock()))

        return _put(path, reader.model_id, fill, keyring=keyring)


def _put(
    path: Path, model_id: str, fill: Callable[[BinaryIO, DataKey], None], *, keyring: Keyring
) -> SealedModel:
    """Put a new generation of a model in place. fill: writes its container under a key."""
    # The steps of docs/formats/sealed-v1.md, "Sealing"; the caller did the first.
    key = keyring.fresh_data_key(model_id)  # 2
    temporary = temporary_beside(path)
    try:
        remove_leftovers(path)
        _write(temporary, lambda file: fill(file, key))  # 3
        sealed = _read_back(temporary, path, key=key, keyring=keyring)  # 4
        keyring.store_data_key(key)  # 5
        move_into_place(temporary, path)  # 6
    except OSError as error:
        raise SealUnwritable(
            f"The sealed file {path} cannot be written: {error.strerror}. Mend that and try again."
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    keyring.accept_generation(model_id, key.generation)  # 7
    return sealed


def verify(path: Path, *, keyring: Keyring) -> SealedModel:
    """Check everything about a sealed file: signatures, every message, every digest.

    Raises:
        SealMissing: There is no file that can be read.
        SealBroken: It is not what was sealed; the message says what does not hold.
    """
    with opened(path, keyring=keyring) as reader:
        reader.check()
        return _described(path, reader, path.stat().st_size)


def opened(path: Path, *, keyring: Keyring, model_id: str | None = None) -> SealedReader:
    """Open a sealed file, its manifest authenticated. The caller closes the reader.

    model_id: the model it must be, or None for any.

    Raises:
        SealMissing: There is no file that can be read.
        SealBroken: It is not what was sealed, or an older generation than is accepted.
    """
    reader = _opened(
        path,
        find_key=keyring.data_key,
        keyring=keyring,
        model_id=model_id,
    )
    # A crash between a seal's rename and its last step left the floor behind.
    keyring.accept_generation(reader.model_id, reader.generation)
    return reader


def container(models: Path, model_id: str) -> Path:
    """Return where a directory of models keeps `model_id`.

    Raises:
        SealMissing: No model can have that name.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise SealMissing("No sealed model can have that name. Name one that was imported.")
    return models / f"{model_id}.sealed"


def _require_sealable(model_id: str, model: Model) -> None:
    if not _MODEL_ID.fullmatch(model_id):
        raise ModelUnsealable(
            f"{model_id!r} cannot name a model. Use up to 128 letters, digits, `.`, `_` and `-`."
        )
    for name, content in (("graph", model.graph), *model.assets.items()):
        if len(content) > MESSAGE_LIMIT_BYTES:
            raise ModelUnsealable(f"{name!r} is larger than 64 MiB, the most a seal holds of it.")
    image.places(len(model.graph), model.tensors)
    try:
        rfc8785.dumps(dict(model.config))
    except rfc8785.CanonicalizationError as error:
        raise ModelUnsealable(f"The model's settings are not plain JSON: {error}.") from None


def _write(temporary: Path, fill: Callable[[BinaryIO], None]) -> None:
    temporary.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _read_back(temporary: Path, path: Path, *, key: DataKey, keyring: Keyring) -> SealedModel:
    with _opened(temporary, find_key=lambda _: key, keyring=keyring, model_id=None) as reader:
        reader.check()
        return _described(path, reader, temporary.stat().st_size)


def _opened(
    path: Path, *, find_key: Callable[[str], DataKey], keyring: Keyring, model_id: str | None
) -> SealedReader:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise SealMissing(
            f"The sealed model {path} cannot be read: {error.strerror}. Import the model."
        ) from None
    try:
        return read(
            file,
            find_key=find_key,
            verify_seal=keyring.verify_seal,
            smallest_generation=keyring.smallest_generation,
            model_id=model_id,
        )
    except BaseException:
        file.close()
        raise


def _described(path: Path, reader: SealedReader, size_bytes: int) -> SealedModel:
    manifest = reader.manifest
    return SealedModel(
        path=path,
        model_id=reader.model_id,
        model_digest=manifest["model_digest"],
        generation=reader.generation,
        created_s=manifest["created_s"],
        config=manifest["config"],
        size_bytes=size_bytes,
    )
