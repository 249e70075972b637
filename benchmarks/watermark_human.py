"""Texts that people wrote and nobody marked, from what a machine has of them anyway."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.contract import REPOSITORY
from gateway.models.fetch import fetch
from gateway.models.importing import import_gguf
from gateway.models.tokenizer import Tokenizer

HUMAN_FOLDERS = (
    Path("/usr/share/common-licenses"),
    Path("/usr/share/games/fortunes"),
    Path("/usr/share/doc"),
    Path("/usr/share/perl"),
    Path("/usr/lib/python3/dist-packages"),
)


def human_tokens(characters: int) -> list[int]:
    """Return tokens of what Debian's and PyPI's packages ship for people to read."""
    model = import_gguf(fetch("smollm2-135m", into=REPOSITORY / ".sealgate" / "cache"))
    tokenizer = Tokenizer(model.assets["tokenizer.json"])
    pieces, left = [], characters
    for path in _human_files():
        text = path.read_text(encoding="utf-8", errors="ignore")[:60_000]
        pieces.append(text[:left])
        left -= len(pieces[-1])
        if left <= 0:
            break
    return [token for piece in pieces for token in tokenizer.encode(piece)]


def _human_files() -> Iterator[Path]:
    packages = sorted(Path(np.__file__).parents[1].glob("*.dist-info/**/*"))
    for folder in HUMAN_FOLDERS:
        packages += sorted(folder.rglob("*")) if folder.is_dir() else []
    for path in packages:
        readable = path.suffix in {"", ".md", ".rst", ".txt", ".u8", ".pod"} or (
            path.name in {"METADATA", "copyright"}
        )
        if path.is_file() and readable and path.stat().st_size > 2000:  # noqa: PLR2004
            yield path
