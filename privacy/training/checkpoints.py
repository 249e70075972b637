"""Checkpoints of a run: tensors as safetensors, the rest as JSON, both encrypted; no pickle.

docs/formats/checkpoint-v1.md. A checkpoint is bound to its run and names the ledger's head; what
it does not hold is randomness: a resumed run draws under a fresh key.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from safetensors.torch import load, save

from privacy.derivation import bind
from privacy.durability import replace_file
from privacy.errors import KeyUnknown
from privacy.keyring import DataKey, Keyring
from privacy.training.entries import Head
from privacy.training.errors import CheckpointBroken, CheckpointMissing

_MAGIC = b"sealgate/checkp\x00"
_VERSION = 1
_HEADER = struct.Struct(">16sB7s16s")
_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run's state after `step` steps. ledger: the head as it stood.

    state: plain JSON. tensors: by name, on the CPU.
    """

    run_id: str
    step: int
    dataset: str
    ledger: Head
    state: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor] = field(repr=False)


def write(path: Path, checkpoint: Checkpoint, *, keyring: Keyring) -> None:
    """Write a checkpoint durably in place of an earlier one; only ciphertext touches the disk."""
    key = _run_key(path, checkpoint.run_id, keyring)
    state = {
        "step": checkpoint.step,
        "dataset": checkpoint.dataset,
        "ledger": checkpoint.ledger.plain(),
        "state": checkpoint.state,
    }
    head = json.dumps(state).encode()
    tensors = save({name: t.contiguous() for name, t in checkpoint.tensors.items()})
    encryptor = Cobblestone256Encryptor(key.key, _context(checkpoint.run_id))
    body = encryptor.update(_LENGTH.pack(len(head)) + head + tensors) + encryptor.finalize()
    header = _HEADER.pack(_MAGIC, _VERSION, bytes(7), bytes.fromhex(key.id))
    replace_file(path, header + body)


def read(path: Path, *, run_id: str, keyring: Keyring) -> Checkpoint:
    """Read the checkpoint of a run.

    Raises:
        CheckpointMissing: There is none.
        CheckpointBroken: It is not what was written, or another run's.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CheckpointMissing(
            f"The checkpoint {path} cannot be read: {error.strerror}. Start a new run."
        ) from None
    plain = _decrypted(raw, run_id, _key(raw, keyring))
    (length,) = _LENGTH.unpack_from(plain)
    start = _LENGTH.size
    content = json.loads(plain[start : start + length])
    ledger = Head(content["ledger"]["size"], bytes.fromhex(content["ledger"]["hash"]))
    return Checkpoint(
        run_id=run_id,
        step=content["step"],
        dataset=content["dataset"],
        ledger=ledger,
        state=content["state"],
        tensors=load(plain[start + length :]),
    )


def _run_key(path: Path, run_id: str, keyring: Keyring) -> DataKey:
    """Return the run's key: that of its checkpoint so far, or a new one, stored."""
    if path.exists():
        with path.open("rb") as file:
            key = _key(file.read(_HEADER.size), keyring)
        if key.model_id == _owner(run_id):
            return key
    key = keyring.fresh_data_key(_owner(run_id))
    keyring.store_data_key(key)
    return key


def _key(raw: bytes, keyring: Keyring) -> DataKey:
    if len(raw) < _HEADER.size:
        raise _broken("it is too short")
    magic, version, zeros, key_id = _HEADER.unpack_from(raw)
    if magic != _MAGIC or version != _VERSION or any(zeros):
        raise _broken("it is not a checkpoint of this version")
    try:
        return keyring.data_key(key_id.hex())
    except KeyUnknown:
        raise _broken("no key of this keyring opens it") from None


def _decrypted(raw: bytes, run_id: str, key: DataKey) -> bytes:
    if key.model_id != _owner(run_id):
        raise _broken("it is another run's")
    decryptor = Cobblestone256Decryptor(key.key, _context(run_id))
    try:
        return decryptor.update(raw[_HEADER.size :]) + decryptor.finalize()
    except InvalidTag:
        raise _broken("its content was changed") from None


def _owner(run_id: str) -> str:
    return f"checkpoint.{run_id}"


def _context(run_id: str) -> bytes:
    return bind(b"sealgate/checkpoint-v1", run_id.encode())


def _broken(reason: str) -> CheckpointBroken:
    return CheckpointBroken(
        f"The checkpoint does not hold: {reason}. Use the run's own, unchanged checkpoint."
    )
