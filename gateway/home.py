"""The home: the one directory that holds a deployment's state, and the layout inside it."""

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import HomeMissing, HomeUnusable


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside one home. Nothing here reads or writes what the paths hold."""

    path: Path

    @property
    def database(self) -> Path:
        """The log and the credentials."""
        return self.path / "sealgate.db"

    @property
    def keyring(self) -> Path:
        """Wrapped keys."""
        return self.path / "keyring"

    @property
    def models(self) -> Path:
        """Sealed containers, one file a model."""
        return self.path / "models"

    @property
    def reports(self) -> Path:
        """Generated reports."""
        return self.path / "reports"

    @property
    def archive(self) -> Path:
        """Sealed months of the log."""
        return self.path / "log"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.path / "sealgate.toml"

    @property
    def made(self) -> bool:
        """Whether `sealgate init` has run here."""
        return self.keyring.is_dir()

    def container(self, model_id: str) -> Path:
        """Return where the sealed model of that id lies."""
        return self.models / f"{model_id}.sealed"

    def model_ids(self) -> list[str]:
        """List the sealed models, by name."""
        return sorted(p.name.removesuffix(".sealed") for p in self.models.glob("*.sealed"))


def create(path: Path) -> Home:
    """Make the directories of a new home, readable by their owner alone.

    Raises:
        HomeUnusable: The directory cannot be made or written.
    """
    home = Home(path)
    try:
        for directory in (path, home.models, home.reports):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise HomeUnusable(
            f"{path} cannot be made: {error.strerror}. Choose another --home."
        ) from None
    _require_writable(path)
    return home


def existing(path: Path) -> Home:
    """Return the home at `path`.

    Raises:
        HomeMissing: `sealgate init` has not run there.
        HomeUnusable: It cannot be written.
    """
    home = Home(path)
    if not home.made:
        raise HomeMissing(f"{path} holds no Sealgate home. Run `sealgate init` first.")
    _require_writable(path)
    return home


def _require_writable(path: Path) -> None:
    """Write and remove a probe file: `os.access` is wrong for root and for read-only mounts."""
    probe = path / f".writable-{os.getpid()}"
    try:
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise HomeUnusable(
            f"{path} cannot be written: {error.strerror}. Mend its permissions or choose "
            "another --home."
        ) from None
