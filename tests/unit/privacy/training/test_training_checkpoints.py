import dataclasses

import pytest
import torch

from privacy.training import checkpoints
from privacy.training.checkpoints import Checkpoint
from privacy.training.entries import Head
from privacy.training.errors import CheckpointBroken, CheckpointMissing

CHECKPOINT = Checkpoint(
    run_id="run_a",
    step=7,
    dataset="sha256:00",
    ledger=Head(3, bytes(range(32))),
    state={"groups": [{"lr": 0.5}], "extra": {"pass": 2}},
    tensors={"parameter/weight": torch.arange(6.0).reshape(2, 3).t(), "s": torch.tensor(1.5)},
)


@pytest.fixture
def path(tmp_path, keyring):
    path = tmp_path / "checkpoint.sealed"
    checkpoints.write(path, CHECKPOINT, keyring=keyring)
    return path


def read(path, keyring, run_id="run_a"):
    return checkpoints.read(path, run_id=run_id, keyring=keyring)


def test_a_checkpoint_is_read_as_it_was_written(path, keyring):
    found = read(path, keyring)
    for name, tensor in CHECKPOINT.tensors.items():
        assert torch.equal(found.tensors[name], tensor)
    assert dataclasses.replace(found, tensors=CHECKPOINT.tensors) == CHECKPOINT


def test_no_plaintext_touches_the_disk(path):
    raw = path.read_bytes()
    assert b"parameter/weight" not in raw
    assert torch.arange(6.0).numpy().tobytes()[8:] not in raw
    assert [p.name for p in path.parent.iterdir() if "checkpoint" in p.name] == [path.name]


def test_a_run_keeps_one_key_over_its_checkpoints(path, keyring):
    before = path.read_bytes()[24:40]
    checkpoints.write(path, CHECKPOINT, keyring=keyring)
    assert path.read_bytes()[24:40] == before


def test_every_changed_byte_is_found(path, keyring):
    raw = path.read_bytes()
    for at in {*range(0, len(raw), 97), 0, 16, 24, len(raw) - 1}:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(CheckpointBroken):
            read(path, keyring)


@pytest.mark.parametrize("length", [0, 10, 39, 40, 200])
def test_a_checkpoint_cut_short_is_found(path, keyring, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointBroken):
        read(path, keyring)


def test_another_runs_checkpoint_is_refused(path, keyring):
    with pytest.raises(CheckpointBroken, match="another run's"):
        read(path, keyring, run_id="run_b")


def test_a_missing_checkpoint_is_said_so(tmp_path, keyring):
    with pytest.raises(CheckpointMissing):
        read(tmp_path / "none", keyring)


def test_a_run_that_writes_over_anothers_checkpoint_does_not_use_its_key(path, keyring):
    before = path.read_bytes()[24:40]
    checkpoints.write(path, dataclasses.replace(CHECKPOINT, run_id="run_b"), keyring=keyring)
    assert path.read_bytes()[24:40] != before
    assert read(path, keyring, run_id="run_b").run_id == "run_b"
    with pytest.raises(CheckpointBroken, match="another run's"):
        read(path, keyring)
