"""What `sealgate train run` reads: one TOML file, docs/training.md. Unknown names are refused."""

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from privacy.training.errors import ConfigInvalid


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every part of a configuration is: immutable, and of exactly these members."""


class Data(Section, frozen=True):
    """Records: a file of JSON lines, and the members that hold a record's text and label."""

    path: Path
    text: str = "text"
    label: str = "label"


class Model(Section, frozen=True):
    """What is trained.

    kind: `linear`, a classifier over hashed words, or `lora`, an adapter beside a language model.
    features: of `linear`. base, rank, alpha, length: of `lora`; base is a GGUF file, length is in
    tokens.
    """

    kind: Literal["linear", "lora"]
    features: int = 4096
    base: Path | None = None
    rank: int = 8
    alpha: int = 16
    length: int = 128


class Privacy(Section, frozen=True):
    """What is promised. budget_epsilon, budget_delta: of records that have no budget yet."""

    epsilon: float
    delta: float
    clip: float
    budget_epsilon: float | None = None
    budget_delta: float | None = None


class Training(Section, frozen=True):
    """How it is trained. device: torch's name of one."""

    steps: int
    batch: int
    learning_rate: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    microbatch: int | None = None
    checkpoint_steps: int = 50
    lease_steps: int = 16
    device: str = "cpu"


class Audit(Section, frozen=True):
    """Whether the plan is rehearsed: canaries, 0 for no audit."""

    canaries: int = 2200


class Config(Section, frozen=True):
    """A whole configuration. name: of the records' budget."""

    name: str
    data: Data
    model: Model
    privacy: Privacy
    training: Training
    audit: Audit = Audit()


def load(path: Path) -> Config:
    """Read a configuration; paths in it are relative to its own place.

    Raises:
        ConfigInvalid: It cannot be read, or says something unknown.
    """

    def relative(kind: type, written: Any) -> Any:
        if kind is not Path or not isinstance(written, str):
            raise ValueError(f"a path, not {written!r}, is expected")
        return path.parent / Path(written).expanduser()

    try:
        plain = tomllib.loads(path.read_text())
        config = msgspec.convert(plain, Config, dec_hook=relative)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigInvalid(f"{path} is no training configuration: {error}.") from None
    if config.model.kind == "lora" and config.model.base is None:
        raise ConfigInvalid(f"{path} trains beside no model: give `base` in [model], a GGUF file.")
    return config
