import os
import stat

import pytest

from gateway import home as homes
from gateway.errors import HomeMissing, HomeUnusable


def test_new_home_is_its_owners_alone(tmp_path):
    made = homes.create(tmp_path / "deep" / "home")
    for directory in (made.path, made.models, made.reports):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not made.made


def test_home_without_keyring_is_missing(tmp_path):
    homes.create(tmp_path / "home")
    with pytest.raises(HomeMissing, match="sealgate init"):
        homes.existing(tmp_path / "home")


def test_home_in_a_file_is_unusable(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match="--home"):
        homes.create(tmp_path / "file" / "home")


def test_home_that_cannot_be_written_is_unusable(tmp_path, monkeypatch):
    made = homes.create(tmp_path / "home")
    made.keyring.mkdir()
    assert homes.existing(made.path) == made

    def refuse(*_, **__):
        raise OSError(30, os.strerror(30))

    # Root writes everywhere: a read-only file system is what refuses it.
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(HomeUnusable, match="Read-only"):
        homes.existing(made.path)


def test_sealed_models_are_listed_by_name(tmp_path):
    made = homes.create(tmp_path)
    for name in ("b.sealed", "a.sealed", "c.gguf", ".a.sealed.tmp"):
        (made.models / name).touch()
    assert made.model_ids() == ["a", "b"]
    assert made.container("a") == made.models / "a.sealed"
